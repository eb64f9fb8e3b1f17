//! The engine over the store in memory.

#![expect(
    clippy::unwrap_used,
    reason = "what a test has to say, it says by panicking"
)]

mod reads;
