//! Messages passed on to a server, byte for byte.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use factum_mcp::{Access, Message};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::cli::Context;
use crate::client::{Call, Client, Target, target};
use crate::stdio::Answerer;

/// How long a server may take to answer; above its own limit.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// Passes messages on to a server.
#[derive(Debug)]
pub(crate) struct Forward {
    target: Target,
    key: Option<String>,
    path: &'static str,
    /// Connections that wait for the next message.
    idle: Mutex<Vec<Client>>,
}

impl Forward {
    /// Makes the way to the server that flags, environment or the data directory name.
    pub(crate) fn new(context: &Context, access: Access) -> anyhow::Result<Self> {
        let (target, key) = target(context)?;
        let path = match access {
            Access::All => "/mcp",
            Access::ReadOnly => "/mcp?access=read",
        };
        // A key that cannot be sent is told at once, not with the first message.
        let client = Client::new(target.clone(), key.as_deref())?;
        Ok(Self {
            target,
            key,
            path,
            idle: Mutex::new(vec![client]),
        })
    }

    fn client(&self) -> anyhow::Result<Client> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(client) => Ok(client),
            None => Client::new(self.target.clone(), self.key.as_deref()),
        }
    }

    async fn pass_on(&self, message: Option<&Message>, text: Bytes) -> anyhow::Result<Vec<u8>> {
        let mut client = self.client()?;
        let mut call = Call::post(self.path, text)
            .accept("application/json, text/event-stream")
            .wait_at_most(ANSWER_MAX)
            .any_status();
        for (name, value) in message.map(stated).unwrap_or_default() {
            call = call.header(name, value);
        }
        let answer = client.send(call).await?;
        let is_problem = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
        if is_problem {
            return Err(answer.problem().await);
        }
        let body = answer.bytes().await?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(client);
        Ok(body.to_vec())
    }
}

impl Answerer for Forward {
    async fn answer(&self, text: Bytes) -> Option<Vec<u8>> {
        let message = Message::read(&text);
        let answered = match self.pass_on(message.as_ref(), text).await {
            Ok(body) => body,
            Err(error) => {
                let message = message.as_ref().filter(|message| message.is_request())?;
                message.failed(&format!("{error:#}"))
            }
        };
        (!answered.is_empty()).then_some(answered)
    }
}

/// Returns what the headers say of a message.
fn stated(message: &Message) -> Vec<(HeaderName, HeaderValue)> {
    let Some(version) = message.protocol_version() else {
        return Vec::new();
    };
    let values = [
        ("mcp-protocol-version", Some(version.to_owned())),
        ("mcp-method", Some(message.method().to_owned())),
        ("mcp-name", message.name().map(wrapped)),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| {
            let value = HeaderValue::from_str(&value?).ok()?;
            Some((HeaderName::from_static(name), value))
        })
        .collect()
}

/// Wraps a value that cannot stand in a header.
fn wrapped(value: &str) -> String {
    let is_plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && value.trim() == value
        && !value.starts_with("=?base64?");
    if is_plain {
        return value.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_the_message_says() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"factum://ö",
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = Message::read(&Bytes::from_static(text.as_bytes())).unwrap();
        let stated = stated(&message);
        let values: Vec<&str> = stated
            .iter()
            .map(|(_, value)| value.to_str().unwrap())
            .collect();
        assert_eq!(
            values,
            [
                "2026-07-28",
                "resources/read",
                "=?base64?ZmFjdHVtOi8vw7Y=?="
            ]
        );
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let message = Message::read(&Bytes::from_static(text.as_bytes())).unwrap();
        assert!(super::stated(&message).is_empty());
    }
}
