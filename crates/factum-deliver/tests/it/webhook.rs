//! Webhooks: what is sent, and what each answer means.

use std::time::Duration;

use factum_engine::{Again, BreakerState, ErrorClass};
use serde_json::{Value, json};

use crate::receiver::{Answer, Receiver};
use crate::support::{certificate, deliver, delivery, open};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn definition(url: &str) -> Value {
    json!({"type": "webhook", "url": url, "secrets": [SECRET]})
}

#[tokio::test]
async fn the_event_arrives_with_its_headers() {
    let receiver = Receiver::start(vec![Answer::full("200 OK", "", "thanks")]).await;
    let mut definition = definition(&receiver.url());
    definition["headers"] = json!({"X-Tenant": "a"});
    definition["secretHeaders"] = json!({"Authorization": "Bearer b"});
    let target = open(&definition);
    let delivered = deliver(&*target, 1).await.unwrap();
    assert_eq!(
        (delivered.status, delivered.excerpt.as_deref()),
        (Some(200), Some("thanks"))
    );
    // The same event again, at another attempt, is the same delivery.
    deliver(&*target, 1).await.unwrap();
    let requests = receiver.requests();
    let [first, second] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert_eq!(first.line, "POST /hook?x=y HTTP/1.1");
    let header = |name: &str| first.headers[name].as_str();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(
        (header("x-tenant"), header("authorization")),
        ("a", "Bearer b")
    );
    assert_eq!(header("webhook-id"), delivery(1).id.to_string());
    assert_eq!(header("webhook-id"), second.headers["webhook-id"]);
    assert!(header("user-agent").starts_with("Factum/"));
    let body: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!(body["payload"]["name"], "Ann Ä");
    // Connections are kept for the next request.
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_cloud_event_in_binary_form_has_its_attributes_in_headers() {
    let receiver = Receiver::start(vec![Answer::status("204 No Content")]).await;
    let mut definition = definition(&receiver.url());
    definition["payload"] = json!({"shape": "cloudEventsBinary"});
    deliver(&*open(&definition), 1).await.unwrap();
    let request = receiver.requests().remove(0);
    assert_eq!(request.headers["ce-specversion"], "1.0");
    assert_eq!(request.headers["ce-type"], "form.opened");
    assert_eq!(request.headers["ce-id"], delivery(1).event.id.to_string());
    assert_eq!(request.body, delivery(1).event.payload());
}

#[tokio::test]
async fn answers_are_understood() {
    let yes = |seconds: Option<u64>| Again::Yes {
        after: seconds.map(Duration::from_secs),
    };
    for (answer, class, again) in [
        (Answer::status("500 Oh"), ErrorClass::Rejected, yes(None)),
        (
            Answer::full("503 No", "Retry-After: 7\r\n", "busy"),
            ErrorClass::Rejected,
            yes(Some(7)),
        ),
        (
            Answer::full("429 No", "retry-after: 99999999\r\n", ""),
            ErrorClass::Rejected,
            yes(Some(86_400)),
        ),
        (
            Answer::status("401 No"),
            ErrorClass::Authentication,
            yes(None),
        ),
        (Answer::status("404 No"), ErrorClass::Rejected, yes(None)),
        (
            Answer::status("410 Gone"),
            ErrorClass::Gone,
            Again::DisableTarget,
        ),
        (Answer::Closes, ErrorClass::Connect, yes(None)),
        (
            Answer::Says("what?\r\n\r\n".to_owned()),
            ErrorClass::Connect,
            yes(None),
        ),
    ] {
        let receiver = Receiver::start(vec![answer.clone()]).await;
        let target = open(&definition(&receiver.url()));
        let error = deliver(&*target, 1).await.unwrap_err();
        assert_eq!(
            (error.class, error.again),
            (class, again),
            "{answer:?}: {error}"
        );
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::start(vec![Answer::status("200 OK")]).await;
    let location = format!("Location: {}\r\n", elsewhere.url());
    let receiver = Receiver::start(vec![Answer::full("307 There", &location, "")]).await;
    let error = deliver(&*open(&definition(&receiver.url())), 1)
        .await
        .unwrap_err();
    assert_eq!(error.status, Some(307));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn answers_of_any_length_are_cut() {
    let long = "x".repeat(1_000_000);
    let receiver = Receiver::start(vec![Answer::full("500 Oh", "", &long)]).await;
    let error = deliver(&*open(&definition(&receiver.url())), 1)
        .await
        .unwrap_err();
    assert_eq!(error.excerpt.unwrap().len(), 1024);
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_left_and_a_dead_one_is_told() {
    let receiver = Receiver::start(vec![Answer::Hangs]).await;
    let mut hanging = definition(&receiver.url());
    hanging["limits"] = json!({"timeoutMs": 200});
    let error = deliver(&*open(&hanging), 1).await.unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Timeout, true)
    );
    let url = receiver.url();
    drop(receiver);
    let error = loop {
        // The port is closed once the task of the receiver is gone.
        let error = deliver(&*open(&definition(&url)), 1).await.unwrap_err();
        if error.class == ErrorClass::Connect {
            break error;
        }
    };
    assert!(
        error.is_retryable() && !error.to_string().contains("x=y"),
        "{error}"
    );
}

#[tokio::test]
async fn the_breaker_leaves_a_failing_endpoint_alone() {
    let receiver = Receiver::start(vec![Answer::status("500 Oh")]).await;
    let mut definition = definition(&receiver.url());
    definition["limits"] = json!({"breaker": {"failuresMax": 3, "openMs": 60_000}});
    let target = open(&definition);
    for number in 0..6 {
        assert!(deliver(&*target, number).await.is_err());
    }
    let error = deliver(&*target, 9).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::BreakerOpen);
    assert!(!error.class.was_attempted());
    assert_eq!(target.state().breaker, BreakerState::Open);
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_the_target_allows() {
    let receiver = Receiver::start(vec![Answer::Hangs]).await;
    let mut definition = definition(&receiver.url());
    definition["limits"] = json!({"concurrency": 2, "timeoutMs": 300});
    let target = open(&definition);
    let attempts = (0..4).map(|number| {
        let target = &target;
        async move { deliver(&**target, number).await.unwrap_err().class }
    });
    let mut attempts: Vec<_> = attempts.map(Box::pin).collect();
    let (a, b, c, d) = {
        let mut next = || attempts.remove(0);
        tokio::join!(next(), next(), next(), next())
    };
    let classes = [a, b, c, d];
    let timeouts = classes
        .iter()
        .filter(|class| **class == ErrorClass::Timeout);
    assert!(timeouts.count() >= 2, "{classes:?}");
    assert_eq!(target.state().in_flight_max, 2);
    assert!(receiver.connections() <= 4);
}

#[tokio::test]
async fn tls_is_checked_against_the_authorities_of_the_target() {
    let (pem, key) = certificate();
    let receiver = Receiver::start_tls(vec![Answer::status("200 OK")], &pem, &key).await;
    let url = format!("https://localhost:{}/", receiver.port());
    let mut definition = definition(&url);
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
    assert!(receiver.requests().is_empty());
    definition["caCertificates"] = certificate().0.into();
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
    definition["caCertificates"] = pem.into();
    deliver(&*open(&definition), 1).await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
}
