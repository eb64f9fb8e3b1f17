//! The domain nouns of Factum: events, streams, positions, times, limits and error codes.
//!
//! Everything above this crate speaks in these types. They carry no wire format and no disk
//! format: `factum-api` and the stores each have a codec of their own.
//!
//! ```
//! use factum_model::{JsonObject, NewEvent, StreamId};
//!
//! let event = NewEvent::new(
//!     "submission.created".parse()?,
//!     StreamId::new("submission".parse()?, "s-1".parse()?),
//!     JsonObject::parse(r#"{"amount": 12.50}"#)?,
//! );
//! assert_eq!(event.payload.as_str(), r#"{"amount": 12.50}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error_code;
mod event;
mod id;
mod instance;
mod json;
mod limits;
mod metadata;
mod name;
mod position;
mod time;

pub use crate::error_code::ErrorCode;
pub use crate::event::{EventOrigin, NewEvent, RecordedEvent, RecordedFields, SchemaVersion};
pub use crate::id::{EventId, IdSource, InvalidEventId, MonotonicIds};
pub use crate::instance::{AGENT_SESSION_AGGREGATE_TYPE, InstanceName};
pub use crate::json::{JsonFault, JsonLimits, JsonObject, JsonRule, members, validate_object};
pub use crate::limits::{LimitExceeded, Limits, check_event, encoded_bytes};
pub use crate::metadata::{InvalidMetadata, KnownMetadata};
pub use crate::name::{
    AggregateId, AggregateType, CorrelationId, EventType, InvalidName, SYSTEM_AGGREGATE_TYPE,
    StreamId,
};
pub use crate::position::{ExpectedVersion, Position, SequenceNumber};
pub use crate::time::{Clock, InvalidTimestamp, LogicalClock, SystemClock, Timestamp};
