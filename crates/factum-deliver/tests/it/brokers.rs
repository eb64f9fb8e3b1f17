//! What every broker is asked: the same of each, with its own definition.

use factum_engine::ErrorClass;
use serde_json::{Value, json};

use crate::support::{certificate, deliver, deliver_at_last, open};

/// Returns a definition with another value of a field, or without it.
pub(crate) fn with(definition: &Value, field: &str, value: Value) -> Value {
    let mut definition = definition.clone();
    definition[field] = value;
    definition
}

/// A broker that is killed is noticed, and the target connects again once it is back.
pub(crate) async fn survives_a_crash<S>(
    definition: &Value,
    mut server: S,
    kill: impl FnOnce(&mut S),
    resume: impl FnOnce(&mut S),
) -> S {
    let target = open(definition);
    deliver(&*target, 1).await.unwrap();
    kill(&mut server);
    let error = deliver(&*target, 2).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(
        matches!(error.class, ErrorClass::Connect | ErrorClass::Timeout),
        "{error}"
    );
    resume(&mut server);
    deliver_at_last(&*target, 2).await;
    server
}

/// A wrong password is told as such.
pub(crate) async fn refuses_wrong_passwords(definition: &Value) {
    let wrong = with(definition, "password", json!("wrong"));
    let error = deliver(&*open(&wrong), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Authentication, "{error}");
    assert!(!format!("{error:?}").contains("wrong\""), "{error:?}");
}

/// Without the right authority nothing is sent.
pub(crate) async fn checks_certificates(definition: &Value) {
    deliver(&*open(definition), 1).await.unwrap();
    let mut other = definition.clone();
    other["server"]["caCertificates"] = certificate().0.into();
    let error = deliver(&*open(&other), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
}

/// Returns where a server on this machine is.
pub(crate) fn server(port: u16, authority: Option<&str>) -> Value {
    match authority {
        Some(pem) => json!({"host": "localhost", "port": port, "caCertificates": pem}),
        None => json!({"host": "localhost", "port": port, "tls": false}),
    }
}
