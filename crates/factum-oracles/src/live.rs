//! Messages of WebSocket clients.

pub(crate) const SEEDS: &[&str] = &[
    r#"{"type":"authenticate","token":"fct_x"}"#,
    r#"{"type":"subscribe","subscriptionId":"s1","filter":{"eventTypes":["a.*"]},"options":{"includeHistory":true,"historyLimit":100,"fromPosition":17,"bufferSize":256,"heartbeatInterval":15000}}"#,
    r#"{"type":"ack","subscriptionId":"s1","position":17}"#,
    r#"{"type":"unsubscribe","subscriptionId":"s1"}"#,
    r#"{"type":"ping"}"#,
];

/// A message is understood or refused in words; either way the reading ends, and what is refused
/// is not given back at length.
///
/// # Panics
/// When not.
pub fn live(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(detail) = factum_server::fuzzing::client_message(text) {
        assert!(!detail.is_empty());
        assert!(detail.len() < 4096, "a refusal of {} bytes", detail.len());
    }
}
