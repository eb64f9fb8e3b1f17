//! Agent sessions over a real store: every type and every refusal, races, silence, secrets,
//! checkpoints, and taking over.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test has to say, it says by panicking"
)]

mod catalogue;
mod checkpoints;
mod harness;
mod queries;
mod races;
mod real_data;
mod resume;
mod secrets;
mod silence;
