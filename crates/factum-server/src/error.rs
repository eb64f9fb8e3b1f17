//! Failures on their way out: what the client reads, and what the log records.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use factum_api::{InputError, Problem};
use factum_engine::{EngineError, KeyError, ScheduleError, SubscriptionError};
use factum_model::{EventId, ExpectedVersion, LimitExceeded, Position, SequenceNumber};
use factum_store::{AppendError, CursorError, MaintenanceError, ReadError, StateError};

use factum_model::ErrorCode;

/// A failure of a request. The door renders it, adds the request's id, and logs its cause.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// What the client reads.
    pub(crate) problem: Box<Problem>,
    /// What the log records.
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
    /// The methods of the endpoint, where another one was asked for.
    pub(crate) allow: Option<HeaderValue>,
}

impl ApiError {
    /// Makes a failure of a code and words for the client.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(code, detail)),
            cause: None,
            allow: None,
        }
    }

    /// Says that nothing is there.
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, what)
    }

    /// Keeps the details from the client and for the log.
    pub(crate) fn hidden(
        code: ErrorCode,
        detail: &'static str,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            cause: Some(Arc::new(cause)),
            ..Self::new(code, detail)
        }
    }

    /// Writes the problem document.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let mut problem = (*self.problem).clone();
        problem.request_id = Some(request_id.to_owned());
        let status = StatusCode::from_u16(problem.status);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"factum\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(allow) = &self.allow {
            response.headers_mut().insert(header::ALLOW, allow.clone());
        }
        response
    }
}

impl IntoResponse for ApiError {
    /// Hands the failure to the door, which renders it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        Self {
            problem: Box::new(Problem::from(&error)),
            cause: None,
            allow: None,
        }
    }
}

impl From<LimitExceeded> for ApiError {
    fn from(error: LimitExceeded) -> Self {
        let mut failure = Self::new(ErrorCode::LimitExceeded, error.to_string());
        failure.problem.limit = u64::try_from(error.limit).ok();
        failure.problem.actual = u64::try_from(error.actual).ok();
        failure
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let pointer = |index: usize, rest: &str| Some(format!("/events/{index}{rest}"));
        match error {
            EngineError::Append(error) => error.into(),
            EngineError::Read(error) => error.into(),
            EngineError::Cursor(error) => error.into(),
            EngineError::Limit(error) => error.into(),
            EngineError::EventLimit { index, source } => {
                let mut failure = Self::from(source);
                failure.problem.pointer = pointer(index, "");
                failure
            }
            EngineError::Metadata { index, source } => {
                let mut failure = Self::new(ErrorCode::InvalidEvent, source.to_string());
                failure.problem.pointer = pointer(index, &format!("/metadata{}", source.pointer));
                failure
            }
            EngineError::ReservedName { index, field, .. } => {
                let mut failure = Self::new(ErrorCode::ReservedName, error.to_string());
                failure.problem.pointer = pointer(index, &format!("/{field}"));
                failure
            }
            EngineError::InstanceStream { index, .. } => {
                let instead = "report with POST /v1/sessions/{id}/events, /heartbeat or /commands";
                let mut failure = Self::new(error.code(), format!("{error}; {instead}"));
                failure.problem.pointer = pointer(index, "/aggregateId");
                failure
            }
            EngineError::UnknownEventType { index, .. } => {
                let mut failure = Self::new(error.code(), error.to_string());
                failure.problem.pointer = pointer(index, "/type");
                failure
            }
            EngineError::AmbiguousAggregate { ref types, .. } => {
                let mut failure = Self::new(error.code(), error.to_string());
                failure.problem.aggregate_types = types.iter().map(ToString::to_string).collect();
                failure
            }
            EngineError::Busy { .. } => {
                let mut busy = Self::new(error.code(), error.to_string());
                busy.problem.retry_after = Some(1);
                busy
            }
            EngineError::Filter(_)
            | EngineError::DuplicateExpectation { .. }
            | EngineError::UnusedExpectation { .. }
            | EngineError::Unsupported { .. } => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        let mut failure = Self::new(error.code(), error.to_string());
        let problem = &mut failure.problem;
        match error {
            AppendError::VersionConflict {
                stream,
                expected,
                actual,
            } => {
                problem.aggregate_type = Some(stream.aggregate_type.to_string());
                problem.aggregate_id = Some(stream.aggregate_id.to_string());
                problem.expected_version = Some(shown(expected));
                problem.actual_version = Some(actual.map_or(0, SequenceNumber::get));
            }
            AppendError::ConditionFailed { position, id } => {
                problem.position = Some(position.get());
                problem.id = Some(id.to_string());
            }
            AppendError::DuplicateEvent {
                index,
                id,
                position,
                ..
            } => {
                problem.pointer = Some(format!("/events/{index}/id"));
                problem.id = Some(id.to_string());
                problem.position = position.map(Position::get);
            }
            AppendError::OutcomeUnknown { ids } => {
                problem.ids = ids.iter().map(EventId::to_string).collect();
                problem.retry_after = Some(1);
            }
            AppendError::Overloaded { retry_after_ms, .. } => {
                problem.retry_after = Some(retry_after_ms.div_ceil(1000).max(1));
            }
            AppendError::StorageFull => problem.retry_after = Some(10),
            AppendError::StoreFailed { .. } => {
                // The cause names files; the operator finds it in the log and in the health report.
                "the store has stopped writing".clone_into(&mut problem.detail);
                problem.retry_after = Some(60);
                failure.cause = Some(Arc::new(error));
            }
            AppendError::ShuttingDown => problem.retry_after = Some(5),
            AppendError::Limit(limit) => return limit.into(),
            AppendError::Read(read) => return read.into(),
            AppendError::Empty | AppendError::ReadOnly => {}
        }
        failure
    }
}

fn shown(expected: ExpectedVersion) -> String {
    expected.to_string()
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let code = error.code();
        match error {
            ReadError::Corrupt { first, last, .. } => {
                let mut failure = Self::hidden(code, "", error);
                failure.problem.detail =
                    format!("stored events from position {first} to {last} are damaged");
                failure.problem.position = Some(first.get());
                failure
            }
            ReadError::Io(_) => Self::hidden(code, "reading from storage failed", error),
            ReadError::Unavailable(_) => {
                let mut failure =
                    Self::hidden(code, "the database of the store does not answer", error);
                failure.problem.retry_after = Some(1);
                failure
            }
            ReadError::Closed => Self::new(code, error.to_string()),
        }
    }
}

impl From<CursorError> for ApiError {
    fn from(error: CursorError) -> Self {
        let mut failure = Self::new(error.code(), error.to_string());
        failure.problem.parameter = Some("after".to_owned());
        if let CursorError::LostHistory { resume_at } = error {
            failure.problem.position = Some(resume_at.map_or(0, Position::get));
        }
        failure
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        let code = error.code();
        match error {
            StateError::Limit(error) => error.into(),
            StateError::Overloaded { retry_after_ms } => {
                let mut failure = Self::new(code, error.to_string());
                failure.problem.retry_after = Some(retry_after_ms.div_ceil(1000).max(1));
                failure
            }
            StateError::StorageFull | StateError::OutcomeUnknown | StateError::ShuttingDown => {
                let mut failure = Self::new(code, error.to_string());
                failure.problem.retry_after = Some(5);
                failure
            }
            StateError::Failed { .. } | StateError::Corrupt { .. } => {
                Self::hidden(code, "the bookkeeping cannot be read or written", error)
            }
            StateError::Invalid { .. }
            | StateError::Conflict { .. }
            | StateError::LeaseLost { .. } => Self::new(code, error.to_string()),
        }
    }
}

impl From<SubscriptionError> for ApiError {
    fn from(error: SubscriptionError) -> Self {
        let code = error.code();
        match error {
            SubscriptionError::State(error) => error.into(),
            SubscriptionError::Read(error) => error.into(),
            SubscriptionError::Engine(error) => error.into(),
            SubscriptionError::Limit(error) => error.into(),
            SubscriptionError::Invalid { field, .. } => {
                let mut failure = Self::new(code, error.to_string());
                failure.problem.pointer = Some(format!("/{}", field.replace('.', "/")));
                failure
            }
            SubscriptionError::Unusable { .. } | SubscriptionError::Unwritable { .. } => {
                Self::hidden(code, "the subscription cannot be used", error)
            }
            SubscriptionError::Filter(_)
            | SubscriptionError::Name(_)
            | SubscriptionError::NotFound { .. }
            | SubscriptionError::Exists { .. }
            | SubscriptionError::Changed { .. }
            | SubscriptionError::NoBookkeeping
            | SubscriptionError::Stopping => Self::new(code, error.to_string()),
        }
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let code = error.code();
        let at = |pointer: &str, error: &ScheduleError| {
            let mut failure = Self::new(code, error.to_string());
            failure.problem.pointer = Some(pointer.to_owned());
            failure
        };
        match error {
            ScheduleError::State(error) => error.into(),
            ScheduleError::Engine(error) => error.into(),
            ScheduleError::Pattern { .. } | ScheduleError::Never => at("/cron", &error),
            ScheduleError::Zone { .. } => at("/timeZone", &error),
            ScheduleError::Assigned => at("/event", &error),
            ScheduleError::Metadata { .. } => at("/event/metadata", &error),
            ScheduleError::Id(_) => at("/id", &error),
            ScheduleError::Record { .. } | ScheduleError::Internal(_) => {
                Self::hidden(code, "the schedule cannot be used", error)
            }
            ScheduleError::NoBookkeeping
            | ScheduleError::NotFound { .. }
            | ScheduleError::Exists { .. }
            | ScheduleError::TooMany { .. } => Self::new(code, error.to_string()),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let code = error.code();
        match error {
            KeyError::Invalid { field, .. } => {
                let mut failure = Self::new(code, error.to_string());
                failure.problem.pointer = Some(format!("/{field}"));
                failure
            }
            KeyError::NotFound { .. } | KeyError::LastAdmin { .. } => {
                Self::new(code, error.to_string())
            }
            KeyError::Random | KeyError::Internal(_) => {
                Self::hidden(code, "the key could not be made", error)
            }
            KeyError::Engine(error) => error.into(),
        }
    }
}

impl From<MaintenanceError> for ApiError {
    fn from(error: MaintenanceError) -> Self {
        let code = error.code();
        match error {
            MaintenanceError::TargetNotEmpty => {
                let mut failure = Self::new(code, error.to_string());
                failure.problem.pointer = Some("/path".to_owned());
                failure
            }
            MaintenanceError::NotOffered { .. } => Self::new(code, error.to_string()),
            MaintenanceError::Damaged { .. } => {
                Self::hidden(code, "the copy does not verify", error)
            }
            MaintenanceError::Io(_) => Self::hidden(
                code,
                "reading or writing a file failed; the log says which",
                error,
            ),
        }
    }
}
