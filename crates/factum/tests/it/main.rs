//! The finished program, run as its users run it: on temporary directories and free ports.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod command_line;
mod groups;
mod harness;
mod mcp;
mod migrate;
mod nodes;
mod postgres;
mod real_data;
mod receiver;
mod rule_nodes;
mod rules;
mod secrets;
mod serve;
mod sessions;
