//! The pages of `docs/errors/`, which `cargo xtask codegen` writes, as part of the program.

use factum_model::ErrorCode;

macro_rules! pages {
    ($($name:ident $file:literal)*) => {
        /// Returns the page of a code.
        pub(super) const fn of(code: ErrorCode) -> &'static str {
            match code {
                $(ErrorCode::$name => {
                    include_str!(concat!("../../../../../docs/errors/", $file, ".md"))
                })*
            }
        }
    };
}

pages! {
    InvalidRequest "invalid_request"
    InvalidEvent "invalid_event"
    InvalidFilter "invalid_filter"
    InvalidRule "invalid_rule"
    LimitExceeded "limit_exceeded"
    VersionConflict "version_conflict"
    ConditionFailed "condition_failed"
    DuplicateEvent "duplicate_event"
    ReservedName "reserved_name"
    OutcomeUnknown "outcome_unknown"
    Overloaded "overloaded"
    StorageFull "storage_full"
    StoreFailed "store_failed"
    Unavailable "unavailable"
    ReadOnly "read_only"
    ShuttingDown "shutting_down"
    Corrupt "corrupt"
    Locked "locked"
    StateConflict "state_conflict"
    LeaseLost "lease_lost"
    AlreadyExists "already_exists"
    UnknownEventType "unknown_event_type"
    ContextOutOfRange "context_out_of_range"
    InvalidInstanceId "invalid_instance_id"
    InstanceNotFound "instance_not_found"
    InstanceClosed "instance_closed"
    InstanceActive "instance_active"
    NotFound "not_found"
    AmbiguousAggregate "ambiguous_aggregate"
    InvalidCursor "invalid_cursor"
    ForeignCursor "foreign_cursor"
    LostHistory "lost_history"
    Unauthenticated "unauthenticated"
    Forbidden "forbidden"
    LastAdminKey "last_admin_key"
    Timeout "timeout"
    RateLimited "rate_limited"
    MethodNotAllowed "method_not_allowed"
    UnsupportedMediaType "unsupported_media_type"
    NotAcceptable "not_acceptable"
    Internal "internal"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_page_of_its_name() {
        for code in ErrorCode::ALL {
            let heading = format!("# {code}\n");
            assert!(of(*code).starts_with(&heading), "{code}");
        }
    }
}
