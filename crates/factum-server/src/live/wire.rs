//! The writing half of a WebSocket connection: one buffer, one time limit, one reason to stop.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Sink as _, SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{
    CloseCode as WireCode, Data, OpCode,
};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::close::{CloseCode, Closing};
use super::upgrade::{Socket, TakenBytes};

/// Resolves when the connection has to end: revoked, expired, closed by an operator, shut down.
pub(crate) type Stop = Pin<Box<dyn Future<Output = Closing> + Send>>;

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The server closes it.
    Close(Closing),
    /// The client closed it or is gone.
    Gone,
}

impl End {
    pub(crate) fn close(code: CloseCode, reason: &'static str) -> Self {
        Self::Close(Closing::new(code, reason))
    }
}

/// A connection's socket with the rules for using it.
pub(crate) struct Wire {
    socket: Socket,
    taken: TakenBytes,
    write_timeout: Duration,
    stop: Stop,
    /// When the client last showed that it is there.
    alive: Instant,
}

impl Wire {
    pub(crate) fn new(
        socket: Socket,
        taken: TakenBytes,
        write_timeout: Duration,
        stop: Stop,
    ) -> Self {
        Self {
            socket,
            taken,
            write_timeout,
            stop,
            alive: Instant::now(),
        }
    }

    /// Replaces the reason to stop, when it is known who the client is.
    pub(crate) fn stop_when(&mut self, stop: Stop) {
        self.stop = stop;
    }

    /// Returns when the client last sent something or took bytes that waited for it.
    pub(crate) const fn alive(&self) -> Instant {
        self.alive
    }

    /// Puts a text into the buffer, and waits for the client only when the buffer is full.
    pub(crate) async fn feed(&mut self, text: Bytes) -> Result<(), End> {
        let text = Message::Frame(Frame::message(text, OpCode::Data(Data::Text), true));
        self.put(text).await
    }

    /// Sends a ping of the protocol.
    pub(crate) async fn ping(&mut self) -> Result<(), End> {
        self.put(Message::Ping(Bytes::new())).await?;
        self.flush().await
    }

    async fn put(&mut self, message: Message) -> Result<(), End> {
        let ready = std::future::poll_fn(|cx| self.socket.poll_ready_unpin(cx)).now_or_never();
        match ready {
            Some(ready) => ready.map_err(end_of)?,
            None => self.wait(|socket, cx| socket.poll_ready(cx)).await?,
        }
        self.socket.start_send_unpin(message).map_err(end_of)
    }

    /// Sends what is in the buffer.
    pub(crate) async fn flush(&mut self) -> Result<(), End> {
        let flushed = std::future::poll_fn(|cx| self.socket.poll_flush_unpin(cx)).now_or_never();
        match flushed {
            Some(flushed) => flushed.map_err(end_of),
            None => self.wait(|socket, cx| socket.poll_flush(cx)).await,
        }
    }

    /// Waits for the client to take bytes, for as long as it goes on taking some.
    async fn wait(
        &mut self,
        poll: impl Fn(
            Pin<&mut Socket>,
            &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), WsError>>,
    ) -> Result<(), End> {
        loop {
            let before = self.taken.get();
            let socket = &mut self.socket;
            let step = std::future::poll_fn(|cx| poll(Pin::new(&mut *socket), cx));
            tokio::select! {
                biased;
                closing = &mut self.stop => return Err(End::Close(closing)),
                done = tokio::time::timeout(self.write_timeout, step) => match done {
                    Ok(done) => {
                        self.alive = Instant::now();
                        return done.map_err(end_of);
                    }
                    Err(_) if self.taken.get() > before => self.alive = Instant::now(),
                    Err(_) => {
                        return Err(End::close(CloseCode::TooSlow, "no bytes taken in time"));
                    }
                }
            }
        }
    }

    /// Waits for the next message.
    pub(crate) async fn receive(&mut self) -> Result<Message, End> {
        tokio::select! {
            biased;
            closing = &mut self.stop => Err(End::Close(closing)),
            message = self.socket.next() => self.received(message),
        }
    }

    /// Returns the next message if one is there.
    pub(crate) fn try_receive(&mut self) -> Result<Option<Message>, End> {
        if let Some(closing) = (&mut self.stop).now_or_never() {
            return Err(End::Close(closing));
        }
        match self.socket.next().now_or_never() {
            Some(message) => self.received(message).map(Some),
            None => Ok(None),
        }
    }

    fn received(&mut self, message: Option<Result<Message, WsError>>) -> Result<Message, End> {
        self.alive = Instant::now();
        match message {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(end_of(error)),
            None => Err(End::Gone),
        }
    }

    /// Says goodbye: sends the close frame and waits for the answer, no longer than `limit`.
    pub(crate) async fn close(mut self, end: &End, limit: Duration) {
        let goodbye = async {
            if let End::Close(closing) = end {
                let frame = CloseFrame {
                    code: WireCode::from(closing.code.number()),
                    reason: closing.short_reason().into(),
                };
                if self.socket.send(Message::Close(Some(frame))).await.is_err() {
                    return;
                }
            }
            // The client answers with a close frame of its own; what it sent before is dropped.
            let mut is_answered = matches!(end, End::Gone);
            while let Some(Ok(message)) = self.socket.next().await {
                is_answered |= message.is_close();
            }
            if !is_answered {
                self.linger().await;
            }
        };
        // Whether the client answered makes no difference to what follows.
        let _answered = tokio::time::timeout(limit, goodbye).await;
    }

    /// Reads until the client is done. Closing a socket with unread bytes resets it, and a reset
    /// may overtake the close frame.
    async fn linger(&mut self) {
        let mut scrap = [0; 4096];
        let socket = self.socket.get_mut();
        if tokio::io::AsyncWriteExt::shutdown(socket).await.is_err() {
            return;
        }
        while let Ok(1..) = socket.read(&mut scrap).await {}
    }
}

/// Says what an error of the protocol means for the connection.
fn end_of(error: WsError) -> End {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => {
            End::close(CloseCode::TooBig, "the message is too large")
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        WsError::Protocol(error) => {
            End::Close(Closing::new(CloseCode::Protocol, error.to_string()))
        }
        WsError::Utf8(_) => End::close(CloseCode::Protocol, "a text message is not UTF-8"),
        // What is left are ends of the transport.
        _ => End::Gone,
    }
}
