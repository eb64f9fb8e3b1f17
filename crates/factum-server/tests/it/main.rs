//! The server over a real connection on the loopback interface.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test has to say, it says by panicking"
)]

mod access;
mod appends;
mod bulk;
mod channels;
mod conformance;
mod faults;
mod harness;
mod hostile;
mod http_store;
mod live;
mod live_client;
mod live_ends;
mod mcp;
mod moody_store;
mod operations;
mod protocols;
mod queries;
mod reads;
mod sessions;
mod subscriptions;
