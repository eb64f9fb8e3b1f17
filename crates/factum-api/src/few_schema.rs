//! The names that some members are limited to. They are read elsewhere, with better messages; the
//! document names them.

use utoipa::ToSchema;

/// How a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = DeadLetterStatus, rename_all = "snake_case")]
pub enum DeadLetterStatusDto {
    /// Somebody has to decide.
    PendingRetry,
    /// It is being tried again.
    Retrying,
    /// It was delivered after all.
    Resolved,
    /// It was given up.
    PermanentFailure,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = DeliveryStatus, rename_all = "snake_case")]
pub enum DeliveryStatusDto {
    /// The target has it.
    Delivered,
    /// It is tried again.
    Retrying,
    /// It is a dead letter.
    Dead,
}

/// How waits between attempts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = RetryStrategy, rename_all = "snake_case")]
pub enum RetryStrategyDto {
    /// Each is the base delay.
    Fixed,
    /// Each is longer by the base delay.
    Linear,
    /// Each is twice the one before.
    Exponential,
}

/// Whether waits are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = Jitter, rename_all = "snake_case")]
pub enum JitterDto {
    /// They are as computed.
    None,
    /// Each is anything between nothing and what was computed.
    Full,
}

/// The category of an event type of agent sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = SessionCategory, rename_all = "snake_case")]
pub enum SessionCategoryDto {
    /// Instances.
    Instance,
    /// Epics.
    Epic,
    /// Tests and validations.
    Testing,
    /// Commits and pull requests.
    Git,
    /// Deployments.
    Deployment,
    /// Context and checkpoints.
    WorkState,
    /// What is planned.
    Planning,
}
