//! Tests of the embedded store through its public face.
#![expect(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod bitrot;
mod conformance;
mod crash;
mod differential;
mod hooked;
mod known;
mod mending;
mod opening;
mod queries;
mod real_queries;
mod rolling;
mod state;
mod state_file;
mod upkeep;
mod writing;
