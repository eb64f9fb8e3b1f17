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

#![cfg_attr(
    not(feature = "all"),
    expect(dead_code, reason = "parts that only some kinds of targets use")
)]

mod breaker;
mod channel;
mod definition;
mod endpoint;
mod excerpt;
mod gate;
mod guard;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mail")]
mod mail;
#[cfg(feature = "nats")]
mod nats;
mod outside;
mod payload;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
mod secret;
mod server;
#[cfg(any(feature = "redis", feature = "kafka"))]
mod stream;
mod targets;
mod template;
#[cfg(test)]
mod testing;
mod text;
#[cfg(feature = "webhook")]
mod webhook;

pub use crate::breaker::{Breaker, BreakerOptions, Leave};
pub use crate::guard::{Allowed, Guard, InvalidAllowed, Refusal, Resolver, SystemResolver};
pub use crate::outside::DeliverLimits;
pub use crate::targets::BuiltInTargets;
