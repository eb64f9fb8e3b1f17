//! What a filter means: type patterns, filters and the plain evaluator.
//!
//! The evaluator here is the definition. A store may use an index to find candidates, but every
//! event that it returns has passed [`Filter::matches`], or a test proves that it would have.
//!
//! ```
//! use factum_query::{Filter, TypePattern};
//!
//! let filter = Filter { event_types: vec!["form.*".parse()?], ..Filter::default() };
//! assert!(filter.event_types[0].matches("form.opened"));
//! assert!(!filter.event_types[0].matches("form.field.changed"));
//! # Ok::<(), factum_query::InvalidFilter>(())
//! ```

mod filter;
mod pattern;

pub use crate::filter::{Filter, FilterLimits, InvalidFilter, TimeRange};
pub use crate::pattern::TypePattern;
