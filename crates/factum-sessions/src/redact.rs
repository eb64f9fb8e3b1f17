//! Secrets are taken out of what agents report before anything of it is stored.
//!
//! What is a secret is data: expressions for texts, and names under which values are secret. The
//! search costs time in proportion to the text, whatever the text is. It must never put a text
//! into a message or a log.

mod json;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use factum_model::{JsonFault, JsonLimits, JsonObject};
use regex::{Regex, RegexSet};

pub use self::rules::RedactionError;
use self::rules::Rules;

/// Takes secrets out of texts and documents.
pub struct Redactor {
    /// All expressions as one, to see at once which of them are worth trying.
    any: RegexSet,
    texts: Vec<TextRule>,
    /// Names, in snake case, under which texts and numbers are secret.
    keys: Vec<String>,
    /// Names, in snake case, under which texts are.
    text_keys: Vec<String>,
}

struct TextRule {
    kind: String,
    expression: Regex,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor")
            .field("n_texts", &self.texts.len())
            .field("n_keys", &self.keys.len())
            .finish()
    }
}

/// A document without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The document. Byte for byte as it came where nothing was secret.
    pub document: JsonObject,
    /// How many values were replaced.
    pub n_replaced: u64,
}

impl Redactor {
    /// Returns the redactor with the rules that are built into the program. They are compiled
    /// once.
    #[must_use]
    pub fn shipped() -> Arc<Self> {
        static SHIPPED: LazyLock<Arc<Redactor>> = LazyLock::new(|| {
            // A test rules out that they cannot be read. If they could not, everything would be
            // taken for a secret.
            let rules = Redactor::from_toml(include_str!("redact/shipped.toml"));
            Arc::new(rules.unwrap_or_else(|_| Redactor::everything()))
        });
        Arc::clone(&SHIPPED)
    }

    /// Reads the rules of an operator, which take the place of those that are built in.
    ///
    /// # Errors
    /// [`RedactionError`] when the text is not of this form, or an expression cannot be compiled
    /// within its bounds.
    pub fn from_toml(text: &str) -> Result<Self, RedactionError> {
        let rules = Rules::read(text)?;
        Ok(Self {
            any: rules.any,
            texts: rules
                .texts
                .into_iter()
                .map(|(kind, expression)| TextRule { kind, expression })
                .collect(),
            keys: rules.keys,
            text_keys: rules.text_keys,
        })
    }

    /// Takes every text for a secret.
    fn everything() -> Self {
        Self {
            any: RegexSet::empty(),
            texts: Vec::new(),
            keys: vec![String::new()],
            text_keys: Vec::new(),
        }
    }

    /// Takes the secrets out of a text.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.counted(text, &mut 0)
    }

    /// Takes the secrets out of a document.
    ///
    /// # Errors
    /// [`JsonFault`] when the document without its secrets breaks a rule, as when two keys are the
    /// same once a secret is taken out of them.
    pub fn document(&self, document: &JsonObject) -> Result<Redacted, JsonFault> {
        let mut rewriting = json::Rewriting::new(self);
        rewriting.value(document.as_str(), Secrecy::Open);
        let n_replaced = rewriting.n_replaced;
        let document = if n_replaced == 0 {
            document.clone()
        } else {
            // What was within the limits before is no deeper now.
            let limits = JsonLimits { depth_max: 4096 };
            JsonObject::parse_within(rewriting.text, limits)?
        };
        Ok(Redacted {
            document,
            n_replaced,
        })
    }

    fn counted<'a>(&self, text: &'a str, n_replaced: &mut u64) -> Cow<'a, str> {
        let mut cleaned = Cow::Borrowed(text);
        for index in self.any.matches(text) {
            if let Some(rule) = self.texts.get(index)
                && let Some(without) = rule.apply(&cleaned, n_replaced)
            {
                cleaned = Cow::Owned(without);
            }
        }
        cleaned
    }

    /// Says what is secret of that which stands under a name.
    fn secrecy(&self, key: &str) -> Secrecy {
        let key = snake_case(key);
        let named = |secret: &String| {
            key.strip_suffix(secret.as_str()).is_some_and(|before| {
                before.is_empty() || before.ends_with('_') || secret.is_empty()
            })
        };
        if self.keys.iter().any(named) {
            Secrecy::TextsAndNumbers
        } else if self.text_keys.iter().any(named) {
            Secrecy::Texts
        } else {
            Secrecy::Open
        }
    }
}

/// What of a value is a secret because of where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Secrecy {
    /// Nothing.
    Open,
    /// Its texts.
    Texts,
    /// Its texts and its numbers.
    TextsAndNumbers,
}

const MARK: &str = "[redacted";

fn mark(kind: &str) -> String {
    format!("{MARK}:{kind}]")
}

impl TextRule {
    /// Replaces every secret that the rule finds; `None` where there is none.
    fn apply(&self, text: &str, n_replaced: &mut u64) -> Option<String> {
        let mut without = String::new();
        let mut copied = 0;
        for found in self.expression.captures_iter(text) {
            let groups = (1..found.len()).find_map(|group| found.get(group));
            let Some(secret) = groups.or_else(|| found.get(0)) else {
                continue;
            };
            // What another rule took out is none any more.
            if secret.is_empty() || secret.as_str().starts_with(MARK) {
                continue;
            }
            without.push_str(text.get(copied..secret.start())?);
            without.push_str(&mark(&self.kind));
            copied = secret.end();
            *n_replaced += 1;
        }
        if copied == 0 {
            return None;
        }
        without.push_str(text.get(copied..)?);
        Some(without)
    }
}

/// Writes `accessKey`, `Access-Key` and `ACCESS_KEY` as `access_key`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for character in name.chars() {
        if character.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        if character.is_alphanumeric() {
            snake.extend(character.to_lowercase());
        } else if !snake.ends_with('_') {
            snake.push('_');
        }
    }
    snake.truncate(snake.trim_end_matches('_').len());
    snake
}
