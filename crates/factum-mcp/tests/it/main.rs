//! The tools, resources and prompts over a store in memory, message by message.

mod catalogue;
mod engine_tools;
mod harness;
mod protocol;
mod session_tools;
