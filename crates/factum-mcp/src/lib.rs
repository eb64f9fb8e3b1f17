//! What AI agents get of Factum: tools, resources and prompts, after the Model Context Protocol.
//!
//! A message goes in, an answer comes out ([`Mcp::answer`]). What carries them (HTTP, standard
//! input and output) is the business of the doors: nothing here knows a socket, keeps a session or
//! remembers a client. Every tool calls the functions that every other door calls, with the rights
//! of whoever calls it, and answers within a budget of bytes, so that it never floods a model's
//! context.
//!
//! Messages are read as texts and not as trees of values, since payloads are kept byte for byte:
//! `12.50` stays `12.50`.

mod answer;
mod arguments;
mod budget;
mod fault;
mod message;
mod metrics;
mod options;
mod prompts;
mod protocol;
mod resources;
mod revision;
mod schema;
mod server;
mod tool;
mod tools;

pub use crate::message::{Message, Stated};
pub use crate::metrics::{McpMetrics, ToolMetrics};
pub use crate::options::McpOptions;
pub use crate::revision::Revision;
pub use crate::server::{Access, Caller, Mcp, Reply, Verdict};
