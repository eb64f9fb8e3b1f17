//! Durable subscriptions: named readers of the log with a stored checkpoint.
//!
//! A subscription hands out every event that its filter means, at least once, those of one stream
//! in order and one at a time, and remembers what became of each. The log is the queue; what is
//! kept beside it are the checkpoint and the few events that are read and not done with.
//! docs/decisions/0014-durable-subscriptions.md says why it is made so.
//!
//! - [`Subscriptions`] are those that have names and are made by administrators.
//! - [`Feed`] is one subscription on one node: [`Feed::run`] lets a [`Handler`] of this process have
//!   its events; [`Feed::take`] and [`Feed::settle`] are for consumers outside.

mod consume;
mod counters;
mod definition;
mod dispatch;
mod error;
mod events;
mod extend;
mod feed;
mod handout;
mod keeper;
pub(crate) mod leftovers;
mod options;
mod record;
mod registry;
mod service;
mod settle;
mod spec;
mod status;

pub use self::consume::HandlerOptions;
pub use self::counters::{Counter, FeedCounters};
pub use self::definition::{Definition, FilterForm, NewSubscription, Start, SubscriptionInfo};
pub use self::error::SubscriptionError;
pub use self::extend::Extended;
pub use self::feed::{Feed, Take};
pub use self::handout::{
    Handler, Handout, HandoutToken, InvalidHandoutToken, Outcome, Readiness, Settled, Verdict,
};
pub use self::options::SubscriptionOptions;
pub use self::service::Subscriptions;
pub use self::spec::{Backoff, FeedId, FeedSettings, FeedSpec, Order};
pub use self::status::{FeedStatus, ParkedAct, ParkedChoice, ParkedEvent, ParkedPage};
