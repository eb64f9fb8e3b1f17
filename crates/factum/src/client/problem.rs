//! Problem documents (RFC 9457) as a client reads them.

use serde::Deserialize;
use thiserror::Error;

use crate::client::answer::Answer;

/// A failure that the server told of.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{detail}{}", at(.pointer.as_deref()))]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The stable code.
    pub(crate) code: String,
    /// What went wrong, in words.
    pub(crate) detail: String,
    /// The place in the request.
    pub(crate) pointer: Option<String>,
    /// The line of a bulk append, from 1.
    pub(crate) line: Option<u64>,
}

fn at(pointer: Option<&str>) -> String {
    pointer.map_or_else(String::new, |pointer| format!(" at {pointer}"))
}

#[derive(Deserialize)]
struct Document {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    pointer: Option<String>,
    line: Option<u64>,
    status: Option<u16>,
}

#[derive(Deserialize)]
struct LastLine {
    error: Document,
}

impl From<(u16, Option<Document>)> for Problem {
    fn from((status, document): (u16, Option<Document>)) -> Self {
        let status = document
            .as_ref()
            .and_then(|document| document.status)
            .unwrap_or(status);
        let code = document.as_ref().and_then(|document| document.code.clone());
        let line = document.as_ref().and_then(|document| document.line);
        let pointer = document
            .as_ref()
            .and_then(|document| document.pointer.clone());
        let detail = document.and_then(|document| document.detail.or(document.title));
        Self {
            status,
            code: code.unwrap_or_else(|| format!("http_{status}")),
            detail: detail.unwrap_or_else(|| format!("the server answered with status {status}")),
            pointer,
            line,
        }
    }
}

impl Problem {
    /// Reads the problem of an answer. One without a problem document has the status as words.
    pub(crate) async fn read(answer: Answer) -> anyhow::Error {
        let status = answer.status();
        match answer.bytes().await {
            Ok(body) => Self::parse(status.as_u16(), &body).into(),
            Err(error) => error,
        }
    }

    /// Reads a problem document.
    pub(crate) fn parse(status: u16, body: &[u8]) -> Self {
        (status, serde_json::from_slice::<Document>(body).ok()).into()
    }

    /// Reads the last line of a streamed answer that failed; `None` for any other line.
    pub(crate) fn of_line(line: &[u8]) -> Option<Self> {
        // Events and receipts begin otherwise, which spares a look at the rest of them.
        if !line.starts_with(b"{\"error\":") {
            return None;
        }
        let last: LastLine = serde_json::from_slice(line).ok()?;
        Some((500, Some(last.error)).into())
    }

    /// Tells whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        factum_model::ErrorCode::ALL
            .iter()
            .find(|code| code.as_str() == self.code)
            .map_or(self.status >= 500, |code| code.is_retryable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gives_code_detail_and_pointer() {
        let body = br#"{"type":"x","code":"invalid_event","detail":"event type is empty","pointer":"/type"}"#;
        let problem = Problem::parse(400, body);
        assert_eq!(problem.to_string(), "event type is empty at /type");
        assert_eq!(problem.code, "invalid_event");
        assert!(!problem.is_retryable());
    }

    #[test]
    fn the_last_line_of_a_broken_stream_is_a_problem() {
        let line =
            br#"{"error":{"status":503,"code":"shutting_down","detail":"the store is closed"}}"#;
        let problem = Problem::of_line(line).unwrap();
        assert_eq!((problem.status, &*problem.code), (503, "shutting_down"));
        assert_eq!(Problem::of_line(br#"{"id":"x","error":1}"#), None);
    }

    #[test]
    fn an_answer_of_a_proxy_is_told_by_its_status() {
        let problem = Problem::parse(502, b"<html>Bad Gateway</html>");
        assert_eq!(problem.to_string(), "the server answered with status 502");
        assert!(problem.is_retryable());
    }
}
