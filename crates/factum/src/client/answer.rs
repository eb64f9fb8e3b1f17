//! What a server answered: whole, or line by line while it comes.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{HeaderMap, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::client::problem::Problem;
use crate::exit::Failure;

/// How long a body may stand still. Live streams send heartbeats more often than this.
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// The largest body that is taken into memory at once.
const WHOLE_BYTES_MAX: usize = 256 << 20;
/// The longest line of a streamed body.
const LINE_BYTES_MAX: usize = 64 << 20;

/// An answer whose body has not been read.
#[derive(Debug)]
pub(crate) struct Answer {
    url: String,
    response: Response<Incoming>,
}

impl Answer {
    pub(crate) const fn new(url: String, response: Response<Incoming>) -> Self {
        Self { url, response }
    }

    /// Returns the status.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads the body as a problem document.
    pub(crate) async fn problem(self) -> anyhow::Error {
        Problem::read(self).await
    }

    /// Reads the whole body.
    pub(crate) async fn bytes(self) -> anyhow::Result<Bytes> {
        let mut lines = self.lines();
        while lines.more().await? {
            if lines.buffer.len() > WHOLE_BYTES_MAX {
                return Err(anyhow::anyhow!("answer exceeds {WHOLE_BYTES_MAX} bytes"));
            }
        }
        Ok(lines.buffer.freeze())
    }

    /// Reads the whole body as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        Ok(serde_json::from_slice(&self.bytes().await?)?)
    }

    /// Reads the body line by line.
    pub(crate) fn lines(self) -> Lines {
        Lines {
            url: self.url,
            body: self.response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
        }
    }
}

/// The lines of a body, as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    url: String,
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    ended: bool,
}

impl Lines {
    /// Returns the next line without its end, or `None` after the last. Cancellation safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(anyhow::anyhow!(
                    "a line of the answer exceeds {LINE_BYTES_MAX} bytes"
                ));
            }
            if !self.more().await? {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    /// Returns the next line if it has come already.
    pub(crate) fn buffered(&mut self) -> Option<Bytes> {
        let unsearched = self.buffer.get(self.searched..)?;
        let Some(at) = unsearched.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + at);
        self.buffer.advance(1);
        self.searched = 0;
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Some(line.freeze())
    }

    /// Waits for more of the body. Returns whether there was more.
    async fn more(&mut self) -> anyhow::Result<bool> {
        while !self.ended {
            let frame = timeout(PAUSE_MAX, self.body.frame()).await;
            let broken = |source| Failure::Unreachable {
                url: self.url.clone(),
                source,
            };
            match frame {
                Err(_) => return Err(broken(io::ErrorKind::TimedOut.into()).into()),
                Ok(None) => self.ended = true,
                Ok(Some(Err(error))) => return Err(broken(io::Error::other(error)).into()),
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref()
                        && !data.is_empty()
                    {
                        self.buffer.extend_from_slice(data);
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
