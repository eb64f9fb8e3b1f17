//! Deliveries: what rules send, attempt by attempt, and what could not be delivered.
//!
//! Each target of a rule is a durable subscription of its own, so nothing is lost in a crash, the
//! events of a stream go out in order, and a target that is down holds up no other. What became of
//! an attempt is recorded in the same change that settles the event. What has used up its attempts
//! becomes a dead letter, for a person to decide on.
//!
//! It must never decide what an event means or how it is sent: rules say the first, targets do the
//! second.

mod dead_letter;
mod error;
mod janitor;
mod ledger;
mod limiter;
mod meters;
mod options;
mod record;
mod redrive;
mod runner;
mod sender;
mod sweep;

pub use self::dead_letter::{
    Cause, DeadLetter, DeadLetterChoice, DeadLetterFilter, DeadLetterGroup, DeadLetterPage,
    DeadLetterStatus, Moved,
};
pub use self::error::DeliveriesError;
pub use self::ledger::{DeliveryFilter, DeliveryPage};
pub use self::meters::{DeliveryMeters, LATENCY_BOUNDS_MS, TargetMeters};
pub use self::options::DeliveryOptions;
pub use self::record::{Attempt, DeliveryKey, DeliveryRecord, DeliveryStatus, InvalidDeliveryKey};
pub use self::redrive::RedriveRate;
pub use self::runner::{Deliveries, TargetReport};
