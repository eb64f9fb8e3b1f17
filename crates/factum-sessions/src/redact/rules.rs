//! The rules as they are written in a file.

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;
use thiserror::Error;

/// The largest compiled expression.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// The largest number of expressions, and of names.
const RULES_MAX: usize = 1000;

/// The rules of redaction cannot be used.
#[derive(Debug, Error)]
pub enum RedactionError {
    /// The file is not of the form of the shipped one.
    #[error("the rules of redaction are not of the right form")]
    Form(#[from] toml::de::Error),
    /// An expression cannot be compiled.
    #[error("the expression of {kind:?} cannot be used")]
    Expression {
        /// The kind of secret.
        kind: String,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
    /// There are too many rules.
    #[error("{actual} rules of redaction exceed the limit of {limit}")]
    TooMany {
        /// How many there are.
        actual: usize,
        /// How many there may be.
        limit: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    text_keys: Vec<String>,
    #[serde(default)]
    text: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    kind: String,
    regex: String,
}

/// The rules, compiled.
pub(super) struct Rules {
    pub(super) any: RegexSet,
    pub(super) texts: Vec<(String, Regex)>,
    pub(super) keys: Vec<String>,
    pub(super) text_keys: Vec<String>,
}

impl Rules {
    pub(super) fn read(text: &str) -> Result<Self, RedactionError> {
        let file: File = toml::from_str(text)?;
        let actual = file.text.len().max(file.keys.len() + file.text_keys.len());
        if actual > RULES_MAX {
            return Err(RedactionError::TooMany {
                actual,
                limit: RULES_MAX,
            });
        }
        let mut texts = Vec::with_capacity(file.text.len());
        for rule in &file.text {
            let expression = RegexBuilder::new(&rule.regex)
                .size_limit(COMPILED_BYTES_MAX)
                .build();
            let expression = expression.map_err(|source| RedactionError::Expression {
                kind: rule.kind.clone(),
                source,
            })?;
            texts.push((rule.kind.clone(), expression));
        }
        let any = RegexSetBuilder::new(file.text.iter().map(|rule| &rule.regex))
            .size_limit(COMPILED_BYTES_MAX.saturating_mul(8))
            .dfa_size_limit(COMPILED_BYTES_MAX.saturating_mul(8))
            .build();
        let any = any.map_err(|source| RedactionError::Expression {
            kind: "all together".to_owned(),
            source,
        })?;
        Ok(Self {
            any,
            texts,
            keys: file.keys,
            text_keys: file.text_keys,
        })
    }
}
