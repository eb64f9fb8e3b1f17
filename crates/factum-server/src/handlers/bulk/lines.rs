//! The lines of a body, decompressed as they come.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Buf as _, Bytes, BytesMut};
use factum_model::{ErrorCode, LimitExceeded};
use futures_util::TryStreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
use tokio_util::io::StreamReader;

use crate::error::ApiError;
use crate::options::ServerOptions;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// What an envelope may take beside the texts of its event.
const ENVELOPE_BYTES: usize = 4 << 10;

/// The lines of a body.
pub(super) struct Lines {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    /// The number of the last line that was given out.
    number: u64,
    ended: bool,
    line_bytes_max: usize,
    pause_max: Duration,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// What comes next.
pub(super) enum NextLine {
    Line {
        /// Its number, from 1.
        number: u64,
        text: Bytes,
    },
    Ended,
}

impl Lines {
    /// Opens a body, decompressing it as its header says.
    pub(super) fn open(
        body: Body,
        headers: &HeaderMap,
        options: &ServerOptions,
        event_bytes_max: usize,
    ) -> Result<Self, ApiError> {
        let plain = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        let encoding = headers.get(header::CONTENT_ENCODING);
        let encoding = encoding.map_or("identity", |value| value.to_str().unwrap_or_default());
        let reader: Pin<Box<dyn AsyncRead + Send>> = match encoding {
            "identity" => Box::pin(plain),
            "gzip" | "x-gzip" => {
                let mut decoder = GzipDecoder::new(BufReader::new(plain));
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            "zstd" => {
                // The window is memory that the client chooses the size of.
                let window = DParameter::window_log_max(options.bulk.zstd_window_log_max);
                let mut decoder = ZstdDecoder::with_params(BufReader::new(plain), &[window]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            _ => {
                let detail = "Content-Encoding must be gzip, zstd or absent";
                return Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail));
            }
        };
        Ok(Self {
            reader,
            buffer: BytesMut::new(),
            searched: 0,
            number: 0,
            ended: false,
            // An escape takes six bytes for one.
            line_bytes_max: event_bytes_max.saturating_add(ENVELOPE_BYTES),
            pause_max: options.body_pause_max,
        })
    }

    /// Returns the number of the last line that was given out.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Tells whether a whole line is there without waiting.
    pub(super) fn has_buffered(&mut self) -> bool {
        self.find_end().is_some() || self.ended
    }

    /// Returns the next line without its end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<NextLine, ApiError> {
        loop {
            if let Some(end) = self.find_end() {
                let text = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(self.numbered(text));
            }
            if self.buffer.len() > self.line_bytes_max {
                return Err(LimitExceeded {
                    what: "line in bytes",
                    limit: self.line_bytes_max,
                    actual: self.buffer.len(),
                }
                .into());
            }
            if self.ended {
                if self.buffer.is_empty() {
                    return Ok(NextLine::Ended);
                }
                let text = self.buffer.split().freeze();
                self.searched = 0;
                return Ok(self.numbered(text));
            }
            self.read_more().await?;
        }
    }

    fn numbered(&mut self, text: Bytes) -> NextLine {
        self.number += 1;
        let number = self.number;
        NextLine::Line { number, text }
    }

    fn find_end(&mut self) -> Option<usize> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        match memchr::memchr(b'\n', unsearched) {
            Some(at) => Some(self.searched + at),
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), ApiError> {
        self.buffer.reserve(READ_BYTES);
        let reading = self.reader.read_buf(&mut self.buffer);
        match tokio::time::timeout(self.pause_max, reading).await {
            Ok(Ok(0)) => {
                self.ended = true;
                Ok(())
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let detail = "the body broke off or could not be decompressed";
                Err(ApiError::hidden(ErrorCode::InvalidRequest, detail, error))
            }
            Err(_) => {
                let seconds = self.pause_max.as_secs();
                let detail = format!("the body paused for more than {seconds} s");
                Err(ApiError::new(ErrorCode::Timeout, detail))
            }
        }
    }
}
