use super::*;
use crate::testing::delivery;

fn payload(definition: &str) -> Result<Payload, InvalidTarget> {
    Payload::new(&serde_json::from_str(definition).unwrap())
}

fn rendered(definition: &str) -> Rendered {
    payload(definition).unwrap().render(&delivery("ä")).unwrap()
}

#[test]
fn the_event_is_sent_as_it_is_read() {
    let event = rendered("{}");
    assert_eq!(event.content_type, "application/json");
    let json: Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!(json["aggregateId"], "ä");
    assert!(event.body.ends_with(br#""payload":{"x" : 1.0}}"#));
}

#[test]
fn both_forms_of_a_cloud_event_say_the_same() {
    let structured = rendered(r#"{"shape": "cloudEvents"}"#);
    let structured: Value = serde_json::from_slice(&structured.body).unwrap();
    let binary = rendered(r#"{"shape": "cloudEventsBinary"}"#);
    assert_eq!(&binary.body[..], br#"{"x" : 1.0}"#);
    for (name, value) in &binary.attributes {
        match &structured[name] {
            Value::String(text) => assert_eq!(value, text, "{name}"),
            other => assert_eq!(value, &other.to_string(), "{name}"),
        }
    }
    // Everything is there but the data and their type.
    let count = structured.as_object().unwrap().len();
    assert_eq!(binary.attributes.len(), count - 2);
}

#[test]
fn attributes_are_encoded_where_headers_are_plain() {
    assert_eq!(header_value("a%b \"ä\"\r\n"), "a%25b%20%22%C3%A4%22%0D%0A");
}

#[test]
fn a_template_sees_event_and_delivery() {
    let sent = rendered(
        r#"{"shape": "template", "template": "{\"id\": {{ id|tojson }}, \"n\": {{ delivery.attempt }}}"}"#,
    );
    let json: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        (json["id"].as_str().unwrap().len(), &json["n"]),
        (36, &json!(1))
    );
    let text = r#"{"shape": "template", "template": "{{ type }}", "contentType": "text/plain"}"#;
    assert_eq!(rendered(text).body, "form.opened");
}

#[test]
fn what_is_no_json_is_not_sent_as_json() {
    let payload = payload(r#"{"shape": "template", "template": "{{ type }}"}"#).unwrap();
    let error = payload.render(&delivery("1")).unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Payload, false)
    );
}

#[test]
fn faults_name_their_field() {
    for (definition, pointer) in [
        (r#"{"template": "x"}"#, "/template"),
        (r#"{"contentType": "text/plain"}"#, "/contentType"),
        (r#"{"shape": "template"}"#, "/template"),
        (r#"{"shape": "template", "template": "{{ x"}"#, "/template"),
        (
            r#"{"shape": "template", "template": "", "contentType": "a/b\r\nx: y"}"#,
            "/contentType",
        ),
    ] {
        assert_eq!(
            payload(definition).unwrap_err().pointer,
            pointer,
            "{definition}"
        );
    }
    let error = payload(r#"{"shape": "template", "template": "a\n {{ b"}"#).unwrap_err();
    assert_eq!(
        (error.place.unwrap().line, error.value.unwrap().as_str()),
        (2, " {{ b")
    );
}
