//! Targets, where they are made, and who keeps their secrets.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use factum_store::BoxFuture;
use thiserror::Error as ThisError;

use super::delivery::{Delivered, Delivery};
use super::error::DeliverError;
use crate::subscriptions::Readiness;

/// Something that takes events: a webhook, a queue, a mailbox.
///
/// Made of a definition that was checked; holds its own connections, limits and breaker. It is
/// shared by all who deliver to it.
pub trait Deliver: Send + Sync + fmt::Debug + 'static {
    /// Tries once to hand over an event, within the time limits of the target. Resolves to `Ok`
    /// when the other side said that it has it.
    ///
    /// The other side may have got it also when this fails, or when the future is dropped: the
    /// connection may break before the answer. It tells repeats by the id of the delivery.
    ///
    /// # Errors
    /// [`DeliverError`], which says whether trying again may help.
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>>;

    /// Says whether there is any use in deliveries now. While there is none, events stay queued
    /// and nothing is written for them.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    /// Says how the target is.
    fn state(&self) -> TargetState;
}

/// How a target is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The kind of target, such as `webhook`.
    pub kind: &'static str,
    /// Whether attempts are let through.
    pub breaker: BreakerState,
    /// How many attempts are under way.
    pub in_flight: usize,
    /// How many may be.
    pub in_flight_max: usize,
    /// What the target leads to and shares with others; `None` before it was first used.
    pub endpoint: Option<EndpointState>,
}

/// How an endpoint is at a moment, which targets of several rules may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// Tells it from others of this node, also from those of the same name.
    pub number: u64,
    /// Where it is, without what may be a secret.
    pub name: String,
    /// Whether attempts of any target are let through.
    pub breaker: BreakerState,
    /// How many attempts are under way, of all targets.
    pub in_flight: usize,
    /// How many may be.
    pub in_flight_max: usize,
    /// How many targets lead to it.
    pub n_targets: usize,
}

/// Whether attempts are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All of them.
    Closed,
    /// None, until some time is over.
    Open,
    /// A few, to see whether the target is well again.
    HalfOpen,
}

impl BreakerState {
    /// Returns the stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Where in a text something is wrong; both numbers begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column, in characters; `None` where only the line is known.
    pub column: Option<u32>,
}

/// A definition of a target breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{pointer:?} of the target {rule}")]
pub struct InvalidTarget {
    /// The JSON pointer of the field, within the definition.
    pub pointer: String,
    /// What it must be, or what is wrong with it.
    pub rule: String,
    /// What was found, cut; never a secret.
    pub value: Option<String>,
    /// Where in the value, for templates.
    pub place: Option<Place>,
}

impl InvalidTarget {
    /// Makes a fault of the field that a JSON pointer names.
    #[must_use]
    pub fn at(pointer: &str, rule: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            rule: rule.into(),
            value: None,
            place: None,
        }
    }

    /// Returns the fault of what stands under a pointer, seen from above.
    #[must_use]
    pub fn under(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }

    /// Adds what was found, cut to 100 characters.
    #[must_use]
    pub fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.chars().take(100).collect());
        self
    }
}

/// Makes targets of their definitions.
///
/// A definition comes from a client as a JSON object with its secrets in plain text. What is
/// stored has them sealed, and what is shown has them left out; who sends back what was shown
/// keeps the secrets as they were.
pub trait Targets: Send + Sync + fmt::Debug + 'static {
    /// Checks a definition that a client gives, and returns what is to be stored. `before` is
    /// what is stored of the same target, from which secrets are kept that the client does not
    /// give anew.
    ///
    /// # Errors
    /// [`InvalidTarget`] for the first rule that it breaks.
    fn accept(&self, definition: &str, before: Option<&str>) -> Result<String, InvalidTarget>;

    /// Returns what may be shown of a stored definition: everything but its secrets.
    ///
    /// # Errors
    /// [`InvalidTarget`] when it is not what [`Targets::accept`] returned.
    fn show(&self, stored: &str) -> Result<String, InvalidTarget>;

    /// Makes the target of a stored definition. Connects nowhere.
    ///
    /// # Errors
    /// [`InvalidTarget`] when it is not what [`Targets::accept`] returned, or its secrets cannot be
    /// opened.
    fn open(&self, stored: &str) -> Result<Arc<dyn Deliver>, InvalidTarget>;

    /// Seals the secrets of a stored definition anew under the key that seals now, and returns what
    /// is to be stored then; `None` where all of them are sealed so, as they are where there are
    /// none.
    ///
    /// # Errors
    /// [`InvalidTarget`] as for [`Targets::open`].
    fn reseal(&self, stored: &str) -> Result<Option<String>, InvalidTarget>;

    /// Returns the channel of a stored definition that only says who may listen: nothing is
    /// delivered to it, since each node reads the log for those who listen there.
    fn channel(&self, stored: &str) -> Option<String> {
        let _ = stored;
        None
    }
}

/// A secret could not be sealed or opened.
#[derive(Debug, ThisError)]
#[error("{message}")]
pub struct VaultError {
    /// What is wrong; names no secret.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// Seals secrets under a key that is kept apart from what they are stored in.
pub trait Vault: Send + Sync + fmt::Debug + 'static {
    /// Seals a secret as a text. It opens only under the same context, which says what it is for.
    ///
    /// # Errors
    /// [`VaultError`] when there is no randomness.
    fn seal(&self, secret: &[u8], context: &str) -> Result<String, VaultError>;

    /// Opens what was sealed, also under an earlier key that is still kept.
    ///
    /// # Errors
    /// [`VaultError`] when it was changed, was sealed for another context, or its key is unknown.
    fn open(&self, sealed: &str, context: &str) -> Result<Vec<u8>, VaultError>;

    /// Tells whether a secret is sealed under the key that seals now.
    fn is_current(&self, sealed: &str) -> bool;
}
