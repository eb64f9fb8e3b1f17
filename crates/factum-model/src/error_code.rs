//! The one registry of error codes.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, retryable $retryable:literal;)*) => {
        /// A stable name for one kind of failure. Each has a page in `docs/errors/`; a code that
        /// was shipped is never used for anything else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the registry.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the code as it stands in problem documents, logs and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Tells whether the same request may succeed later without a change.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$name => $retryable,)*
                }
            }
        }
    };
}

codes! {
    /// The request is not what the endpoint understands: syntax, a missing or unknown field.
    InvalidRequest = "invalid_request", retryable false;
    /// A field of an event breaks a rule.
    InvalidEvent = "invalid_event", retryable false;
    /// A filter or a query parameter breaks a rule.
    InvalidFilter = "invalid_filter", retryable false;
    /// The definition of a rule or of one of its targets breaks a rule.
    InvalidRule = "invalid_rule", retryable false;
    /// Something is larger, longer, deeper or more than a limit allows.
    LimitExceeded = "limit_exceeded", retryable false;
    /// The stream is not at the version that the writer expected.
    VersionConflict = "version_conflict", retryable false;
    /// An event that matches the append condition was appended before.
    ConditionFailed = "condition_failed", retryable false;
    /// The event id is taken by an event with other content.
    DuplicateEvent = "duplicate_event", retryable false;
    /// The name belongs to the engine.
    ReservedName = "reserved_name", retryable false;
    /// The connection or the disk failed before it was known whether the events are durable.
    /// Repeating the request with the same event ids tells.
    OutcomeUnknown = "outcome_unknown", retryable true;
    /// A queue is full; come back later.
    Overloaded = "overloaded", retryable true;
    /// The disk is full; writing resumes by itself when there is space.
    StorageFull = "storage_full", retryable true;
    /// A write or a sync failed; the store refuses writes until it is opened again.
    StoreFailed = "store_failed", retryable true;
    /// The database of the store cannot be reached; nothing was done.
    Unavailable = "unavailable", retryable true;
    /// The store is opened for reading only.
    ReadOnly = "read_only", retryable false;
    /// The store is being closed.
    ShuttingDown = "shutting_down", retryable true;
    /// Stored bytes do not match their checksum; they are not served.
    Corrupt = "corrupt", retryable false;
    /// Another process has the data directory open.
    Locked = "locked", retryable true;
    /// A record of the bookkeeping is not as the change expects.
    StateConflict = "state_conflict", retryable false;
    /// The lease is no longer held under the epoch that was presented.
    LeaseLost = "lease_lost", retryable false;
    /// Something is there under that name already.
    AlreadyExists = "already_exists", retryable false;
    /// Nothing is there under that name.
    NotFound = "not_found", retryable false;
    /// The aggregate id exists under several aggregate types.
    AmbiguousAggregate = "ambiguous_aggregate", retryable false;
    /// The cursor is not one.
    InvalidCursor = "invalid_cursor", retryable false;
    /// The cursor is of another store.
    ForeignCursor = "foreign_cursor", retryable false;
    /// The cursor points into a history that a restore or repair has cut off.
    LostHistory = "lost_history", retryable false;
    /// The request has no credentials, or they are not valid.
    Unauthenticated = "unauthenticated", retryable false;
    /// The credentials do not allow this.
    Forbidden = "forbidden", retryable false;
    /// The key is the last one that administers the server.
    LastAdminKey = "last_admin_key", retryable false;
    /// The request took longer than its time limit.
    Timeout = "timeout", retryable true;
    /// Too many requests, connections or subscriptions.
    RateLimited = "rate_limited", retryable true;
    /// The method is not one that the endpoint knows.
    MethodNotAllowed = "method_not_allowed", retryable false;
    /// The body is of a media type that the endpoint does not read.
    UnsupportedMediaType = "unsupported_media_type", retryable false;
    /// None of the media types that the client accepts can be given.
    NotAcceptable = "not_acceptable", retryable false;
    /// The event type is none of those that are known here.
    UnknownEventType = "unknown_event_type", retryable false;
    /// A share of a context is not one of 0 to 100 per cent.
    ContextOutOfRange = "context_out_of_range", retryable false;
    /// The text is no id of an agent instance.
    InvalidInstanceId = "invalid_instance_id", retryable false;
    /// There is no such agent instance.
    InstanceNotFound = "instance_not_found", retryable false;
    /// The agent instance is closed.
    InstanceClosed = "instance_closed", retryable false;
    /// The agent instance is at work, so nobody else takes over from it.
    InstanceActive = "instance_active", retryable false;
    /// A fault of the engine itself.
    Internal = "internal", retryable true;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_snake_case_and_stand_once() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        let snake = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        assert!(texts.iter().all(|text| snake(text)));
    }
}
