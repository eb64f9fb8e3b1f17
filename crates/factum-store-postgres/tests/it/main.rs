//! Tests of the store on PostgreSQL through its public face, on a throw-away server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod conformance;
mod differential;
mod faults;
mod nodes;
mod opened;
mod pooler;
mod queries;
mod state;
mod tls;
mod upkeep;
