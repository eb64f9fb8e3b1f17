//! A connection that costs next to nothing: requests are bytes made beforehand, and of an answer
//! only status and length are looked at.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const HEAD_BYTES_MAX: usize = 16 << 10;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

/// The status of an answer, and how many bytes its body had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) n_bytes: usize,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; 64 << 10],
            filled: 0,
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        let answer = timeout(ANSWER_MAX, async {
            self.stream.write_all(request).await?;
            self.answer().await
        });
        answer
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let (answer, n_head) = loop {
            if let Some(head) = parse_head(&self.buffer[..self.filled])? {
                break head;
            }
            if self.filled > HEAD_BYTES_MAX {
                return Err(invalid("the head of an answer is too long"));
            }
            self.fill().await?;
        };
        let mut n_left = n_head + answer.n_bytes;
        while n_left > self.filled {
            n_left -= self.filled;
            self.filled = 0;
            self.fill().await?;
        }
        self.buffer.copy_within(n_left..self.filled, 0);
        self.filled -= n_left;
        Ok(answer)
    }

    async fn fill(&mut self) -> io::Result<()> {
        let free = &mut self.buffer[self.filled..];
        let n_bytes = self.stream.read(free).await?;
        if n_bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += n_bytes;
        Ok(())
    }

    /// Returns the stream, and what has been read of it beyond the last answer.
    pub(crate) fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        self.buffer.truncate(self.filled);
        (self.stream, self.buffer)
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Reads the head of an answer, if it is all there: what it says, and how long it is.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = bytes[..end].split(|&byte| byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| line.get(9..12))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("the answer is not HTTP"))?;
    let mut n_bytes = 0;
    for line in lines {
        const NAME: &[u8] = b"content-length:";
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = std::str::from_utf8(&line[NAME.len()..]).unwrap_or_default();
            n_bytes = value
                .trim()
                .parse()
                .map_err(|_| invalid("the answer has no usable length"))?;
        }
    }
    Ok(Some((Answer { status, n_bytes }, end + 4)))
}

/// Builds a request.
pub(crate) fn request(method: &str, path: &str, key: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = key.map_or_else(String::new, |key| {
        format!("Authorization: Bearer {key}\r\n")
    });
    let length = if body.is_empty() {
        String::new()
    } else {
        format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        )
    };
    format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n{authorization}{length}\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_status_and_length_in_any_letter_case() {
        let head = b"HTTP/1.1 201 Created\r\ncontent-Length: 12\r\nx: y\r\n\r\nbody";
        let (answer, n_head) = parse_head(head).unwrap().unwrap();
        assert_eq!(
            answer,
            Answer {
                status: 201,
                n_bytes: 12
            }
        );
        assert_eq!(&head[n_head..], b"body");
        assert_eq!(parse_head(&head[..30]).unwrap(), None);
        assert!(parse_head(b"nonsense\r\n\r\n").is_err());
    }
}
