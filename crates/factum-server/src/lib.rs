//! The server: the engine's doors over HTTP, WebSocket and Server-Sent Events.

mod live;

pub use crate::live::{
    CloseCode, ConnectionDto, ConnectionListDto, LiveError, LiveMetrics, LiveOptions, LiveService,
    SubscriptionDto, TicketDto,
};
