//! Messages of JSON-RPC over standard input and output, one a line.

mod forward;
mod local;

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Stdout};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub(crate) use crate::stdio::forward::Forward;
pub(crate) use crate::stdio::local::Local;

/// The longest message.
const LINE_BYTES_MAX: usize = 16 << 20;
/// How many messages are answered at once; others wait in the pipe.
const MESSAGES_MAX: usize = 32;

const TOO_LONG: &[u8] =
    br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the message is too long"}}"#;

/// What answers messages.
pub(crate) trait Answerer: Send + Sync + 'static {
    /// Answers a message; `None` where there is nothing to answer.
    fn answer(&self, message: Bytes) -> impl Future<Output = Option<Vec<u8>>> + Send;
}

/// Answers what comes until the input ends, and what is being answered then.
pub(crate) async fn serve(answerer: Arc<impl Answerer>) -> anyhow::Result<()> {
    let mut input = Lines::new(BufReader::new(tokio::io::stdin()));
    let output = Arc::new(Mutex::new(tokio::io::stdout()));
    let mut work = JoinSet::new();
    loop {
        while work.len() >= MESSAGES_MAX {
            ended(work.join_next().await)?;
        }
        let line = tokio::select! {
            line = input.next() => line?,
            Some(done) = work.join_next() => {
                ended(Some(done))?;
                continue;
            }
        };
        match line {
            Line::End => break,
            Line::Empty => {}
            Line::TooLong => write(&output, TOO_LONG).await?,
            Line::Message(message) => {
                let (answerer, output) = (Arc::clone(&answerer), Arc::clone(&output));
                work.spawn(async move {
                    match answerer.answer(message).await {
                        Some(answer) => write(&output, &answer).await,
                        None => Ok(()),
                    }
                });
            }
        }
    }
    while let Some(done) = work.join_next().await {
        ended(Some(done))?;
    }
    Ok(())
}

type Done = Result<std::io::Result<()>, tokio::task::JoinError>;

fn ended(done: Option<Done>) -> anyhow::Result<()> {
    match done {
        None => Ok(()),
        Some(done) => Ok(done??),
    }
}

async fn write(output: &Mutex<Stdout>, message: &[u8]) -> std::io::Result<()> {
    let mut output = output.lock().await;
    // A line end between tokens would end the message.
    let mut line: Vec<u8> = message
        .iter()
        .map(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        })
        .collect();
    line.push(b'\n');
    output.write_all(&line).await?;
    output.flush().await
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Message(Bytes),
    Empty,
    TooLong,
    End,
}

/// Reads lines.
struct Lines<R> {
    input: R,
    /// What has come of the line.
    line: Vec<u8>,
    too_long: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    const fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            too_long: false,
        }
    }

    /// Reads a line. A future that is dropped loses nothing.
    async fn next(&mut self) -> std::io::Result<Line> {
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                // A message without a line end was cut off.
                return Ok(Line::End);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            let text = available.get(..end.unwrap_or(taken)).unwrap_or_default();
            self.too_long |= self.line.len() + text.len() > LINE_BYTES_MAX;
            if self.too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(text);
            }
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        let line = std::mem::take(&mut self.line);
        let too_long = std::mem::take(&mut self.too_long);
        Ok(match (too_long, line.trim_ascii()) {
            (true, _) => Line::TooLong,
            (false, b"") => Line::Empty,
            (false, message) => Line::Message(Bytes::copy_from_slice(message)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_a_message() {
        let text = &b"{\"a\": 1}\r\n\n  \n{}\n{\"cut\""[..];
        let mut input = Lines::new(BufReader::with_capacity(4, text));
        let message = |text: &'static str| Line::Message(Bytes::from_static(text.as_bytes()));
        let expected = [
            message("{\"a\": 1}"),
            Line::Empty,
            Line::Empty,
            message("{}"),
            Line::End,
        ];
        for line in expected {
            assert_eq!(input.next().await.unwrap(), line);
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\n{}\n");
        let mut input = Lines::new(BufReader::new(&text[..]));
        assert_eq!(input.next().await.unwrap(), Line::TooLong);
        let next = input.next().await.unwrap();
        assert_eq!(next, Line::Message(Bytes::from_static(b"{}")));
    }
}
