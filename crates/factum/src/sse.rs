//! Server-Sent Events as a client reads them.

use bytes::Bytes;

use crate::client::Lines;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its kind; empty stands for `message`.
    pub(crate) event: String,
    /// Its text.
    pub(crate) data: Vec<u8>,
}

/// Puts lines together to messages.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The last place that the server named, also in a block without data.
    pub(crate) last_id: Option<String>,
    message: Message,
    has_data: bool,
}

impl Assembler {
    /// Begins after a place that is known already.
    pub(crate) fn after(last_id: Option<String>) -> Self {
        Self {
            last_id,
            ..Self::default()
        }
    }

    /// Takes a line; returns the message that it ends.
    pub(crate) fn line(&mut self, line: &Bytes) -> Option<Message> {
        if line.is_empty() {
            let has_data = std::mem::take(&mut self.has_data);
            let message = std::mem::take(&mut self.message);
            return has_data.then_some(message);
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"id" => self.last_id = Some(text()),
            b"event" => self.message.event = text(),
            b"data" => {
                if self.has_data {
                    self.message.data.push(b'\n');
                }
                self.has_data = true;
                self.message.data.extend_from_slice(value);
            }
            // A comment keeps the connection awake; other fields mean nothing here.
            _ => {}
        }
        None
    }
}

/// Waits for the next message; `None` when the server has closed the stream.
pub(crate) async fn next(
    lines: &mut Lines,
    assembler: &mut Assembler,
) -> anyhow::Result<Option<Message>> {
    while let Some(line) = lines.next().await? {
        if let Some(message) = assembler.line(&line) {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_messages() {
        let mut assembler = Assembler::default();
        let text =
            ": hello\n\nid: c1\nevent: event\ndata: {\"a\":1}\n\ndata:x\ndata: y\n\nid: c2\n";
        let messages: Vec<_> = text
            .split('\n')
            .filter_map(|line| assembler.line(&Bytes::copy_from_slice(line.as_bytes())))
            .collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].event, "event");
        assert_eq!(messages[0].data, b"{\"a\":1}");
        assert_eq!(messages[1].data, b"x\ny");
        // A place counts even where there is nothing to tell of it.
        assert_eq!(assembler.last_id.as_deref(), Some("c2"));
    }
}
