//! Why a live connection ends, in the numbers of the protocol.

use std::borrow::Cow;

/// The close codes of the WebSocket protocol that the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The client is done, or an operator closed the connection.
    Normal,
    /// The server shuts down.
    GoingAway,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// The client sent a binary message.
    Unsupported,
    /// The client sent a message that is too large.
    TooBig,
    /// The server cannot go on: a fault of its own, or damaged data.
    Internal,
    /// No credentials in time, wrong ones, or the key has expired.
    Authentication,
    /// The key does not allow reading, or was revoked.
    Authorization,
    /// The only subscription was refused.
    Subscription,
    /// Too many messages.
    Rate,
    /// The client took no bytes for the length of the write timeout, or answers no pings.
    TooSlow,
}

impl CloseCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::TooBig,
        Self::Internal,
        Self::Authentication,
        Self::Authorization,
        Self::Subscription,
        Self::Rate,
        Self::TooSlow,
    ];

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::Authentication => 4000,
            Self::Authorization => 4001,
            Self::Subscription => 4002,
            Self::Rate => 4003,
            Self::TooSlow => 4004,
        }
    }

    /// Returns the place in [`CloseCode::ALL`], for tables of counters.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The end of a connection: a code, and a reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: CloseCode,
    pub(crate) reason: Cow<'static, str>,
}

/// What a close frame has room for beside the code.
const REASON_BYTES_MAX: usize = 123;

impl Closing {
    pub(crate) fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// Returns the reason, cut to what a close frame can carry.
    pub(crate) fn short_reason(&self) -> &str {
        let end = self.reason.floor_char_boundary(REASON_BYTES_MAX);
        self.reason.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_and_at_their_index() {
        let numbers = CloseCode::ALL.map(CloseCode::number);
        assert!(numbers.is_sorted_by(|a, b| a < b));
        for (index, code) in CloseCode::ALL.into_iter().enumerate() {
            assert_eq!(code.index(), index);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let closing = Closing::new(CloseCode::Normal, "ä".repeat(100));
        assert_eq!(closing.short_reason().len(), 122);
    }
}
