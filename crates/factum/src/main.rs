//! The `factum` program: the server and its command line.
//!
//! This crate names the concrete adapters, reads the environment and decides how the process
//! ends. What the commands do to events, they do through the server's public interface.

mod bench;
mod cli;
mod client;
mod commands;
mod config;
mod environment;
mod event_view;
mod exit;
mod filter_flags;
mod filter_text;
mod import;
mod machine;
mod maintenance_view;
mod migration;
mod output;
mod progress;
mod rundir;
mod serving;
mod sse;
mod stdio;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two cryptography providers in one process would panic at the first connection.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    cli::main(environment::Environment::of_process())
}
