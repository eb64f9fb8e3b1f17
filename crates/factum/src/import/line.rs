//! Lines that become events.
//!
//! An event that has no id gets a UUID of version 8 out of SHA-256 over the namespace, the line
//! and how many equal lines came before it. So the same input always gives the same ids: an import
//! that broke off goes on where it was, a second one changes nothing, and two equal lines
//! are two events. The name of the file does not matter, nor how it is packed.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead};

use aws_lc_rs::digest;
use factum_model::{EventId, JsonFault, JsonLimits, members, validate_object};
use thiserror::Error;

/// A line that cannot be an event.
#[derive(Debug, Error)]
#[error("line {number}: {fault}")]
pub(crate) struct InvalidLine {
    /// The number of the line, from 1.
    pub(crate) number: u64,
    /// What is wrong.
    pub(crate) fault: LineFault,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub(crate) enum LineFault {
    /// It is not text.
    #[error("not UTF-8")]
    Encoding,
    /// It is longer than anything that could be an event.
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
    /// It is not a JSON object.
    #[error("{0}")]
    Json(#[from] JsonFault),
    /// An event needs this.
    #[error("no {0:?}")]
    Missing(&'static str),
}

/// An event on its way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// The number of its line, from 1.
    pub(crate) number: u64,
    /// The event as one line of JSON, with its line end.
    pub(crate) text: Vec<u8>,
}

/// The largest line: far above the limits of any server.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What the store assigns; an exported line has it, an appended one must not.
const ASSIGNED: [&str; 3] = ["sequenceNumber", "position", "recordedAt"];

/// Reads lines and makes them events.
pub(crate) struct LineReader {
    reader: Box<dyn BufRead + Send>,
    namespace: String,
    number: u64,
    line: Vec<u8>,
    seen: Seen,
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineReader")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl LineReader {
    /// Reads from a reader. Imports with different namespaces never share ids.
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, namespace: &str) -> Self {
        Self {
            reader,
            namespace: namespace.to_owned(),
            number: 0,
            line: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// Returns the next event, an invalid line, or `None` at the end. Empty lines are skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Result<Prepared, InvalidLine>>> {
        loop {
            self.line.clear();
            let mut limited = io::Read::take(&mut self.reader, LINE_BYTES_MAX as u64 + 1);
            if limited.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() > LINE_BYTES_MAX {
                self.skip_line()?;
                return Ok(Some(Err(self.invalid(LineFault::TooLong {
                    limit: LINE_BYTES_MAX,
                }))));
            }
            if !self.line.trim_ascii().is_empty() {
                let prepared = prepare(&self.line, &self.namespace, &mut self.seen);
                let number = self.number;
                return Ok(Some(match prepared {
                    Ok(text) => Ok(Prepared { number, text }),
                    Err(fault) => Err(self.invalid(fault)),
                }));
            }
        }
    }

    const fn invalid(&self, fault: LineFault) -> InvalidLine {
        InvalidLine {
            number: self.number,
            fault,
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        while self.line.last().is_some_and(|&byte| byte != b'\n') {
            self.line.clear();
            let mut limited = io::Read::take(&mut self.reader, LINE_BYTES_MAX as u64);
            limited.read_until(b'\n', &mut self.line)?;
        }
        Ok(())
    }
}

fn prepare(line: &[u8], namespace: &str, seen: &mut Seen) -> Result<Vec<u8>, LineFault> {
    let line = line.trim_ascii();
    let text = std::str::from_utf8(line).map_err(|_| LineFault::Encoding)?;
    // The depth of a payload is the server's to judge.
    validate_object(text, JsonLimits { depth_max: 4096 })?;
    let (mut has_id, mut has_assigned, mut found) = (false, false, [false; 4]);
    for (key, value) in members(text) {
        has_id |= key == "id" && value != "null";
        has_assigned |= ASSIGNED.contains(&&*key) || (key == "id" && value == "null");
        if let Some(index) = REQUIRED.iter().position(|required| *required == key) {
            found[index] = true;
        }
    }
    if let Some(index) = found.iter().position(|found| !found) {
        return Err(LineFault::Missing(REQUIRED[index]));
    }
    let mut event = Vec::with_capacity(line.len() + 48);
    event.push(b'{');
    if !has_id {
        let id = id_of(line, seen.count(namespace, line), namespace);
        event.extend_from_slice(b"\"id\":\"");
        event.extend_from_slice(id.encode(&mut [0; 36]).as_bytes());
        event.extend_from_slice(b"\",");
    }
    if has_assigned {
        copy_given(text, has_id, &mut event)?;
    } else {
        event.extend_from_slice(line.get(1..).unwrap_or_default());
    }
    event.push(b'\n');
    Ok(event)
}

const REQUIRED: [&str; 4] = ["type", "aggregateType", "aggregateId", "payload"];

/// Copies all members that a writer may give; their values byte for byte.
fn copy_given(text: &str, has_id: bool, event: &mut Vec<u8>) -> Result<(), LineFault> {
    let given =
        members(text).filter(|(key, _)| !ASSIGNED.contains(&&**key) && (has_id || key != "id"));
    for (index, (key, value)) in given.enumerate() {
        if index > 0 {
            event.push(b',');
        }
        serde_json::to_writer(&mut *event, &key).map_err(|_| LineFault::Encoding)?;
        event.push(b':');
        event.extend_from_slice(value.as_bytes());
    }
    event.push(b'}');
    Ok(())
}

/// Returns the id of the line that `n_before` equal ones precede.
fn id_of(line: &[u8], n_before: u64, namespace: &str) -> EventId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"factum import 1\0");
    context.update(&(namespace.len() as u64).to_be_bytes());
    context.update(namespace.as_bytes());
    context.update(&n_before.to_be_bytes());
    context.update(line);
    let hash = context.finish();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    EventId::from_bytes(bytes)
}

/// How often each line came. Keeps eight bytes a line; should two different lines share them, the
/// second one counts as a repeat, which changes its id but leaves it unique and the same each time.
#[derive(Default)]
struct Seen {
    once: HashSet<u64>,
    more: HashMap<u64, u64>,
}

impl Seen {
    fn count(&mut self, namespace: &str, line: &[u8]) -> u64 {
        let id = id_of(line, u64::MAX, namespace);
        let mut key = [0; 8];
        key.copy_from_slice(&id.as_bytes()[8..]);
        let key = u64::from_be_bytes(key);
        if self.once.insert(key) {
            return 0;
        }
        let n_before = self.more.entry(key).or_insert(0);
        *n_before += 1;
        *n_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str =
        r#"{"type":"a.b","aggregateType":"a","aggregateId":"1","payload":{"x": 1.0}}"#;

    fn read(text: &str, namespace: &str) -> Vec<Result<String, String>> {
        let mut reader = LineReader::new(
            Box::new(io::Cursor::new(text.to_owned().into_bytes())),
            namespace,
        );
        let mut lines = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            lines.push(
                line.map(|line| String::from_utf8(line.text).unwrap())
                    .map_err(|error| error.to_string()),
            );
        }
        lines
    }

    fn id(line: &str) -> String {
        line[7..43].to_owned()
    }

    #[test]
    fn ids_depend_on_line_and_occurrence_only() {
        let twice = format!("{EVENT}\n\n{EVENT}\r\n");
        let first: Vec<_> = read(&twice, "").into_iter().map(Result::unwrap).collect();
        let again: Vec<_> = read(&twice, "").into_iter().map(Result::unwrap).collect();
        assert_eq!(first, again);
        assert_ne!(id(&first[0]), id(&first[1]));
        let other = read(EVENT, "other").remove(0).unwrap();
        assert_ne!(id(&first[0]), id(&other));
        // The ids are promised for ever: a change would make imports append everything again.
        assert_eq!(id(&first[0]), "7343d9ed-0c1d-8da0-aa90-c08221108736");
        assert!(first[0].ends_with(&format!("{}\n", &EVENT[1..])));
    }

    #[test]
    fn an_exported_line_loses_only_what_the_store_assigns() {
        let line = r#"{"id":"0198c2f0-0000-7000-8000-000000000001","type":"a.b","version":1,"timestamp":"2026-01-01T00:00:00.000000Z","recordedAt":"2026-01-01T00:00:00.000000Z","aggregateType":"a","aggregateId":"1","sequenceNumber":3,"position":9,"correlationId":"c","metadata":{"k": [1, 2]},"payload":{"x": 1.0}}"#;
        assert_eq!(
            read(line, "").remove(0).unwrap().trim_end(),
            r#"{"id":"0198c2f0-0000-7000-8000-000000000001","type":"a.b","version":1,"timestamp":"2026-01-01T00:00:00.000000Z","aggregateType":"a","aggregateId":"1","correlationId":"c","metadata":{"k": [1, 2]},"payload":{"x": 1.0}}"#
        );
    }

    #[test]
    fn an_invalid_line_is_named_and_the_next_one_read() {
        let text = format!("{{\n[1]\n{{}}\n{EVENT}\n");
        let lines = read(&text, "");
        assert!(lines[0].as_ref().unwrap_err().starts_with("line 1: "));
        assert!(lines[1].as_ref().unwrap_err().starts_with("line 2: "));
        assert_eq!(lines[2].as_ref().unwrap_err(), "line 3: no \"type\"");
        assert!(lines[3].is_ok());
    }
}
