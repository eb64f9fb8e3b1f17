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
mod mending;
mod opening;
mod queries;
mod rolling;
mod upkeep;
mod writing;
