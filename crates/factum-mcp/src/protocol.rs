//! What the protocol asks of a message before anything is done with it, and how it is answered.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::message::{Message, Stated};
use crate::revision::{Revision, is_stateless_date};

/// The errors of JSON-RPC and of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RpcCode {
    ParseError,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    InternalError,
    ResourceNotFound,
    HeaderMismatch,
    UnsupportedRevision,
}

impl RpcCode {
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::ParseError => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::InternalError => -32603,
            Self::ResourceNotFound => -32002,
            Self::HeaderMismatch => -32020,
            Self::UnsupportedRevision => -32022,
        }
    }
}

/// A message is answered with an error of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: RpcCode,
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
}

impl RpcError {
    pub(crate) fn new(code: RpcCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Writes the answer to the request with this id.
    pub(crate) fn write(&self, id: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Whole<'a> {
            jsonrpc: &'static str,
            id: Box<RawValue>,
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            code: i32,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a Value>,
        }
        let whole = Whole {
            jsonrpc: "2.0",
            id: RawValue::from_string(id.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            error: Error {
                code: self.code.number(),
                message: &self.message,
                data: self.data.as_ref(),
            },
        };
        serde_json::to_vec(&whole).unwrap_or_default()
    }
}

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Says which revision a message is of, if it is as that revision asks.
///
/// `stated` is what stands in the headers; `None` where there are no headers.
pub(crate) fn revision(
    message: &Message,
    stated: Option<Stated<'_>>,
) -> Result<Revision, RpcError> {
    let in_header = stated.and_then(|stated| stated.protocol_version);
    let date = message.params.meta_version.as_deref();
    // What asks for it in a revision that has no such method is told so, as of any other.
    if message.method() == "initialize" && !date.is_some_and(is_stateless_date) {
        return of_initialize(message, stated);
    }
    let revision = match message.params.meta_version.as_deref() {
        Some(date) => {
            if stated.is_some() && in_header != Some(date) {
                let words = match in_header {
                    None => "the header MCP-Protocol-Version is missing".to_owned(),
                    Some(other) => {
                        format!("the header MCP-Protocol-Version says {other}, _meta says {date}")
                    }
                };
                return Err(RpcError::new(RpcCode::HeaderMismatch, words));
            }
            known(date)?
        }
        None if message.is_request() => without_meta(message, in_header)?,
        None => in_header.map_or(Ok(Revision::V2025_11_25), known)?,
    };
    let needs_meta = revision.is_stateless() || message.method() == "server/discover";
    if message.is_request() && needs_meta && !message.params.has_capabilities {
        return Err(missing(&[META_CAPABILITIES]));
    }
    if let Some(stated) = stated
        && revision.is_stateless()
    {
        check_headers(message, stated)?;
    }
    Ok(revision)
}

fn of_initialize(message: &Message, stated: Option<Stated<'_>>) -> Result<Revision, RpcError> {
    let asked = message
        .params
        .protocol_version
        .as_deref()
        .unwrap_or_default();
    if let Some(stated) = stated {
        if let Some(date) = stated.protocol_version.filter(|date| *date != asked) {
            let words =
                format!("the header MCP-Protocol-Version says {date}, initialize says {asked}");
            return Err(RpcError::new(RpcCode::InvalidRequest, words));
        }
        if stated.method.is_some_and(|method| method != "initialize") {
            let words = "the header Mcp-Method is not initialize";
            return Err(RpcError::new(RpcCode::HeaderMismatch, words));
        }
    }
    Ok(Revision::negotiated(asked))
}

fn without_meta(message: &Message, in_header: Option<&str>) -> Result<Revision, RpcError> {
    let stateless = in_header.is_some_and(is_stateless_date);
    if stateless || message.method() == "server/discover" {
        let capabilities = (!message.params.has_capabilities).then_some(META_CAPABILITIES);
        let keys: Vec<&str> = std::iter::once(META_VERSION).chain(capabilities).collect();
        return Err(missing(&keys));
    }
    // Clients of the first revision over HTTP send no header; what they know is the same.
    match in_header {
        None | Some("2025-03-26") => Ok(Revision::V2025_11_25),
        Some(date) => known(date),
    }
}

fn missing(keys: &[&str]) -> RpcError {
    let words = format!("_meta has no {}, or none that can be read", keys.join(", "));
    RpcError::new(RpcCode::InvalidParams, words)
}

fn known(date: &str) -> Result<Revision, RpcError> {
    Revision::from_name(date).ok_or_else(|| RpcError {
        code: RpcCode::UnsupportedRevision,
        message: "this revision of the protocol is not spoken here".to_owned(),
        data: Some(json!({
            "requested": date,
            "supported": Revision::ALL.map(Revision::as_str),
        })),
    })
}

/// Whoever stands in between may decide by these headers, so they say what the message says.
fn check_headers(message: &Message, stated: Stated<'_>) -> Result<(), RpcError> {
    let mismatch = |words: String| Err(RpcError::new(RpcCode::HeaderMismatch, words));
    match stated.method {
        None if !message.is_request() => return Ok(()),
        None => return mismatch("the header Mcp-Method is missing".to_owned()),
        Some(method) if method != message.method() => {
            let own = message.method();
            return mismatch(format!(
                "the header Mcp-Method says {method}, the message {own}"
            ));
        }
        Some(_) => {}
    }
    let Some(name) = message.name() else {
        return Ok(());
    };
    match stated.name.map(decoded) {
        Some(Some(stated)) if stated == name => Ok(()),
        None => mismatch("the header Mcp-Name is missing".to_owned()),
        Some(_) => mismatch("the header Mcp-Name is not what the message says".to_owned()),
    }
}

/// Reads the value of a header: as it is, or wrapped where it could not stand in a header.
fn decoded(value: &str) -> Option<String> {
    let wrapped = value
        .strip_prefix("=?base64?")
        .and_then(|inner| inner.strip_suffix("?="));
    match wrapped {
        None => Some(value.to_owned()),
        Some(inner) => String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const META: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn message(method: &str, params: &str) -> Message {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        Message::read(&Bytes::from(text)).unwrap()
    }

    fn call() -> Message {
        message("tools/call", &format!(r#""name":"factum_query"{META}"#))
    }

    fn code(message: &Message, stated: Option<Stated<'_>>) -> Option<i32> {
        revision(message, stated)
            .err()
            .map(|error| error.code.number())
    }

    #[test]
    fn a_stateless_request_says_what_it_is() {
        let good = Stated {
            protocol_version: Some("2026-07-28"),
            method: Some("tools/call"),
            name: Some("factum_query"),
        };
        assert_eq!(revision(&call(), Some(good)), Ok(Revision::V2026_07_28));
        assert_eq!(revision(&call(), None), Ok(Revision::V2026_07_28));
        let wrapped = Stated {
            name: Some("=?base64?ZmFjdHVtX3F1ZXJ5?="),
            ..good
        };
        assert_eq!(revision(&call(), Some(wrapped)), Ok(Revision::V2026_07_28));
        for wrong in [
            Stated::default(),
            Stated {
                protocol_version: Some("2025-11-25"),
                ..good
            },
            Stated {
                method: Some("tools/list"),
                ..good
            },
            Stated {
                method: None,
                ..good
            },
            Stated {
                name: Some("other"),
                ..good
            },
            Stated {
                name: Some("=?base64?%?="),
                ..good
            },
            Stated { name: None, ..good },
        ] {
            assert_eq!(code(&call(), Some(wrong)), Some(-32020), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_stateless_request_leaves_out_is_named() {
        let stated = Stated {
            protocol_version: Some("2026-07-28"),
            method: Some("tools/list"),
            name: None,
        };
        let bare = message("tools/list", "");
        assert_eq!(code(&bare, Some(stated)), Some(-32602));
        assert_eq!(code(&message("server/discover", ""), None), Some(-32602));
        let half = message(
            "tools/list",
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
        );
        assert_eq!(code(&half, None), Some(-32602));
    }

    #[test]
    fn other_revisions_are_refused_with_those_that_are_spoken() {
        let of = |date: &str| {
            let meta = META.replace("2026-07-28", date);
            message("tools/list", meta.trim_start_matches(','))
        };
        let error = revision(&of("2031-01-01"), None).unwrap_err();
        assert_eq!(error.code.number(), -32022);
        assert_eq!(error.data.unwrap()["supported"][2], "2026-07-28");
        let stated = Stated {
            protocol_version: Some("1999-01-01"),
            ..Stated::default()
        };
        assert_eq!(code(&message("tools/list", ""), Some(stated)), Some(-32022));
    }

    #[test]
    fn older_clients_state_the_revision_or_nothing() {
        let list = message("tools/list", "");
        let check = |date, expected| {
            let stated = Stated {
                protocol_version: date,
                ..Stated::default()
            };
            assert_eq!(revision(&list, Some(stated)), Ok(expected));
        };
        check(None, Revision::V2025_11_25);
        check(Some("2025-06-18"), Revision::V2025_06_18);
        check(Some("2025-11-25"), Revision::V2025_11_25);
        let initialize = message("initialize", r#""protocolVersion":"2025-11-25""#);
        let other = Stated {
            protocol_version: Some("2025-06-18"),
            ..Stated::default()
        };
        assert_eq!(code(&initialize, Some(other)), Some(-32600));
        assert_eq!(revision(&initialize, None), Ok(Revision::V2025_11_25));
    }
}
