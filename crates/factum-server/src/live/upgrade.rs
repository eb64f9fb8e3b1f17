//! The WebSocket handshake.
//!
//! The server answers it itself, not through the web framework, since it needs to see the bytes
//! that a client takes: who takes none for too long is too slow, who takes few is not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderValue, Method, Version, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::options::LiveOptions;

/// The socket of a connection.
pub(crate) type Socket = WebSocketStream<Metered<TokioIo<Upgraded>>>;

/// How much is read from a socket at once. Clients say little.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// A request to open a WebSocket, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// What the server answers, to prove that it understood.
    pub(crate) accept: HeaderValue,
}

/// Checks the request line and the headers of a handshake, and says what is wrong with them.
pub(crate) fn handshake(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<Handshake, &'static str> {
    if method != Method::GET || version != Version::HTTP_11 {
        return Err("a WebSocket is opened with GET over HTTP/1.1");
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err("the header Connection must be Upgrade");
    }
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err("the header Upgrade must be websocket");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&HeaderValue::from_static("13")) {
        return Err("the header Sec-WebSocket-Version must be 13");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    // Sixteen bytes in Base64.
    let key = key.filter(|key| key.len() == 24);
    let key = key.ok_or("the header Sec-WebSocket-Key must be 16 bytes in Base64")?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| "the header Sec-WebSocket-Key must be 16 bytes in Base64")?;
    Ok(Handshake { accept })
}

fn lists(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(wanted))
}

/// Waits for the connection to be handed over and speaks WebSocket on it from then on.
pub(crate) async fn accept(
    upgrade: OnUpgrade,
    options: &LiveOptions,
) -> Result<(Socket, TakenBytes), hyper::Error> {
    let upgraded = TokioIo::new(upgrade.await?);
    let taken = TakenBytes::default();
    let metered = Metered {
        inner: upgraded,
        taken: taken.clone(),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(options.outbound_bytes_max)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max));
    let socket = WebSocketStream::from_raw_socket(metered, Role::Server, Some(config)).await;
    Ok((socket, taken))
}

/// How many bytes the client's side has taken so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct TakenBytes(Arc<AtomicU64>);

impl TakenBytes {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that counts the bytes that the other side takes.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    taken: TakenBytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        // Saturates never: a u64 of bytes outlasts every connection.
        let n = u64::try_from(written).unwrap_or(u64::MAX);
        self.taken.0.fetch_add(n, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut add = |name, value| headers.insert(name, HeaderValue::from_static(value));
        add(header::CONNECTION, "keep-alive, Upgrade");
        add(header::UPGRADE, "WebSocket");
        add(header::SEC_WEBSOCKET_VERSION, "13");
        add(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        headers
    }

    #[test]
    fn the_example_of_the_standard_is_answered() {
        let answer = handshake(&Method::GET, Version::HTTP_11, &headers()).unwrap();
        assert_eq!(answer.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_part_of_the_handshake_is_asked_for() {
        assert!(handshake(&Method::POST, Version::HTTP_11, &headers()).is_err());
        assert!(handshake(&Method::GET, Version::HTTP_2, &headers()).is_err());
        for name in [
            header::CONNECTION,
            header::UPGRADE,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_KEY,
        ] {
            let mut headers = headers();
            headers.remove(&name);
            assert!(
                handshake(&Method::GET, Version::HTTP_11, &headers).is_err(),
                "{name}"
            );
        }
    }
}
