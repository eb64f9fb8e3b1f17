//! Targets that events are delivered to: webhooks, queues and mail.
//!
//! The only crate that opens outbound connections. Each kind of target is a feature, since each
//! brings a client with it. A target is made of a definition, a JSON object, by
//! [`BuiltInTargets`]; `docs/guides/targets.md` lists what each kind takes. Where
//! connections may go is decided by a [`Guard`].
//!
//! ```
//! use factum_deliver::Allowed;
//!
//! assert!("10.1.0.0/16".parse::<Allowed>().is_ok());
//! assert!("crm.internal".parse::<Allowed>().is_ok());
//! assert!("0x7f000001".parse::<Allowed>().is_err());
//! ```

mod breaker;
mod definition;
mod excerpt;
mod gate;
mod guard;
mod outside;
mod payload;
mod secret;
mod targets;
mod template;
#[cfg(test)]
mod testing;
#[cfg(feature = "webhook")]
mod webhook;

pub use crate::breaker::{Breaker, BreakerOptions, Leave};
pub use crate::guard::{Allowed, Guard, InvalidAllowed, Refusal, Resolver, SystemResolver};
pub use crate::outside::DeliverLimits;
pub use crate::targets::BuiltInTargets;
