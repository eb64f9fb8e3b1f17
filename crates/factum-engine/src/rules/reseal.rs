//! Secrets of rules that are sealed anew, after the key that seals them was changed.

use super::definition;
use super::error::{InvalidRule, RuleError};
use super::record::{self, Change};
use super::registry::Rules;
use super::rule::Rule;

/// How often a rule is tried that somebody else changes at the same moment.
const TRIES: usize = 5;

/// How secrets of rules are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealedRules {
    /// The rules of which all secrets are sealed under the key that seals now.
    pub n_current: usize,
    /// The rules of which some are sealed under an earlier one.
    pub earlier: Vec<String>,
    /// The rules of which some cannot be opened, as their key is not known here or the rule itself
    /// cannot be read, with the reason.
    pub unreadable: Vec<(String, String)>,
}

impl Rules {
    /// Says how the secrets of all rules are sealed, up to the head of the log.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn sealed(&self) -> Result<SealedRules, RuleError> {
        self.refresh().await?;
        let mut sealed = SealedRules::default();
        for rule in self.list() {
            let id = rule.id.to_string();
            match self.resealed(&rule) {
                Ok(None) => sealed.n_current += 1,
                Ok(Some(_)) => sealed.earlier.push(id),
                Err(error) => sealed.unreadable.push((id, error.to_string())),
            }
        }
        // Whatever secrets these have, nobody can say under which key they are.
        let why = "an event of it cannot be read by this release";
        let unread = self.unread().into_iter();
        sealed
            .unreadable
            .extend(unread.map(|id| (id, why.to_owned())));
        Ok(sealed)
    }

    /// Seals the secrets of all rules under the key that seals now, each rule by an event of its
    /// own, and returns how many rules there were to change. Ended in the middle, it leaves some
    /// rules as they were, which the earlier key still opens; done again, it goes on with those.
    /// Nothing else of a rule changes, and it goes on where it was.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] for a rule with a secret that cannot be opened, after all others
    /// were sealed; [`RuleError::Changed`], or what the engine says.
    pub async fn reseal(&self, by: &str) -> Result<usize, RuleError> {
        self.refresh().await?;
        let mut n_resealed = 0;
        let mut failed = None;
        for rule in self.list() {
            match self.reseal_one(rule.id.as_str(), by).await {
                Ok(true) => n_resealed += 1,
                // It was deleted meanwhile.
                Ok(false) | Err(RuleError::NotFound { .. }) => {}
                Err(RuleError::Invalid(error)) => {
                    failed = failed.or_else(|| {
                        let pointer = format!("/{}{}", rule.id, error.pointer);
                        Some(InvalidRule { pointer, ..error })
                    });
                }
                Err(error) => return Err(error),
            }
        }
        match failed {
            None => Ok(n_resealed),
            Some(error) => Err(error.into()),
        }
    }

    async fn reseal_one(&self, id: &str, by: &str) -> Result<bool, RuleError> {
        let mut tries = 0;
        loop {
            let before = self.get(id)?;
            let Some(document) = self.resealed(&before)? else {
                return Ok(false);
            };
            let change = Change::Defined(Box::new(document));
            let reason = Some("its secrets are sealed under another key");
            let event = record::event(record::CHANGED, &before.id, change, (by, reason))?;
            tries += 1;
            match self.record(&before.id, event, Some(&before)).await {
                Ok(()) => return Ok(true),
                Err(RuleError::Changed { .. }) if tries < TRIES => self.refresh().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns a rule with its secrets sealed anew; `None` where that changes nothing.
    fn resealed(&self, rule: &Rule) -> Result<Option<definition::Document>, InvalidRule> {
        let mut document = definition::stored(rule)?;
        let mut changes = false;
        for (index, target) in document.targets.iter_mut().enumerate() {
            let pointer = format!("/targets/{index}/to");
            let resealed = self.inner.targets.reseal(target.to.get());
            let resealed = resealed.map_err(|error| InvalidRule::from(error.under(&pointer)))?;
            if let Some(stored) = resealed {
                target.to = definition::raw(stored, &pointer)?;
                changes = true;
            }
        }
        Ok(changes.then_some(document))
    }
}
