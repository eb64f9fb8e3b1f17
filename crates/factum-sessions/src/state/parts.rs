//! The parts of a state.

use factum_model::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::wire::{as_number, as_text};

/// How far an epic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EpicStatus {
    /// It is planned.
    Planned,
    /// It is being worked on.
    InProgress,
    /// It is done.
    Completed,
    /// It was given up.
    Failed,
}

impl EpicStatus {
    /// Returns the status in words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::InProgress => "in progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// An epic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Epic {
    /// Its id.
    pub epic_id: String,
    /// What it is about.
    pub feature_name: Option<String>,
    /// How far it is.
    pub status: EpicStatus,
    /// Why it failed.
    pub failure_reason: Option<String>,
}

/// The last run of tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TestRun {
    /// What was tested.
    pub test_type: String,
    /// Whether it passed; `None` while it runs.
    pub passed: Option<bool>,
    /// How many tests passed.
    pub passed_count: u64,
    /// How many tests failed.
    pub failed_count: u64,
    /// What went wrong.
    pub error_summary: Option<String>,
}

/// All runs of tests together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct TestTotals {
    /// How many runs passed.
    pub runs_passed: u64,
    /// How many runs failed.
    pub runs_failed: u64,
    /// How many tests passed, in all runs.
    pub passed_count: u64,
    /// How many tests failed, in all runs.
    pub failed_count: u64,
    /// How many tests were skipped, in all runs.
    pub skipped_count: u64,
    /// The last run.
    pub last: Option<TestRun>,
}

/// All validations together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ValidationTotals {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// What the last one that failed recommends.
    pub recommendation: Option<String>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Commit {
    /// Its hash.
    pub commit_hash: String,
    /// Its message, cut.
    pub message: String,
    /// Its branch.
    pub branch: Option<String>,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PullRequest {
    /// Its number.
    pub pr_number: u64,
    /// Where it is.
    pub pr_url: String,
    /// Its title, cut.
    pub title: Option<String>,
    /// Its branch.
    pub branch: Option<String>,
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentStatus {
    /// It began.
    Started,
    /// It succeeded.
    Completed,
    /// It failed.
    Failed,
}

impl DeploymentStatus {
    /// Returns the status as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// The last deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Deployment {
    /// Where to.
    pub environment: String,
    /// How far it is.
    pub status: DeploymentStatus,
    /// The version, where one was named.
    pub version: Option<String>,
    /// What went wrong, or how it is.
    pub detail: Option<String>,
    /// The sequence number of the event that says so.
    pub sequence_num: u64,
}

/// What is known of a checkpoint without its content.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CheckpointSummary {
    /// Its id.
    pub checkpoint_id: String,
    /// What made it: `context_window`, `epic_completion` or `manual`; `None` for one that an agent
    /// reported.
    pub checkpoint_type: Option<String>,
    /// The share of the context that was used, in per cent.
    #[serde(serialize_with = "as_number")]
    pub context_percent: f64,
    /// Why it was made.
    pub reason: String,
    /// When.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// The sequence number of the event that holds it.
    pub sequence_num: u64,
    /// How large its content is.
    pub size_bytes: u64,
}

/// What is known of a command without its parameters and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CommandSummary {
    /// What was done.
    pub action: String,
    /// In words, cut.
    pub description: String,
    /// With which tool.
    pub tool_name: Option<String>,
    /// Whether it succeeded, where that was said.
    pub success: Option<bool>,
    /// When it was logged.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub at: Timestamp,
}
