//! Why a target did not take an event.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use thiserror::Error as ThisError;

/// The kind of a failure; dead letters are grouped by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// Our own policy does not allow to connect there.
    Policy,
    /// The name does not resolve.
    Resolve,
    /// No connection could be made, or it broke.
    Connect,
    /// The other side is not who it should be, or speaks no TLS that we accept.
    Tls,
    /// No answer came in time.
    Timeout,
    /// The credentials were not accepted.
    Authentication,
    /// The other side answered that it did not take it.
    Rejected,
    /// The other side is gone for good.
    Gone,
    /// What was to be sent could not be made of the event.
    Payload,
    /// The other side breaks its protocol.
    Protocol,
    /// Nothing was sent: too many attempts at this target are under way.
    Busy,
    /// Nothing was sent: the target failed too often of late.
    BreakerOpen,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 12] = [
        Self::Policy,
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Authentication,
        Self::Rejected,
        Self::Gone,
        Self::Payload,
        Self::Protocol,
        Self::Busy,
        Self::BreakerOpen,
    ];

    /// Returns the stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Authentication => "authentication",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Payload => "payload",
            Self::Protocol => "protocol",
            Self::Busy => "busy",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// Returns the class with a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Tells whether something was tried. What was not tried is no attempt: it does not use up
    /// one, and is simply asked for again later.
    #[must_use]
    pub const fn was_attempted(self) -> bool {
        !matches!(self, Self::Busy | Self::BreakerOpen)
    }

    /// Tells whether such failures say that the target is unwell, rather than the event.
    #[must_use]
    pub const fn blames_the_target(self) -> bool {
        match self {
            Self::Resolve | Self::Connect | Self::Tls | Self::Timeout | Self::Authentication => {
                true
            }
            Self::Protocol | Self::Gone => true,
            Self::Policy | Self::Rejected | Self::Payload | Self::Busy | Self::BreakerOpen => false,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may.
    Yes {
        /// The target asks not to be tried before this time is over.
        after: Option<Duration>,
    },
    /// The same event will fail again.
    No,
    /// The target asks for nothing more ever; it should be disabled.
    DisableTarget,
}

/// Why a target did not take an event. What it says holds no secret.
#[derive(Debug, ThisError)]
#[error("{class}: {message}")]
pub struct DeliverError {
    /// The kind of failure.
    pub class: ErrorClass,
    /// What happened, in plain words; names no secret.
    pub message: String,
    /// Whether trying again may help.
    pub again: Again,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// The beginning of the answer, as text.
    pub excerpt: Option<String>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl DeliverError {
    /// Makes an error after which trying again may help.
    #[must_use]
    pub fn passing(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::new(class, Again::Yes { after: None }, message)
    }

    /// Makes an error that the same event will meet again.
    #[must_use]
    pub fn lasting(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::new(class, Again::No, message)
    }

    /// Makes an error.
    #[must_use]
    pub fn new(class: ErrorClass, again: Again, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            again,
            status: None,
            excerpt: None,
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds when the target may be tried again.
    #[must_use]
    pub const fn after(mut self, after: Duration) -> Self {
        self.again = Again::Yes { after: Some(after) };
        self
    }

    /// Tells whether trying again may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.again, Again::Yes { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_are_read_back() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::from_name(class.as_str()), Some(class));
        }
        assert_eq!(ErrorClass::from_name("other"), None);
    }
}
