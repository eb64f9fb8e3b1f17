//! A tool that was refused or failed: what its caller reads, and what the log records.

use std::error::Error;
use std::sync::Arc;

use factum_api::{InputError, Place, Problem};
use factum_engine::EngineError;
use factum_model::{ErrorCode, EventId, Position, SequenceNumber};
use factum_sessions::SessionError;
use factum_store::{AppendError, CursorError, ReadError};
use serde::Serialize;

/// A tool that was refused or failed.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    told: Box<Told>,
    /// What only the log records.
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What the caller reads, beside the sentence.
#[derive(Debug, Clone, Serialize)]
struct Told {
    /// The name of the failure in the contract of the tools, where it differs from the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(flatten)]
    problem: Problem,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            told: Box::new(Told {
                error: None,
                field: None,
                problem: Problem::new(code, detail),
            }),
            cause: None,
        }
    }

    fn hidden(
        code: ErrorCode,
        detail: &'static str,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            cause: Some(Arc::new(cause)),
            ..Self::new(code, detail)
        }
    }

    pub(crate) fn invalid(field: &str, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        let mut fault = Self::new(ErrorCode::InvalidRequest, format!("{field} {rule}"));
        fault.told.field = Some(field.to_owned());
        fault
    }

    /// Says that the input is not read.
    pub(crate) fn of_input(error: &serde_json::Error) -> Self {
        // The place within the text means nothing to who wrote a tree of values.
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        Self::new(ErrorCode::InvalidRequest, words.to_owned())
    }

    /// Puts the pointer of an input error below the field that holds the document.
    pub(crate) fn within(mut self, field: &str) -> Self {
        let problem = &mut self.told.problem;
        if let Some(pointer) = &mut problem.pointer {
            pointer.insert_str(0, &format!("/{field}"));
        }
        self
    }

    /// Returns the sentence that stands first.
    pub(crate) fn sentence(&self) -> String {
        let told = &self.told;
        let name = told.error.unwrap_or_else(|| self.code.as_str());
        format!("{name}: {}", told.problem.detail)
    }

    /// Returns the whole as JSON.
    pub(crate) fn document(&self) -> String {
        serde_json::to_string(&self.told).unwrap_or_default()
    }
}

impl From<InputError> for Fault {
    fn from(error: InputError) -> Self {
        let mut fault = Self::new(error.code, error.to_string());
        fault.told.problem = Problem::from(&error);
        if let Place::Pointer(pointer) = &error.place {
            fault.told.field = Some(pointer.trim_start_matches('/').replace('/', "."));
        }
        fault
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        let mut fault = Self::new(error.code(), error.to_string());
        let problem = &mut fault.told.problem;
        match error {
            EngineError::Append(error) => return error.into(),
            EngineError::Read(error) => return error.into(),
            EngineError::Cursor(CursorError::LostHistory { resume_at }) => {
                problem.position = Some(resume_at.map_or(0, Position::get));
            }
            EngineError::EventLimit { index, .. } => {
                problem.pointer = Some(format!("/events/{index}"));
            }
            EngineError::Metadata { index, source } => {
                problem.pointer = Some(format!("/events/{index}/metadata{}", source.pointer));
            }
            EngineError::ReservedName { index, field, .. } => {
                problem.pointer = Some(format!("/events/{index}/{field}"));
            }
            EngineError::InstanceStream { index, .. } => {
                problem.pointer = Some(format!("/events/{index}/aggregateId"));
                problem.detail.push_str("; report with mcp_meta_emit_event");
            }
            EngineError::AmbiguousAggregate { types, .. } => {
                problem.aggregate_types = types.iter().map(ToString::to_string).collect();
            }
            EngineError::Busy { .. } => problem.retry_after = Some(1),
            EngineError::Cursor(_)
            | EngineError::Limit(_)
            | EngineError::Filter(_)
            | EngineError::DuplicateExpectation { .. }
            | EngineError::UnusedExpectation { .. }
            | EngineError::Unsupported { .. } => {}
            EngineError::UnknownEventType { index, .. } => {
                problem.pointer = Some(format!("/events/{index}/type"));
            }
        }
        fault
    }
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        let mut fault = Self::new(error.code(), error.to_string());
        let problem = &mut fault.told.problem;
        match error {
            AppendError::VersionConflict {
                stream,
                expected,
                actual,
            } => {
                problem.aggregate_type = Some(stream.aggregate_type.to_string());
                problem.aggregate_id = Some(stream.aggregate_id.to_string());
                problem.expected_version = Some(expected.to_string());
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
                // The cause names files; it is for the log.
                return Self::hidden(
                    ErrorCode::StoreFailed,
                    "the store has stopped writing",
                    error,
                );
            }
            AppendError::ShuttingDown => problem.retry_after = Some(5),
            AppendError::Read(read) => return read.into(),
            AppendError::Limit(_) | AppendError::Empty | AppendError::ReadOnly => {}
        }
        fault
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        let code = error.code();
        match error {
            ReadError::Corrupt { first, last, .. } => {
                let detail = format!("stored events from position {first} to {last} are damaged");
                Self {
                    cause: Some(Arc::new(error)),
                    ..Self::new(code, detail)
                }
            }
            ReadError::Io(_) => Self::hidden(code, "reading from storage failed", error),
            ReadError::Unavailable(_) => {
                Self::hidden(code, "the database of the store does not answer", error)
            }
            ReadError::Closed => Self::new(code, error.to_string()),
        }
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        let (name, field) = (error.name(), error.field().map(str::to_owned));
        let mut fault = match error {
            SessionError::EventStore(error) => Self::from(error),
            SessionError::UnknownEventType { .. }
            | SessionError::InvalidEvent { .. }
            | SessionError::ContextOutOfRange { .. }
            | SessionError::MalformedInstanceId { .. }
            | SessionError::InstanceNotFound { .. }
            | SessionError::InstanceClosed { .. }
            | SessionError::InstanceActive { .. }
            | SessionError::NoSuchChoice { .. }
            | SessionError::CheckpointNotFound { .. }
            | SessionError::EventNotFound { .. }
            | SessionError::TooManyInstances { .. }
            | SessionError::Contended
            | SessionError::TimedOut { .. } => Self::new(error.code(), error.to_string()),
        };
        fault.told.error = Some(name);
        fault.told.field = field;
        fault
    }
}
