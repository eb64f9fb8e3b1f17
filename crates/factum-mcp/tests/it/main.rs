//! The tools, resources and prompts over a store in memory, message by message.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test has to say, it says by panicking"
)]

mod catalogue;
mod engine_tools;
mod harness;
mod protocol;
mod session_tools;
mod taking_over;
