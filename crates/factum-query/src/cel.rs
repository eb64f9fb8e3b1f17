//! CEL, the Common Expression Language, over events.
//!
//! An expression sees one variable, `event`. The event is not converted: members of payload and
//! metadata are looked up where they stand, when the expression asks. What an expression may cost
//! is bounded before it runs, by its own size when it is compiled and by the event's when it is
//! evaluated, since the language has no limit of its own.

mod check;
mod cost;
mod equality;
mod value;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Value};
use factum_model::RecordedEvent;
use regex::Regex;
use thiserror::Error;

use crate::filter::View;
use crate::invalid::{FilterLimits, excerpt};

pub use cost::CelLimits;

/// The functions and macros of the language. Building them takes longer than most evaluations,
/// and they never change.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    equality::declare(&mut env);
    Arc::new(env)
});

/// A compiled expression over an event. Two are equal if they are written the same way.
#[derive(Clone)]
pub struct CelExpression {
    text: Box<str>,
    compiled: Arc<Compiled>,
}

struct Compiled {
    root: IdedExpr,
    regexes: Vec<Regex>,
    limits: CelLimits,
    /// Whether its cost depends on the event beyond what looking at each value once costs.
    needs_admission: bool,
}

/// A text is no expression that may be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a CEL expression: {rule} (line {line}, column {column})")]
pub struct InvalidCel {
    /// The text as it came, cut.
    pub text: String,
    /// The line of the first fault, from 1.
    pub line: usize,
    /// The column of the first fault in characters, from 1.
    pub column: usize,
    /// The rule that is broken.
    pub rule: String,
}

/// What an expression says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CelVerdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It asks for a member that the event does not have, and does not hold therefore.
    Missing {
        /// The member.
        key: String,
    },
}

/// An expression could not be evaluated over an event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CelFailure {
    /// An operation failed: kinds that do not go together, a division by zero, a number that is
    /// too large.
    #[error("{cause}")]
    Evaluation {
        /// What failed, in words.
        cause: String,
    },
    /// The value is no truth value.
    #[error("the expression has a value of type {actual}, not bool")]
    NotBool {
        /// The type that it has.
        actual: String,
    },
    /// Over this event it could take more than it may.
    #[error("the expression may take {actual} {what} over this event, the limit is {limit}")]
    Cost {
        /// What it takes: steps or bytes.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What it may take at most.
        actual: u64,
    },
}

impl CelExpression {
    /// Compiles an expression under limits.
    ///
    /// # Errors
    /// [`InvalidCel`] with the place of the first fault: of grammar, a name that is not known, a
    /// regular expression that is none or is not written out, or a size beyond the limits.
    pub fn compile(text: &str, limits: &CelLimits) -> Result<Self, InvalidCel> {
        let (root, regexes) = check::compile(text, limits, &LIBRARY)?;
        let needs_admission = cost::depends_on_event(&root);
        Ok(Self {
            text: text.into(),
            compiled: Arc::new(Compiled {
                root,
                regexes,
                limits: *limits,
                needs_admission,
            }),
        })
    }

    /// Returns the expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether the expression holds for an event.
    ///
    /// # Errors
    /// [`CelFailure`] when it cannot be said: what then happens is the caller's decision, and
    /// must not be that the event counts as not meant in silence.
    pub fn evaluate(&self, event: &RecordedEvent) -> Result<CelVerdict, CelFailure> {
        self.evaluate_view(&View::of(event))
    }

    pub(crate) fn evaluate_view(&self, view: &View<'_>) -> Result<CelVerdict, CelFailure> {
        let compiled = &*self.compiled;
        let (payload, metadata) = (view.payload(), view.metadata());
        if compiled.needs_admission {
            cost::admit(&compiled.root, &compiled.limits, &[payload, metadata])?;
        }
        let documents = value::Documents { payload, metadata };
        let event = value::EventValue::new(view.event, documents);
        let scope = value::Scope::new(&event, &compiled.regexes);
        let mut context = Context::with_env(Arc::clone(&LIBRARY));
        context.set_variable_resolver(&scope);
        verdict(&compiled.root, &context)
    }
}

fn verdict(root: &IdedExpr, context: &Context<'_, '_>) -> Result<CelVerdict, CelFailure> {
    match Value::resolve_val(root, context) {
        Ok(value) => match value.downcast_ref::<CelBool>() {
            Some(value) if *value.inner() => Ok(CelVerdict::True),
            Some(_) => Ok(CelVerdict::False),
            None => Err(CelFailure::NotBool {
                actual: value.get_type().name().to_owned(),
            }),
        },
        Err(ExecutionError::NoSuchKey(key)) => Ok(CelVerdict::Missing { key: excerpt(&key) }),
        Err(error) => Err(CelFailure::Evaluation {
            cause: excerpt(&error.to_string()),
        }),
    }
}

impl PartialEq for CelExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CelExpression {}

impl fmt::Display for CelExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CelExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Compiles a regular expression that stands in an expression.
fn regex(text: &str) -> Result<Regex, String> {
    crate::json::Expression::parse_within(text, &FilterLimits::DEFAULT)
        .map(crate::json::Expression::into_regex)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
