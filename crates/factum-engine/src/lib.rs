//! The engine: what happens to events between a door and a store.
//!
//! Everything that a server, a command line or a program does with events goes through
//! [`Engine`]. It knows no HTTP and no SQL.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use factum_engine::{Engine, EngineOptions};
//! use factum_model::{JsonObject, NewEvent, StreamId};
//! use factum_store::{AppendRequest, LogRead};
//! use factum_store_embedded::{EmbeddedStore, Options};
//!
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! let store = EmbeddedStore::open(Options::at(directory))?;
//! let engine = Engine::new(Arc::new(store), EngineOptions::default());
//! let stream = StreamId::new("order".parse()?, "o-1".parse()?);
//! let payload = JsonObject::parse(r#"{"amount": 12.50}"#)?;
//! let events = vec![NewEvent::new("order.placed".parse()?, stream, payload)];
//! let receipt = engine.append(AppendRequest { events, ..AppendRequest::default() }).await?;
//! let page = engine.read_log(LogRead::forwards()).await?;
//! assert_eq!(page.events[0].id, receipt.events[0].id);
//! assert_eq!(page.events[0].payload(), r#"{"amount": 12.50}"#);
//! # Ok(())
//! # }
//! ```

mod access;
mod catalogue;
mod causes;
mod check;
mod deliver;
mod deliveries;
mod engine;
mod error;
mod live;
mod rules;
mod schedule;
mod subscriptions;

pub use crate::access::{
    AuthenticationError, CreatedKey, Identity, KeyError, KeyInfo, KeyRing, NewKey, Principal,
    Revocation, Scope, Scopes,
};
pub use crate::catalogue::{Catalogue, CatalogueEntry, CatalogueGroup, FieldFault, FieldRule};
pub use crate::causes::{CausalTree, Conversation, TreeEvent};
pub use crate::deliver::{
    Again, BreakerState, Deliver, DeliverError, Delivered, Delivery, DeliveryId, EndpointState,
    ErrorClass, InvalidTarget, Place, TargetState, Targets, Vault, VaultError,
};
pub use crate::deliveries::{
    Attempt, Cause, DeadLetter, DeadLetterChoice, DeadLetterFilter, DeadLetterGroup,
    DeadLetterPage, DeadLetterStatus, Deliveries, DeliveriesError, DeliveryFilter, DeliveryKey,
    DeliveryMeters, DeliveryOptions, DeliveryPage, DeliveryRecord, DeliveryStatus,
    InvalidDeliveryKey, LATENCY_BOUNDS_MS, Moved, RedriveRate, TargetMeters, TargetReport,
};
pub use crate::engine::{Engine, EngineOptions};
pub use crate::error::EngineError;
pub use crate::live::{HeadSignal, LiveRead, LiveReader, LiveStart, LiveStep};
pub use crate::rules::{
    DryRun, InvalidRule, Jitter, RateLimit, RetryPolicy, RetryStrategy, Rule, RuleError, RuleId,
    RuleLimits, RuleOutcome, RuleStart, RuleTarget, Rules, SealedRules, TestedEvent,
};
pub use crate::schedule::{
    Calendar, Firing, InvalidScheduleId, LATENESS_BOUNDS_MS, Missed, NewScheduled, Schedule,
    ScheduleError, ScheduleId, ScheduleMeters, ScheduleOptions, SchedulePage, ScheduleScan,
    Scheduled, When,
};
pub use crate::subscriptions::{
    Backoff, Counter, Definition, Extended, Feed, FeedCounters, FeedId, FeedSettings, FeedSpec,
    FeedStatus, FilterForm, Handler, HandlerOptions, Handout, HandoutToken, InvalidHandoutToken,
    NewSubscription, Order, Outcome, ParkedAct, ParkedChoice, ParkedEvent, ParkedPage, Readiness,
    Settled, Start, SubscriptionError, SubscriptionInfo, SubscriptionOptions, Subscriptions, Take,
    Verdict,
};
