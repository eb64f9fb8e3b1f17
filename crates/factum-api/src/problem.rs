//! Problem documents (RFC 9457).

use factum_model::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::{InputError, Place};

/// Where the page of an error code stands, relative to the server.
pub const RELATIVE_TYPE: &str = "/docs/errors/";

/// Returns the `type` of the problem documents of a code.
#[must_use]
pub fn problem_type(code: ErrorCode) -> String {
    format!("https://factum.dev/errors/{code}")
}

/// An error as the client reads it (RFC 9457). Which further members are there depends on the
/// code; members that are absent do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind of problem, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code; see the page of that name.
    pub code: String,
    /// What went wrong this time.
    pub detail: String,
    /// The place in the body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The request, as it stands in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The stream that is not at the expected version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate_type: Option<String>,
    /// The stream that is not at the expected version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate_id: Option<String>,
    /// What the writer expected: `any`, `noStream`, `exists` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<String>,
    /// The sequence number of the last event of the stream, 0 where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_version: Option<u64>,
    /// The event that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its position, or the position from which a lost history can be resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The ids with which the request can be repeated to learn its outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// The aggregate types under which the aggregate id exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aggregate_types: Vec<String>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What was found instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<u64>,
    /// The line of a bulk append, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// When to come back, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Makes the document of a code with nothing but words.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            problem_type: problem_type(code),
            title: title_of(code).to_owned(),
            status: status_of(code),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            pointer: None,
            parameter: None,
            request_id: None,
            aggregate_type: None,
            aggregate_id: None,
            expected_version: None,
            actual_version: None,
            id: None,
            position: None,
            ids: Vec::new(),
            aggregate_types: Vec::new(),
            limit: None,
            actual: None,
            line: None,
            retry_after: None,
        }
    }
}

impl From<&InputError> for Problem {
    fn from(error: &InputError) -> Self {
        let problem = Self::new(error.code, error.to_string());
        match &error.place {
            Place::Pointer(pointer) => Self {
                pointer: Some(pointer.clone()),
                ..problem
            },
            Place::Parameter(parameter) => Self {
                parameter: Some(parameter.clone()),
                ..problem
            },
        }
    }
}

/// Returns the HTTP status of a code.
#[must_use]
pub const fn status_of(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidFilter
        | ErrorCode::InvalidCursor
        | ErrorCode::ForeignCursor
        | ErrorCode::InvalidInstanceId => 400,
        ErrorCode::Unauthenticated => 401,
        ErrorCode::Forbidden | ErrorCode::ReservedName | ErrorCode::ReadOnly => 403,
        ErrorCode::NotFound | ErrorCode::InstanceNotFound => 404,
        ErrorCode::MethodNotAllowed => 405,
        ErrorCode::NotAcceptable => 406,
        ErrorCode::Timeout => 408,
        ErrorCode::VersionConflict
        | ErrorCode::ConditionFailed
        | ErrorCode::DuplicateEvent
        | ErrorCode::StateConflict
        | ErrorCode::LeaseLost
        | ErrorCode::LastAdminKey
        | ErrorCode::InstanceClosed
        | ErrorCode::InstanceActive
        | ErrorCode::AlreadyExists
        | ErrorCode::AmbiguousAggregate => 409,
        ErrorCode::LostHistory => 410,
        ErrorCode::LimitExceeded => 413,
        ErrorCode::UnsupportedMediaType => 415,
        ErrorCode::InvalidEvent
        | ErrorCode::InvalidRule
        | ErrorCode::UnknownEventType
        | ErrorCode::ContextOutOfRange => 422,
        ErrorCode::RateLimited => 429,
        ErrorCode::Corrupt | ErrorCode::Internal => 500,
        ErrorCode::OutcomeUnknown
        | ErrorCode::Overloaded
        | ErrorCode::StoreFailed
        | ErrorCode::Unavailable
        | ErrorCode::ShuttingDown
        | ErrorCode::Locked => 503,
        ErrorCode::StorageFull => 507,
    }
}

/// Returns the title of a code.
#[must_use]
pub const fn title_of(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "The request is not understood",
        ErrorCode::InvalidEvent => "An event breaks a rule",
        ErrorCode::InvalidFilter => "A filter breaks a rule",
        ErrorCode::InvalidRule => "A rule cannot be as it is defined",
        ErrorCode::LimitExceeded => "A limit is exceeded",
        ErrorCode::VersionConflict => "The stream is not at the expected version",
        ErrorCode::ConditionFailed => "The append condition does not hold",
        ErrorCode::DuplicateEvent => "The event id is taken",
        ErrorCode::ReservedName => "The name belongs to the engine",
        ErrorCode::OutcomeUnknown => "The outcome is not known",
        ErrorCode::Overloaded => "The server is overloaded",
        ErrorCode::StorageFull => "The disk is full",
        ErrorCode::StoreFailed => "The store does not take writes",
        ErrorCode::Unavailable => "The database does not answer",
        ErrorCode::ReadOnly => "The store is open for reading only",
        ErrorCode::ShuttingDown => "The server is shutting down",
        ErrorCode::Corrupt => "Stored data are damaged",
        ErrorCode::Locked => "The store is in use",
        ErrorCode::StateConflict => "The record is not as expected",
        ErrorCode::LeaseLost => "The lease is lost",
        ErrorCode::AlreadyExists => "The name is taken",
        ErrorCode::NotFound => "Nothing is there",
        ErrorCode::AmbiguousAggregate => "The aggregate id is ambiguous",
        ErrorCode::InvalidCursor => "The cursor is not one",
        ErrorCode::ForeignCursor => "The cursor is of another store",
        ErrorCode::LostHistory => "The history behind the cursor was cut off",
        ErrorCode::Unauthenticated => "Valid credentials are missing",
        ErrorCode::Forbidden => "The credentials do not allow this",
        ErrorCode::LastAdminKey => "The key is the last one of its kind",
        ErrorCode::Timeout => "The request took too long",
        ErrorCode::RateLimited => "Too many at once",
        ErrorCode::MethodNotAllowed => "The method is not known here",
        ErrorCode::UnsupportedMediaType => "The media type is not read here",
        ErrorCode::NotAcceptable => "No acceptable media type",
        ErrorCode::UnknownEventType => "The event type is not known",
        ErrorCode::ContextOutOfRange => "The share of the context is out of range",
        ErrorCode::InvalidInstanceId => "The instance id is not one",
        ErrorCode::InstanceNotFound => "There is no such instance",
        ErrorCode::InstanceClosed => "The instance is closed",
        ErrorCode::InstanceActive => "The instance is at work",
        ErrorCode::Internal => "A fault of the server",
    }
}
