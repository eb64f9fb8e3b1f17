//! The engine over the store in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test has to say, it says by panicking"
)]

mod reads;
mod rules;
mod schedule;
mod subscriptions;
