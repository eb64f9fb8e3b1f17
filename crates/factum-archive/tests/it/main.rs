//! Logs moved between real stores, interrupted and refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod moves;
mod power;
mod refusals;
mod stores;
