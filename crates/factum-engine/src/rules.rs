//! Rules: which events go to which targets.
//!
//! A rule is made, changed and deleted by events of the engine, so every change is on record, and
//! every node that follows the log knows the same rules. A definition is checked whole before it is
//! recorded. What a rule sends is not decided here: each target of a rule is a durable subscription
//! of its own, see `deliveries`.

mod book;
mod condition;
mod definition;
mod dry_run;
mod error;
mod record;
mod registry;
mod reseal;
mod retry;
mod rule;

pub use self::dry_run::{DryRun, RuleOutcome, TestedEvent};
pub use self::error::{InvalidRule, RuleError};
pub use self::registry::{RuleLimits, Rules};
pub use self::reseal::SealedRules;
pub use self::retry::{Jitter, RetryPolicy, RetryStrategy};
pub use self::rule::{RateLimit, Rule, RuleId, RuleStart, RuleTarget};
