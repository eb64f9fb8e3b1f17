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

mod cel;
mod condition;
mod costly;
mod decimal;
mod document;
mod filter;
mod invalid;
mod json;
mod left_out;
mod narrowing;
mod path;
mod pattern;
mod scalar;
mod scan;
mod sip;
mod terms;
mod text;
mod text_form;
mod words;

pub use crate::cel::{CelExpression, CelFailure, CelLimits, CelVerdict, InvalidCel};
pub use crate::condition::{CONDITION_DEPTH_MAX, Condition, Explanation, Predicate, Reason};
pub use crate::costly::CostlyParts;
pub use crate::decimal::{Decimal, NotANumber};
pub use crate::filter::{Filter, SequenceRange, TimeRange, Verdict};
pub use crate::invalid::{FilterLimits, InvalidFilter};
pub use crate::json::{Bound, Expression, JsonCondition, JsonQuery, JsonTest, Side};
pub use crate::left_out::{LeftOut, LeftOutPath, NotLeftOut};
pub use crate::narrowing::{Answer, Leaf, Narrowing, narrowing};
pub use crate::path::{JsonPath, PATH_STEPS_MAX};
pub use crate::pattern::TypePattern;
pub use crate::scalar::JsonScalar;
pub use crate::terms::{
    Coverage, PATH_DEPTH_MAX, Part, PathStep, TERMS_VERSION, TermHasher, TermKey, TermLimits,
    TermSink, TermSource, TermValue, VALUE_BYTES_MAX, document_terms, source_terms,
};
pub use crate::text::TextQuery;
pub use crate::text_form::{TEXT_FORM_BYTES_MAX, TextFormError, TextFormRule, parse_text_form};
