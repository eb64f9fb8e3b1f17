//! The bounds on what one request may bring.

use thiserror::Error;

use crate::event::NewEvent;
use crate::json::JsonLimits;

/// The bounds on what one append may bring. Every one of them is a configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest event in bytes, all its texts together.
    pub event_bytes_max: usize,
    /// The largest request in bytes.
    pub request_bytes_max: usize,
    /// The largest number of events in one request.
    pub request_events_max: usize,
    /// The bounds on the shape of payload and metadata.
    pub json: JsonLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: 1 << 20,
            request_bytes_max: 8 << 20,
            request_events_max: 1000,
            json: JsonLimits::default(),
        }
    }
}

/// A request brings more than a limit allows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} of {actual} exceeds the limit of {limit}")]
pub struct LimitExceeded {
    /// What is limited, in words.
    pub what: &'static str,
    /// The limit.
    pub limit: usize,
    /// What was found.
    pub actual: usize,
}

/// Returns how many bytes the texts of an event take.
#[must_use]
pub fn encoded_bytes(event: &NewEvent) -> usize {
    event.event_type.as_str().len()
        + event.stream.aggregate_type.as_str().len()
        + event.stream.aggregate_id.as_str().len()
        + event
            .correlation_id
            .as_ref()
            .map_or(0, |id| id.as_str().len())
        + event.metadata.as_str().len()
        + event.payload.as_str().len()
}

/// Checks the size of one event.
///
/// # Errors
/// [`LimitExceeded`] when the texts together are larger than `event_bytes_max`.
pub fn check_event(event: &NewEvent, limits: &Limits) -> Result<(), LimitExceeded> {
    let actual = encoded_bytes(event);
    if actual > limits.event_bytes_max {
        return Err(LimitExceeded {
            what: "event size in bytes",
            limit: limits.event_bytes_max,
            actual,
        });
    }
    Ok(())
}
