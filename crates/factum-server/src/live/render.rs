//! The messages of the server, written straight into the buffer that is sent.
//!
//! Each is `{type, streamId, subscriptionId, timestamp, cursor, data}`, in this order; what does
//! not apply is left out.

use bytes::Bytes;
use factum_api::{Layout, write_event, write_string};
use factum_engine::Handout;
use factum_model::{RecordedEvent, Timestamp};
use factum_store::Cursor;

/// The part of a subscription's messages that never changes.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// `,"streamId":"…","subscriptionId":"…","timestamp":"`
    names: Vec<u8>,
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Event,
    Heartbeat,
    Error,
    SubscriptionConfirmed,
    CaughtUp,
    SubscriptionClosed,
    Pong,
    Settled,
    Extended,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Heartbeat => "heartbeat",
            Self::Error => "error",
            Self::SubscriptionConfirmed => "subscription_confirmed",
            Self::CaughtUp => "caught_up",
            Self::SubscriptionClosed => "subscription_closed",
            Self::Pong => "pong",
            Self::Settled => "settled",
            Self::Extended => "extended",
        }
    }
}

/// How much an envelope adds to the data at most, without the names.
const ENVELOPE_BYTES: usize = 160;

impl Envelope {
    pub(crate) fn new(stream_id: &str, subscription_id: Option<&str>) -> Self {
        let mut names = br#","streamId":"#.to_vec();
        write_string(&mut names, stream_id);
        if let Some(id) = subscription_id {
            names.extend_from_slice(br#","subscriptionId":"#);
            write_string(&mut names, id);
        }
        names.extend_from_slice(br#","timestamp":""#);
        Self { names }
    }

    /// Writes a message around an event.
    pub(crate) fn event(&self, at: Timestamp, cursor: &Cursor, event: &RecordedEvent) -> Bytes {
        let room = ENVELOPE_BYTES + self.names.len() + 512 + event.text_bytes();
        let mut text = self.open(Kind::Event, at, Some(cursor), room);
        write_event(&mut text, event, Layout::Verbatim);
        text.push(b'}');
        text.into()
    }

    /// Writes a message around an event that is handed out: what settles it stands before the data.
    pub(crate) fn handout(&self, at: Timestamp, cursor: &Cursor, handout: &Handout) -> Bytes {
        let event = &handout.event;
        let room = ENVELOPE_BYTES + self.names.len() + 640 + event.text_bytes();
        let mut text = self.head(Kind::Event, at, Some(cursor), room);
        text.extend_from_slice(br#","token":"#);
        write_string(&mut text, &handout.token.to_string());
        text.extend_from_slice(format!(r#","attempt":{}"#, handout.attempt).as_bytes());
        text.extend_from_slice(br#","deadline":"#);
        write_string(&mut text, &handout.until.to_string());
        text.extend_from_slice(br#","data":"#);
        write_event(&mut text, event, Layout::Verbatim);
        text.push(b'}');
        text.into()
    }

    /// Writes a message around JSON that is already text.
    pub(crate) fn message(
        &self,
        kind: Kind,
        at: Timestamp,
        cursor: Option<&Cursor>,
        data: &str,
    ) -> Bytes {
        let room = ENVELOPE_BYTES + self.names.len() + data.len();
        let mut text = self.open(kind, at, cursor, room);
        text.extend_from_slice(data.as_bytes());
        text.push(b'}');
        text.into()
    }

    fn open(&self, kind: Kind, at: Timestamp, cursor: Option<&Cursor>, room: usize) -> Vec<u8> {
        let mut text = self.head(kind, at, cursor, room);
        text.extend_from_slice(br#","data":"#);
        text
    }

    fn head(&self, kind: Kind, at: Timestamp, cursor: Option<&Cursor>, room: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(room);
        text.extend_from_slice(br#"{"type":""#);
        text.extend_from_slice(kind.as_str().as_bytes());
        text.push(b'"');
        text.extend_from_slice(&self.names);
        let mut digits = [0; Timestamp::TEXT_BYTES];
        text.extend_from_slice(at.encode(&mut digits).as_bytes());
        text.push(b'"');
        if let Some(cursor) = cursor {
            text.extend_from_slice(br#","cursor":""#);
            text.extend_from_slice(cursor.to_string().as_bytes());
            text.push(b'"');
        }
        text
    }
}
