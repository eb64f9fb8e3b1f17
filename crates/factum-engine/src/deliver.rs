//! The port through which events leave: what is delivered, to what, and what may come of it.
//!
//! A target is a value that was checked when it was made. It knows neither rules nor
//! subscriptions, tries once each time it is asked, and says what came of it; whether and when to
//! try again is for its caller to decide.

mod delivery;
mod error;
mod target;

pub use self::delivery::{Delivered, Delivery, DeliveryId};
pub use self::error::{Again, DeliverError, ErrorClass};
pub use self::target::{
    BreakerState, Deliver, EndpointState, InvalidTarget, Place, TargetState, Targets, Vault,
    VaultError,
};
