//! The server: the engine's doors over HTTP, WebSocket and Server-Sent Events.
//!
//! Every endpoint stands in one table with the scope that it needs; the router and the OpenAPI
//! document are made from it. Handlers parse, call the engine, and render; nothing here decides
//! what an append or a read means.

mod accept;
mod body;
mod connections;
mod door;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod live;
mod metrics;
mod openapi;
mod options;
mod patient;
mod server;
mod services;
mod shortcut;
mod state;
mod table;

pub use crate::live::{
    CloseCode, ConnectionDto, ConnectionListDto, LiveError, LiveMetrics, LiveOptions, LiveService,
    SubscriptionDto, TicketDto,
};
pub use crate::options::{Authentication, BulkOptions, ServerOptions, TlsFiles};
pub use crate::server::{Server, ServerError};
pub use crate::services::Services;
