//! The OpenAPI document: its frame, and what every endpoint has in common.

use std::collections::BTreeMap;

use factum_api::{Problem, status_of};
use factum_engine::Scope;
use factum_model::ErrorCode;
use serde_json::Value;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::info::{ContactBuilder, InfoBuilder, LicenseBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, OpenApi, OpenApiBuilder, Ref, RefOr};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::table::{Access, Row};

const KEY: &str = "key";

/// Every endpoint may answer so.
const COMMON: &[ErrorCode] = &[
    ErrorCode::Timeout,
    ErrorCode::Internal,
    ErrorCode::ShuttingDown,
];

/// Returns a document without anything, to collect one endpoint.
pub(crate) fn empty() -> OpenApi {
    OpenApi::default()
}

/// Returns the document without endpoints.
pub(crate) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Factum")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The event engine. Every failure is a problem document (RFC 9457) with a stable code.",
        ))
        .contact(Some(ContactBuilder::new().name(Some("Factum")).build()))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("fct_<id>_<secret>")
        .description(Some("An API key with the scope that the endpoint states."))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme(KEY, SecurityScheme::Http(scheme))
        .schema(Problem::name(), Problem::schema())
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

/// Returns a document as JSON.
///
/// # Errors
/// When it cannot be written, which a test rules out.
pub(crate) fn render(document: &OpenApi) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(document)?;
    widen(&mut document);
    Ok(document)
}

/// Says of numbers that are kept in 32 bits without a sign how large they may be: the document has
/// them with a sign otherwise, so half of what is taken would be against it.
fn widen(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(widen),
        Value::Object(members) => {
            members.values_mut().for_each(widen);
            let is_unsigned = members
                .get("format")
                .is_some_and(|format| format == "int32")
                && members
                    .get("minimum")
                    .is_some_and(|least| least.as_i64() >= Some(0));
            if is_unsigned {
                members.insert("format".to_owned(), "int64".into());
                members.entry("maximum").or_insert_with(|| u32::MAX.into());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the methods that a path has, in capitals.
pub(crate) fn methods(item: &PathItem) -> Vec<String> {
    operations(item)
        .map(|(method, _)| method.to_owned())
        .collect()
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    [
        ("GET", &item.get),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("DELETE", &item.delete),
        ("PATCH", &item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_ref().map(|operation| (method, operation)))
}

/// Adds to the endpoints of a part what their row says: who may call them and how they fail.
pub(crate) fn complete(part: &mut OpenApi, row: &Row) {
    for item in part.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation, row);
        }
    }
}

fn complete_operation(operation: &mut Operation, row: &Row) {
    let mut codes: Vec<ErrorCode> = COMMON.iter().chain(row.codes).copied().collect();
    match row.access {
        Access::Public => operation.security = Some(Vec::new()),
        Access::AnyKey => {
            codes.extend([ErrorCode::Unauthenticated, ErrorCode::Forbidden]);
            let any = Scope::ALL.map(|scope| SecurityRequirement::new(KEY, [scope.as_str()]));
            operation.security = Some(any.to_vec());
        }
        Access::Scope(scope) | Access::Handshake(scope) => {
            codes.extend([ErrorCode::Unauthenticated, ErrorCode::Forbidden]);
            let needed = SecurityRequirement::new(KEY, [scope.as_str()]);
            operation.security = Some(match row.access {
                Access::Handshake(_) => vec![needed, SecurityRequirement::default()],
                Access::Public | Access::AnyKey | Access::Scope(_) => vec![needed],
            });
        }
    }
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        let names = by_status.entry(status_of(code)).or_default();
        if !names.contains(&code.as_str()) {
            names.push(code.as_str());
        }
    }
    for (status, names) in by_status {
        let response = problem(&names.join(", "), status);
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert(response);
    }
}

fn problem(description: &str, status: u16) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Problem::name())))
        .build();
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content);
    if matches!(status, 401) {
        response = response.header("WWW-Authenticate", text_header("Bearer"));
    }
    RefOr::T(response.build())
}

fn text_header(description: &str) -> utoipa::openapi::Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new()
        .schema(Some(text))
        .description(Some(description))
        .build()
}
