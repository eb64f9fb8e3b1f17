//! A message of JSON-RPC, read as far as the protocol needs it: arguments stay texts.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::{RpcCode, RpcError};

/// What a client states beside the message, in the headers of a request over HTTP. Over standard
/// input and output there is nothing beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stated<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of a request, as it was written; a notification has none.
    id: Option<String>,
    method: String,
    pub(crate) params: Params,
}

/// The parameters of all methods. Which of them mean something depends on the method.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Params {
    pub(crate) name: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) cursor: Option<String>,
    /// Of `initialize`.
    pub(crate) protocol_version: Option<String>,
    /// The arguments of a tool or a prompt, as they were written. They share the bytes of the
    /// message.
    pub(crate) arguments: Option<Bytes>,
    /// The revision that a request says it is of.
    pub(crate) meta_version: Option<String>,
    pub(crate) has_capabilities: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Parameters<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cursor: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "protocolVersion")]
    protocol_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    protocol_version: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    client_capabilities: Option<&'a RawValue>,
}

/// What came in.
pub(crate) enum Incoming {
    /// A request or a notification.
    Message(Box<Message>),
    /// An answer of the client, to nothing that was asked here.
    Answer,
}

impl Message {
    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Tells whether an answer is expected.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.id.is_some()
    }

    /// Returns the revision that the message says it is of.
    #[must_use]
    pub fn protocol_version(&self) -> Option<&str> {
        let of_initialize = self.params.protocol_version.as_deref();
        self.params.meta_version.as_deref().or(of_initialize)
    }

    /// Returns what `Mcp-Name` says of a message of this method.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self.method.as_str() {
            "tools/call" | "prompts/get" => self.params.name.as_deref(),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                self.params.uri.as_deref()
            }
            _ => None,
        }
    }

    /// Reads a message, for those who pass it on. `None` where it is none.
    #[must_use]
    pub fn read(text: &Bytes) -> Option<Self> {
        match parse(text) {
            Ok(Incoming::Message(message)) => Some(*message),
            Ok(Incoming::Answer) | Err(_) => None,
        }
    }

    /// Writes the answer to a request that could not be passed on.
    #[must_use]
    pub fn failed(&self, words: &str) -> Vec<u8> {
        RpcError::new(RpcCode::InternalError, words).write(self.id())
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or("null")
    }
}

/// A message that is none, and the id to answer it with.
pub(crate) struct Unreadable {
    pub(crate) id: String,
    pub(crate) error: RpcError,
}

/// Reads a message.
pub(crate) fn parse(text: &Bytes) -> Result<Incoming, Unreadable> {
    let fails = |id: Option<&RawValue>, code, words: &str| Unreadable {
        id: id.map_or_else(|| "null".to_owned(), |id| id.get().to_owned()),
        error: RpcError::new(code, words),
    };
    let checked: &RawValue = serde_json::from_slice(text)
        .map_err(|_| fails(None, RpcCode::ParseError, "the message is not JSON"))?;
    if !checked.get().starts_with('{') {
        let words = "a message is one JSON object; batches are not taken";
        return Err(fails(None, RpcCode::InvalidRequest, words));
    }
    let envelope: Envelope<'_> = serde_json::from_str(checked.get()).map_err(|_| {
        fails(
            None,
            RpcCode::InvalidRequest,
            "the message is not one of JSON-RPC",
        )
    })?;
    let id = envelope.id.filter(|id| is_id(id.get()));
    if envelope.jsonrpc.as_deref() != Some("2.0") {
        let words = "the message does not say \"jsonrpc\":\"2.0\"";
        return Err(fails(id, RpcCode::InvalidRequest, words));
    }
    if envelope.id.is_some() && id.is_none() {
        let words = "the id of a request is a text or an integer";
        return Err(fails(None, RpcCode::InvalidRequest, words));
    }
    let Some(method) = envelope.method else {
        if envelope.result.is_some() || envelope.error.is_some() {
            return Ok(Incoming::Answer);
        }
        return Err(fails(
            id,
            RpcCode::InvalidRequest,
            "the message has no method",
        ));
    };
    let params = match envelope.params {
        None => Parameters::default(),
        Some(params) if params.get().starts_with('{') => serde_json::from_str(params.get())
            .map_err(|error| fails(id, RpcCode::InvalidParams, &of_params(&error)))?,
        Some(_) => {
            let words = "params is not an object";
            return Err(fails(id, RpcCode::InvalidParams, words));
        }
    };
    let is_object = |raw: &&RawValue| raw.get().starts_with('{');
    let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let (meta_version, capabilities) = params.meta.map_or((None, None), |meta| {
        (own(meta.protocol_version), meta.client_capabilities)
    });
    Ok(Incoming::Message(Box::new(Message {
        id: id.map(|id| id.get().to_owned()),
        method: method.into_owned(),
        params: Params {
            name: own(params.name),
            uri: own(params.uri),
            cursor: own(params.cursor),
            protocol_version: own(params.protocol_version),
            arguments: params
                .arguments
                .map(|raw| text.slice_ref(raw.get().as_bytes())),
            meta_version,
            has_capabilities: capabilities.as_ref().is_some_and(is_object),
        },
    })))
}

fn of_params(error: &serde_json::Error) -> String {
    format!("params is not as the method needs it: {error}")
}

fn is_id(text: &str) -> bool {
    let is_integer = || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    text.starts_with('"') || is_integer()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Incoming, Unreadable> {
        parse(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn arguments_stay_as_they_were_written() {
        let text = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x",
            "arguments":{"amount": 12.50, "n":123456789012345678901234567890},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let Ok(Incoming::Message(message)) = read(text) else {
            panic!("no message");
        };
        assert_eq!((message.id(), message.method()), ("7", "tools/call"));
        assert_eq!(message.name(), Some("x"));
        assert_eq!(message.protocol_version(), Some("2026-07-28"));
        assert!(message.params.has_capabilities);
        let arguments = message.params.arguments.unwrap();
        let expected = r#"{"amount": 12.50, "n":123456789012345678901234567890}"#;
        assert_eq!(arguments, expected.as_bytes());
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let check = |text, id: &str, code: RpcCode| {
            let Err(unreadable) = read(text) else {
                panic!("{text}");
            };
            assert_eq!(
                (unreadable.id.as_str(), unreadable.error.code),
                (id, code),
                "{text}"
            );
        };
        check("nonsense", "null", RpcCode::ParseError);
        check("[]", "null", RpcCode::InvalidRequest);
        check("{}", "null", RpcCode::InvalidRequest);
        check(
            r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
            "1",
            RpcCode::InvalidRequest,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#,
            "null",
            RpcCode::InvalidRequest,
        );
        check(
            r#"{"jsonrpc":"2.0","id":"a"}"#,
            "\"a\"",
            RpcCode::InvalidRequest,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#,
            "1",
            RpcCode::InvalidParams,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":1}}"#,
            "1",
            RpcCode::InvalidParams,
        );
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            Ok(Incoming::Answer)
        ));
    }
}
