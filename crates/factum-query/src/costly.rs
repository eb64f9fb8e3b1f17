//! The parts of a filter that cost something before anybody asks it.

use std::cell::Cell;

use crate::invalid::{FilterLimits, InvalidFilter, at_most};
use crate::json::{Expression, JsonTest};
use crate::path::JsonPath;

pub(crate) const REGEXES: &str = "regular expressions";
pub(crate) const PATH_FILTERS: &str = "paths with filter expressions";

/// Reads the paths and regular expressions of one filter, and refuses what is too many before it
/// has cost its memory. Whatever reads a whole filter from somewhere makes one of these.
#[derive(Debug)]
pub struct CostlyParts {
    limits: FilterLimits,
    n_regexes: Cell<usize>,
    n_path_filters: Cell<usize>,
}

impl CostlyParts {
    /// Reads parts under limits.
    #[must_use]
    pub const fn new(limits: FilterLimits) -> Self {
        Self {
            limits,
            n_regexes: Cell::new(0),
            n_path_filters: Cell::new(0),
        }
    }

    /// Reads a path.
    ///
    /// # Errors
    /// Those of [`JsonPath::parse_within`], and [`InvalidFilter::TooMany`].
    pub fn path(&self, text: &str) -> Result<JsonPath, InvalidFilter> {
        let path = JsonPath::parse_within(text, &self.limits)?;
        let actual = self.n_path_filters.get() + usize::from(path.has_filter());
        self.n_path_filters.set(actual);
        at_most(self.limits.path_filters_max, PATH_FILTERS, actual)?;
        Ok(path)
    }

    /// Reads a regular expression.
    ///
    /// # Errors
    /// Those of [`Expression::parse_within`], and [`InvalidFilter::TooMany`].
    pub fn regex(&self, text: &str) -> Result<Expression, InvalidFilter> {
        let actual = self.n_regexes.get() + 1;
        self.n_regexes.set(actual);
        at_most(self.limits.regexes_max, REGEXES, actual)?;
        Expression::parse_within(text, &self.limits)
    }
}

/// How many costly parts there are.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) n_regexes: usize,
    pub(crate) n_path_filters: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, path: &JsonPath, test: &JsonTest) {
        self.n_regexes += usize::from(matches!(test, JsonTest::Regex(_)));
        self.n_path_filters += usize::from(path.has_filter());
    }
}
