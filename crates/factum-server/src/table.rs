//! The one table of endpoints: each row states who may call it.
//!
//! The router and the OpenAPI document are both made from these rows, so that neither can have an
//! endpoint that the other does not know, or one without a stated scope.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler as _;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use factum_engine::Scope;
use factum_model::ErrorCode;
use tower_http::compression::CompressionLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::door::{Door, pass};
use crate::handlers::{
    admin, aggregates, append, bulk, causes, consumers, dead_letters, deliveries, docs, health,
    keys, live, log, mcp, metrics, rules, schedule, subscriptions, unmatched,
};
use crate::metrics::RouteMetrics;
use crate::openapi;
use crate::state::AppState;

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Whoever has a key. What it may do is decided in the course of the request.
    AnyKey,
    /// Whoever has a key with this scope.
    Scope(Scope),
    /// Whoever has a key with this scope; it may also be shown in the course of the connection,
    /// before anything is sent.
    Handshake(Scope),
}

/// How long an answer may take to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeLimit {
    /// As long as any request.
    Request,
    /// As long as a body and then an append, each with a limit of its own: cut from outside, an
    /// append would be answered as if nothing had been appended.
    Append,
    /// As long as a verification or a backup.
    Maintenance,
}

/// What stands in a row beside the handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) access: Access,
    pub(crate) time_limit: TimeLimit,
    /// Whether the answer is worth compressing.
    pub(crate) compress: bool,
    /// The codes of failures beside those that every endpoint has.
    pub(crate) codes: &'static [ErrorCode],
}

const PUBLIC: Row = Row {
    access: Access::Public,
    time_limit: TimeLimit::Request,
    compress: false,
    codes: &[],
};

const fn with(scope: Scope, codes: &'static [ErrorCode]) -> Row {
    Row {
        access: Access::Scope(scope),
        codes,
        ..PUBLIC
    }
}

const fn compressed(row: Row) -> Row {
    Row {
        compress: true,
        ..row
    }
}

const fn slow(row: Row) -> Row {
    Row {
        time_limit: TimeLimit::Maintenance,
        ..row
    }
}

const APPEND_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidEvent,
    ErrorCode::InvalidFilter,
    ErrorCode::InvalidCursor,
    ErrorCode::ForeignCursor,
    ErrorCode::LostHistory,
    ErrorCode::LimitExceeded,
    ErrorCode::VersionConflict,
    ErrorCode::ConditionFailed,
    ErrorCode::DuplicateEvent,
    ErrorCode::ReservedName,
    ErrorCode::ReadOnly,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
];

const LOG_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidFilter,
    ErrorCode::InvalidCursor,
    ErrorCode::ForeignCursor,
    ErrorCode::LostHistory,
    ErrorCode::LimitExceeded,
    ErrorCode::NotAcceptable,
    ErrorCode::Corrupt,
];

const QUERY_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidFilter,
    ErrorCode::InvalidCursor,
    ErrorCode::ForeignCursor,
    ErrorCode::LostHistory,
    ErrorCode::LimitExceeded,
    ErrorCode::NotAcceptable,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::Corrupt,
];

const READ_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::NotAcceptable,
    ErrorCode::AmbiguousAggregate,
    ErrorCode::Corrupt,
];

const KEY_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::ReadOnly,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
];

const MAINTENANCE_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::LimitExceeded,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::Overloaded,
    ErrorCode::Corrupt,
];

const REVOKE_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::NotFound,
    ErrorCode::LastAdminKey,
    ErrorCode::ReadOnly,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
];

const STREAM_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidFilter,
    ErrorCode::InvalidCursor,
    ErrorCode::ForeignCursor,
    ErrorCode::LostHistory,
    ErrorCode::LimitExceeded,
    ErrorCode::Unauthenticated,
    ErrorCode::Forbidden,
    ErrorCode::NotFound,
    ErrorCode::RateLimited,
    ErrorCode::Overloaded,
];

const RULE_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidRule,
    ErrorCode::InvalidFilter,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::AlreadyExists,
    ErrorCode::VersionConflict,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::ReadOnly,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
];

const DELIVERY_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
    ErrorCode::Corrupt,
];

const SCHEDULE_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidEvent,
    ErrorCode::ReservedName,
    ErrorCode::UnknownEventType,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::AlreadyExists,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
    ErrorCode::Unavailable,
    ErrorCode::ShuttingDown,
];

const SUBSCRIPTION_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidFilter,
    ErrorCode::InvalidCursor,
    ErrorCode::ForeignCursor,
    ErrorCode::LostHistory,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::AlreadyExists,
    ErrorCode::VersionConflict,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::ReadOnly,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
];

const CONSUMER_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::LimitExceeded,
    ErrorCode::NotFound,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::StoreFailed,
    ErrorCode::Corrupt,
];

/// What is wrong with a tool stands in its answer.
const MCP_CODES: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::LimitExceeded,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::Overloaded,
];

type Endpoint = (Row, UtoipaMethodRouter<AppState>);

/// Returns every endpoint of the server.
pub(crate) fn rows() -> Vec<Endpoint> {
    use Scope::{Admin, Append, Read};
    let mut rows = rows_of_rules();
    rows.extend(rows_of_subscriptions());
    rows.extend(rows_of_schedule());
    rows.extend(sessions::rows());
    rows.extend([
        (
            Row {
                time_limit: TimeLimit::Append,
                ..with(Append, APPEND_CODES)
            },
            routes!(append::append),
        ),
        (with(Append, APPEND_CODES), routes!(bulk::bulk)),
        (compressed(with(Read, LOG_CODES)), routes!(log::read)),
        (compressed(with(Read, QUERY_CODES)), routes!(log::query)),
        (compressed(with(Read, QUERY_CODES)), routes!(causes::counts)),
        (compressed(with(Read, READ_CODES)), routes!(log::event)),
        (compressed(with(Read, READ_CODES)), routes!(causes::tree)),
        (
            compressed(with(Read, READ_CODES)),
            routes!(causes::correlation),
        ),
        (with(Read, READ_CODES), routes!(aggregates::resolve)),
        (with(Read, READ_CODES), routes!(aggregates::info)),
        (
            compressed(with(Read, READ_CODES)),
            routes!(aggregates::events),
        ),
        (with(Read, STREAM_CODES), routes!(live::event_source)),
        (
            Row {
                access: Access::Handshake(Read),
                codes: STREAM_CODES,
                ..PUBLIC
            },
            routes!(live::web_socket),
        ),
        (with(Read, STREAM_CODES), routes!(live::ticket)),
        (
            Row {
                access: Access::AnyKey,
                time_limit: TimeLimit::Append,
                codes: MCP_CODES,
                compress: true,
            },
            routes!(mcp::message),
        ),
        (with(Admin, &[]), routes!(live::list)),
        (with(Admin, STREAM_CODES), routes!(live::close)),
        (with(Admin, KEY_CODES), routes!(keys::create)),
        (with(Admin, &[]), routes!(keys::list)),
        (with(Admin, REVOKE_CODES), routes!(keys::revoke)),
        (slow(with(Admin, MAINTENANCE_CODES)), routes!(admin::verify)),
        (slow(with(Admin, MAINTENANCE_CODES)), routes!(admin::backup)),
        (with(Read, &[]), routes!(health::report)),
        (compressed(with(Read, &[])), routes!(metrics::page)),
        (PUBLIC, routes!(health::alive)),
        (PUBLIC, routes!(health::ready)),
        (compressed(PUBLIC), routes!(docs::document)),
        (compressed(PUBLIC), routes!(docs::page)),
        (compressed(PUBLIC), routes!(docs::script)),
        (PUBLIC, routes!(docs::error_page)),
    ]);
    rows
}

/// Returns the endpoints of the schedule. Whoever may append now may append later.
fn rows_of_schedule() -> Vec<Endpoint> {
    let write = || with(Scope::Append, SCHEDULE_CODES);
    let read = || with(Scope::Read, SCHEDULE_CODES);
    vec![
        (write(), routes!(schedule::add)),
        (compressed(read()), routes!(schedule::list)),
        (read(), routes!(schedule::show)),
        (write(), routes!(schedule::cancel)),
    ]
}

/// Returns the endpoints of durable subscriptions. Administrators make them; whoever may read may
/// consume.
fn rows_of_subscriptions() -> Vec<Endpoint> {
    let manage = || with(Scope::Admin, SUBSCRIPTION_CODES);
    let consume = || with(Scope::Read, CONSUMER_CODES);
    vec![
        (manage(), routes!(subscriptions::create)),
        (compressed(consume()), routes!(subscriptions::list)),
        (consume(), routes!(subscriptions::get)),
        (manage(), routes!(subscriptions::change)),
        (manage(), routes!(subscriptions::delete)),
        (manage(), routes!(subscriptions::pause)),
        (manage(), routes!(subscriptions::resume)),
        (manage(), routes!(subscriptions::reset)),
        (compressed(consume()), routes!(consumers::fetch)),
        (consume(), routes!(consumers::ack)),
        (consume(), routes!(consumers::nack)),
        (consume(), routes!(consumers::extend)),
        (consume(), routes!(consumers::release)),
        (compressed(consume()), routes!(consumers::parked)),
        (
            with(Scope::Admin, CONSUMER_CODES),
            routes!(consumers::redrive),
        ),
        (
            with(Scope::Admin, CONSUMER_CODES),
            routes!(consumers::discard),
        ),
    ]
}

/// Returns the endpoints of rules and of what they send. Definitions name internal addresses and
/// answers may hold anything, so all of it is for administrators.
fn rows_of_rules() -> Vec<Endpoint> {
    let rule = || with(Scope::Admin, RULE_CODES);
    let delivery = || with(Scope::Admin, DELIVERY_CODES);
    vec![
        (compressed(rule()), routes!(rules::list)),
        (rule(), routes!(rules::create)),
        (rule(), routes!(rules::test)),
        (rule(), routes!(rules::show)),
        (rule(), routes!(rules::replace)),
        (rule(), routes!(rules::delete)),
        (rule(), routes!(rules::enable)),
        (rule(), routes!(rules::disable)),
        (rule(), routes!(rules::test_one)),
        (compressed(delivery()), routes!(deliveries::list)),
        (delivery(), routes!(deliveries::targets)),
        (delivery(), routes!(deliveries::show)),
        (compressed(delivery()), routes!(dead_letters::list)),
        (compressed(delivery()), routes!(dead_letters::groups)),
        (delivery(), routes!(dead_letters::show)),
        (delivery(), routes!(dead_letters::retry)),
        (delivery(), routes!(dead_letters::fail)),
        (delivery(), routes!(dead_letters::purge)),
    ]
}

/// Returns the method and the path of an endpoint.
fn name_of(endpoint: &UtoipaMethodRouter<AppState>) -> (String, String) {
    let (path, item) = endpoint.1.paths.iter().next().map_or_else(
        || (String::new(), Vec::new()),
        |(path, item)| (path.clone(), openapi::methods(item)),
    );
    (item.join(","), path)
}

/// Returns the counters of every endpoint, and at the end those of what is no endpoint.
pub(crate) fn counters() -> Vec<RouteMetrics> {
    let mut counters: Vec<RouteMetrics> = rows()
        .iter()
        .map(|(_, endpoint)| {
            let (method, path) = name_of(endpoint);
            RouteMetrics::new(&method, &path)
        })
        .collect();
    counters.push(RouteMetrics::new("any", "unmatched"));
    counters
}

/// Makes the OpenAPI document.
pub(crate) fn document() -> OpenApi {
    let mut document = openapi::frame();
    for (row, endpoint) in rows() {
        let (path, operation) = (endpoint.1, row);
        let (_, mut part) = OpenApiRouter::<AppState>::with_openapi(openapi::empty())
            .routes((endpoint.0, path, endpoint.2))
            .split_for_parts();
        openapi::complete(&mut part, &operation);
        document.merge(part);
    }
    document
}

impl Row {
    fn door(&self, state: &AppState, index: usize) -> Door {
        Door {
            state: state.clone(),
            access: self.access,
            time_limit: self.time_limit,
            index,
        }
    }
}

/// Makes the door of an endpoint, if there is such an endpoint.
pub(crate) fn door(state: &AppState, method: &Method, path: &str) -> Option<Door> {
    let endpoints = rows();
    let mut numbered = endpoints.iter().enumerate();
    numbered.find_map(|(index, (row, endpoint))| {
        let (its_method, its_path) = name_of(endpoint);
        let meant = its_path == path && its_method.eq_ignore_ascii_case(method.as_str());
        meant.then(|| row.door(state, index))
    })
}

/// Makes the router.
pub(crate) fn router(state: &AppState) -> Router {
    let door = |row: &Row, index| from_fn_with_state(Arc::new(row.door(state, index)), pass);
    let endpoints = rows();
    let unmatched_index = endpoints.len();
    let mut router = Router::new();
    for (index, (row, endpoint)) in endpoints.into_iter().enumerate() {
        let (_, path) = name_of(&endpoint);
        let compress = row.compress && state.options.compression;
        let endpoint = endpoint.map(|methods| {
            let methods = if compress {
                methods.route_layer(CompressionLayer::new())
            } else {
                methods
            };
            methods.route_layer(door(&row, index))
        });
        router = router.route(&path, endpoint.2);
    }
    // What is no endpoint goes through a door too: it has an id, headers and a place in the log.
    let stranger = || door(&PUBLIC, unmatched_index);
    router
        .method_not_allowed_fallback(unmatched::method_not_allowed.layer(stranger()))
        .fallback(unmatched::not_found.layer(stranger()))
        .with_state(state.clone())
}

mod sessions;
#[cfg(test)]
mod tests;
