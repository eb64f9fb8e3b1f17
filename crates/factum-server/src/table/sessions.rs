//! The rows of agent sessions and of the catalogue.

use factum_engine::Scope::{Admin, Append, Read};
use factum_model::ErrorCode;
use utoipa_axum::routes;

use crate::handlers::catalogue;
use crate::handlers::sessions::{checkpoints, commands, events, instances};
use crate::table::{Endpoint, Row, TimeLimit, compressed, with};

const WRITE_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidEvent,
    ErrorCode::InvalidInstanceId,
    ErrorCode::UnknownEventType,
    ErrorCode::ContextOutOfRange,
    ErrorCode::InstanceNotFound,
    ErrorCode::InstanceClosed,
    ErrorCode::InstanceActive,
    ErrorCode::NotFound,
    ErrorCode::LimitExceeded,
    ErrorCode::DuplicateEvent,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::ReadOnly,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
    ErrorCode::Corrupt,
];

const READ_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidEvent,
    ErrorCode::InvalidInstanceId,
    ErrorCode::UnknownEventType,
    ErrorCode::InstanceNotFound,
    ErrorCode::NotFound,
    ErrorCode::LimitExceeded,
    ErrorCode::Overloaded,
    ErrorCode::Corrupt,
];

/// Returns the endpoints of agent sessions and of the catalogue.
pub(super) fn rows() -> Vec<Endpoint> {
    let write = || Row {
        time_limit: TimeLimit::Append,
        ..with(Append, WRITE_CODES)
    };
    let read = || compressed(with(Read, READ_CODES));
    vec![
        (read(), routes!(catalogue::list)),
        (read(), routes!(catalogue::show)),
        (write(), routes!(instances::register)),
        (read(), routes!(instances::list)),
        (read(), routes!(instances::stale)),
        (write(), routes!(instances::resume)),
        (read(), routes!(events::types)),
        (read(), routes!(events::tree)),
        (read(), routes!(events::parents)),
        (read(), routes!(checkpoints::show)),
        (with(Admin, WRITE_CODES), routes!(checkpoints::cleanup)),
        (read(), routes!(instances::show)),
        (write(), routes!(instances::heartbeat)),
        (write(), routes!(instances::close)),
        (write(), routes!(events::emit)),
        (read(), routes!(events::list)),
        (read(), routes!(events::latest)),
        (read(), routes!(events::replay)),
        (read(), routes!(events::counts)),
        (write(), routes!(commands::log)),
        (read(), routes!(commands::search)),
        (write(), routes!(checkpoints::create)),
        (read(), routes!(checkpoints::list)),
    ]
}
