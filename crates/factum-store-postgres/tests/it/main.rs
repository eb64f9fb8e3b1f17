//! Tests of the store on PostgreSQL through its public face, on a throw-away server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, says what it has seen, and may be a node that is told"
)]

mod conformance;
mod differential;
mod faults;
mod nodes;
mod opened;
mod pooler;
mod queries;
mod standby;
mod state;
mod stopped;
mod tls;
mod upkeep;
