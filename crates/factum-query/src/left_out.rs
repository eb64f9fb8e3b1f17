//! Which values an index does not have.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::invalid::FilterLimits;
use crate::path::{JsonPath, Selector};
use crate::pattern::TypePattern;
use crate::terms::{PATH_DEPTH_MAX, PathStep, TermKey, TermValue};

/// A place in payloads whose values have no terms: a path of names and `[*]` that ends in a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeftOutPath {
    text: Box<str>,
    steps: Box<[PathStep]>,
}

impl LeftOutPath {
    /// Returns the path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the steps from the payload to the place.
    #[must_use]
    pub fn steps(&self) -> &[PathStep] {
        &self.steps
    }

    /// Tells whether a fact about a payload is one that has no term where this was left out.
    #[must_use]
    pub fn hides(&self, fact: &TermKey) -> bool {
        // That something is there has its term.
        let is_place = self.steps.len() == fact.path.len() && fact.value == TermValue::Exists;
        fact.path.starts_with(&self.steps) && !is_place
    }
}

impl FromStr for LeftOutPath {
    type Err = NotLeftOut;

    fn from_str(text: &str) -> Result<Self, NotLeftOut> {
        let invalid = |rule: String| NotLeftOut {
            text: text.chars().take(100).collect(),
            rule,
        };
        let path = JsonPath::parse_within(text, &FilterLimits::DEFAULT)
            .map_err(|error| invalid(error.to_string()))?;
        let mut steps = Vec::new();
        for segment in path.segments() {
            let step = match &*segment.selectors {
                [Selector::Name(name)] if !segment.descends => PathStep::Member(name.clone()),
                [Selector::Wildcard] if !segment.descends && !steps.is_empty() => PathStep::Element,
                _ => return Err(invalid("a path has names and [*] only".to_owned())),
            };
            steps.push(step);
        }
        if !matches!(steps.last(), Some(PathStep::Member(_))) || steps.len() > PATH_DEPTH_MAX {
            let rule = format!("a path ends in a name, after {PATH_DEPTH_MAX} steps at most");
            return Err(invalid(rule));
        }
        Ok(Self {
            text: text.into(),
            steps: steps.into(),
        })
    }
}

/// A rule that leaves a place out of the index, for events of some types. It reads
/// `pattern:path`, for example `note.*:$.body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The types of the events.
    pub types: TypePattern,
    /// The place.
    pub path: LeftOutPath,
}

impl FromStr for LeftOut {
    type Err = NotLeftOut;

    fn from_str(text: &str) -> Result<Self, NotLeftOut> {
        let invalid = |rule: String| NotLeftOut {
            text: text.chars().take(100).collect(),
            rule,
        };
        let Some((types, path)) = text.split_once(':') else {
            let rule = "it has no ':' between event types and path".to_owned();
            return Err(invalid(rule));
        };
        Ok(Self {
            types: types
                .parse()
                .map_err(|error: crate::InvalidFilter| invalid(error.to_string()))?,
            path: path.parse()?,
        })
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.types.as_str(), self.path.as_str())
    }
}

/// A text is not a rule that leaves a place out of the index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} does not say what to leave out: {rule}")]
pub struct NotLeftOut {
    /// The text as it came, cut.
    pub text: String,
    /// The rule that is broken.
    pub rule: String,
}

#[cfg(test)]
mod tests {
    use crate::terms::Part;

    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        for text in ["note.*:$.body", "a:$.items[*].note", "b.>:$['x y']"] {
            assert_eq!(text.parse::<LeftOut>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_rule() {
        for (text, rule) in [
            ("$.body", "no ':'"),
            ("note.*", "no ':'"),
            ("note:", "not a JSONPath"),
            ("note:$", "ends in a name"),
            ("note:$.*", "names and [*] only"),
            ("note:$..a", "names and [*] only"),
            ("note:$.a[0]", "names and [*] only"),
            ("note:$.a[*]", "ends in a name"),
            ("note:$['a','b']", "names and [*] only"),
        ] {
            let error = text.parse::<LeftOut>().unwrap_err().to_string();
            assert!(error.contains(rule), "{text}: {error}");
        }
    }

    #[test]
    fn it_hides_what_is_said_of_the_place_and_below_but_not_that_it_is_there() {
        let path: LeftOutPath = "$.a.b".parse().unwrap();
        let step = |name: &str| PathStep::Member(name.into());
        let fact = |names: &[&str], value| TermKey {
            part: Part::Payload,
            path: names.iter().map(|name| step(name)).collect(),
            value,
        };
        assert!(!path.hides(&fact(&["a"], TermValue::Object)));
        assert!(!path.hides(&fact(&["a", "b"], TermValue::Exists)));
        assert!(!path.hides(&fact(&["a", "bb"], TermValue::Array)));
        assert!(path.hides(&fact(&["a", "b"], TermValue::Array)));
        assert!(path.hides(&fact(&["a", "b", "c"], TermValue::Exists)));
    }
}
