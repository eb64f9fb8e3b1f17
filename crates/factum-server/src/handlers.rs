//! The handlers: each parses, calls the engine, and renders.

pub(crate) mod admin;
pub(crate) mod aggregates;
pub(crate) mod append;
pub(crate) mod bulk;
pub(crate) mod catalogue;
pub(crate) mod causes;
pub(crate) mod consumers;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod docs;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod mcp;
mod mcp_metrics;
pub(crate) mod metrics;
mod pages;
mod receipts;
pub(crate) mod rules;
pub(crate) mod schedule;
pub(crate) mod sessions;
mod subscription_metrics;
pub(crate) mod subscriptions;
pub(crate) mod unmatched;

use axum::Extension;
use factum_engine::Principal;

/// Whoever makes the request; there is one wherever the table states a scope.
pub(crate) type Caller = Extension<Principal>;
