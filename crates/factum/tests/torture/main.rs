//! What the finished program survives: kills, failing disks, full disks, second processes.
//!
//! `FACTUM_CRASH_ROUNDS` sets how often the server is killed (20 by default), `FACTUM_TEST_BINARY`
//! names another build of the program, such as `target/release/factum`, `FACTUM_FAULT_ROUNDS` says
//! how often nodes over PostgreSQL are killed and stopped (6 by default).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and says what it skipped"
)]

mod client;
mod crash;
mod disk;
mod nodes;
mod overload;
mod server;
mod soak;
mod stop;
mod upkeep;
