//! What a tool is.

use std::sync::Arc;

use factum_engine::{Engine, Principal, Scope};
use factum_sessions::Sessions;
use factum_store::BoxFuture;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::options::McpOptions;

/// What calling a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing is changed.
    Reads,
    /// Something is added; calling it again adds it again.
    Adds,
    /// Something is added; calling it again with the same arguments changes nothing.
    AddsOnce,
    /// Something is no longer offered.
    Removes,
}

impl Effect {
    pub(crate) const fn changes(self) -> bool {
        match self {
            Self::Reads => false,
            Self::Adds | Self::AddsOnce | Self::Removes => true,
        }
    }

    /// Returns the scope that it needs.
    pub(crate) const fn scope(self) -> Scope {
        match self {
            Self::Reads => Scope::Read,
            Self::Adds | Self::AddsOnce => Scope::Append,
            // It reaches the sessions of others.
            Self::Removes => Scope::Admin,
        }
    }
}

/// What a tool works with.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) engine: Engine,
    pub(crate) sessions: Option<Sessions>,
    pub(crate) options: McpOptions,
    pub(crate) principal: Principal,
    pub(crate) appended: Arc<crate::metrics::Appended>,
}

impl Call {
    pub(crate) fn sessions(&self) -> Result<&Sessions, Fault> {
        self.sessions.as_ref().ok_or_else(|| {
            let detail = "agent sessions are switched off here";
            Fault::new(factum_model::ErrorCode::NotFound, detail)
        })
    }

    /// Returns the budget of an answer: what the caller asks for, within bounds.
    pub(crate) fn bytes_max(&self, asked: Option<u32>) -> Result<usize, Fault> {
        let most = self.options.answer_bytes_max;
        let Some(asked) = asked else {
            return Ok(self.options.answer_bytes.min(most));
        };
        let asked = usize::try_from(asked).unwrap_or(usize::MAX);
        if (1024..=most).contains(&asked) {
            return Ok(asked);
        }
        Err(Fault::invalid(
            "maxBytes",
            format!("must be from 1024 to {most}"),
        ))
    }

    /// Returns the budget where the caller cannot ask for another.
    pub(crate) fn own_bytes_max(&self) -> usize {
        self.options.answer_bytes.min(self.options.answer_bytes_max)
    }
}

/// A tool.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What it is for and what it answers, for a model that has to choose.
    pub(crate) about: &'static str,
    pub(crate) effect: Effect,
    pub(crate) input: fn() -> Value,
    pub(crate) output: fn() -> Value,
    pub(crate) run: fn(Call, Arguments) -> BoxFuture<'static, Result<Answer, Fault>>,
}

impl Tool {
    /// Describes the tool as the protocol does.
    pub(crate) fn describe(&self) -> Value {
        let reads = !self.effect.changes();
        let idempotent = match self.effect {
            Effect::Reads | Effect::AddsOnce | Effect::Removes => true,
            Effect::Adds => false,
        };
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.about,
            "inputSchema": (self.input)(),
            "outputSchema": (self.output)(),
            "annotations": {
                "title": self.title,
                "readOnlyHint": reads,
                "destructiveHint": self.effect == Effect::Removes,
                "idempotentHint": idempotent,
                "openWorldHint": false,
            },
        })
    }
}
