//! Live delivery: WebSocket and Server-Sent Events.
//!
//! Both follow the log with the engine's one live reader. What a client has not taken stays in
//! the log: there is no queue here that could overflow, and nothing to lose when a connection
//! breaks. docs/live.md describes the protocol.

mod channel;
mod client;
mod close;
mod connection;
mod consume;
mod durable;
mod error;
mod limiter;
mod operate;
mod options;
pub(crate) mod origin;
mod registry;
mod render;
mod service;
mod sse;
mod subscription;
mod tickets;
mod upgrade;
mod wire;

/// Reads what a client says, for fuzzing.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse_client_message(
    text: &str,
    lineage: &factum_store::Lineage,
    options: &LiveOptions,
) -> Result<(), String> {
    client::parse(text, lineage, options)
        .map(drop)
        .map_err(|refusal| refusal.detail)
}

pub use self::close::CloseCode;
pub use self::error::LiveError;
pub use self::operate::{ConnectionDto, ConnectionListDto, SubscriptionDto, TicketDto};
pub use self::options::LiveOptions;
pub use self::service::{LiveMetrics, LiveService};
