//! A query with all that belongs to it: which events, in which order, how many.

use std::str::FromStr;

use bytes::Bytes;
use factum_model::ErrorCode;
use factum_query::{Filter, FilterLimits};

use crate::envelope::{after, utf8};
use crate::fields::{Field, Fields, Shape};
use crate::filter::{read_conditions, read_filter};
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::log_query::{ReadDirection, check_limit};

/// Names of a filter, then those of a query. `filter`, `direction` and `after` are older names,
/// which are taken as well.
static QUERY: Shape<26> = Shape {
    of: "a query",
    code: ErrorCode::InvalidRequest,
    names: [
        "eventTypes",
        "aggregateTypes",
        "aggregateIds",
        "streams",
        "ids",
        "tags",
        "correlationId",
        "causationId",
        "userId",
        "timestampRange",
        "recordedRange",
        "sequenceRange",
        "payloadQuery",
        "metadataQuery",
        "text",
        "anyOf",
        "allOf",
        "not",
        "sort",
        "limit",
        "cursor",
        "totalCount",
        "explain",
        "filter",
        "direction",
        "after",
    ],
};

/// A query of events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventQuery {
    /// Which events.
    pub filter: Filter,
    /// Which way; from the oldest to the newest where the client does not say.
    pub direction: ReadDirection,
    /// The cursor of the page before, or the number of a position, exclusive.
    pub after: Option<String>,
    /// The largest number of events on the page; `None` where the client does not say.
    pub limit: Option<usize>,
    /// The answer says how many events match in all.
    pub total_count: bool,
    /// The answer says how it was found.
    pub explain: bool,
}

/// Reads the body of a query.
///
/// The names of a filter stand in it beside `sort` (`asc` or `desc`), `limit`, `cursor`,
/// `totalCount` and `explain`. A `filter` of its own must hold too, `direction` and `after` may
/// stand in the place of `sort` and `cursor`.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_event_query(body: &Bytes, limits: &FilterLimits) -> Result<EventQuery, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &QUERY, &path)?;
    let mut filter = read_conditions(&fields, limits)?;
    if let Some(inner) = fields.get("filter") {
        let inner = read_filter(inner.text, &path.key("filter"), limits)?;
        if filter.is_empty() {
            filter = inner;
        } else if !inner.is_empty() {
            filter.all_of.push(inner);
        }
    }
    filter
        .check(*limits)
        .map_err(|error| path.error(ErrorCode::InvalidFilter, error.into()))?;
    let sort = one_of(fields.get("sort"), fields.get("direction"))?;
    let direction = sort.map(|field| match field.name {
        "sort" => field
            .parse(|text| text.parse::<Sort>())
            .map(|Sort(direction)| direction),
        _ => field.parse(str::parse),
    });
    let cursor = one_of(fields.get("cursor"), fields.get("after"))?;
    let limit = fields.get("limit").map(|field| {
        let number = field.integer("an integer of 1 to 1000")?;
        check_limit(usize::try_from(number).unwrap_or(usize::MAX))
            .map_err(|fault| field.error(fault))
    });
    Ok(EventQuery {
        filter,
        direction: direction.transpose()?.unwrap_or_default(),
        after: cursor.map(after).transpose()?,
        limit: limit.transpose()?,
        total_count: flag(fields.get("totalCount"))?,
        explain: flag(fields.get("explain"))?,
    })
}

/// The order of a page, by position.
struct Sort(ReadDirection);

impl FromStr for Sort {
    type Err = InputFault;

    fn from_str(text: &str) -> Result<Self, InputFault> {
        match text {
            "asc" => Ok(Self(ReadDirection::Forwards)),
            "desc" => Ok(Self(ReadDirection::Backwards)),
            other => Err(InputFault::Value {
                expected: "\"asc\" or \"desc\"",
                found: excerpt(other),
            }),
        }
    }
}

fn one_of<'a, 'p>(
    name: Option<Field<'a, 'p>>,
    older: Option<Field<'a, 'p>>,
) -> Result<Option<Field<'a, 'p>>, InputError> {
    if let (Some(name), Some(older)) = (name, older) {
        return Err(older.error(InputFault::DuplicateField { field: name.name }));
    }
    Ok(name.or(older))
}

fn flag(field: Option<Field<'_, '_>>) -> Result<bool, InputError> {
    match field.map(|field| (field.text, field)) {
        None | Some(("false", _)) => Ok(false),
        Some(("true", _)) => Ok(true),
        Some((_, field)) => Err(field.not("true or false")),
    }
}

#[cfg(test)]
mod tests {
    use factum_query::TextQuery;

    use super::*;

    fn check(text: &str, pointer: &str, message: &str) {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let error = parse_event_query(&body, &FilterLimits::default()).unwrap_err();
        assert_eq!(
            error.place,
            crate::input::Place::Pointer(pointer.to_owned()),
            "{text}"
        );
        assert_eq!(error.to_string(), message, "{text}");
    }

    fn read(text: &str) -> EventQuery {
        let body = Bytes::copy_from_slice(text.as_bytes());
        parse_event_query(&body, &FilterLimits::default()).unwrap()
    }

    #[test]
    fn a_query_reads_as_it_is_meant() {
        let query = read(
            r#"{"eventTypes":["submission.*"],"payloadQuery":[{"path":"$.country","operator":"equals",
            "value":"DE"},{"path":"$.amount","operator":"gt","value":10000}],"text":"credit check",
            "sort":"desc","limit":7,"cursor":"abc","totalCount":true,"explain":false}"#,
        );
        assert_eq!(query.direction, ReadDirection::Backwards);
        assert_eq!(
            (query.limit, query.after.as_deref()),
            (Some(7), Some("abc"))
        );
        assert!(query.total_count && !query.explain);
        assert_eq!(query.filter.text, TextQuery::words("credit check").ok());
        assert!(query.filter.payload.is_some());
        assert_eq!(read("{}"), EventQuery::default());
    }

    #[test]
    fn the_older_names_are_taken() {
        let older = r#"{"filter":{"tags":["x"]},"direction":"backwards","after":7}"#;
        assert_eq!(
            read(older),
            read(r#"{"tags":["x"],"sort":"desc","cursor":7}"#)
        );
        let both = read(r#"{"filter":{"tags":["x"]},"tags":["y"]}"#);
        assert_eq!(both.filter.all_of.len(), 1);
    }

    #[test]
    fn faults_name_place_and_rule() {
        check(r#"{"sort":"up"}"#, "/sort", "up is not \"asc\" or \"desc\"");
        check(
            r#"{"limit":0}"#,
            "/limit",
            "0 is not an integer of 1 to 1000",
        );
        check(
            r#"{"sort":"asc","direction":"forwards"}"#,
            "/direction",
            "field \"sort\" stands twice",
        );
        check(
            r#"{"totalCount":1}"#,
            "/totalCount",
            "1 is not true or false",
        );
        check(
            r#"{"payload":{}}"#,
            "/payload",
            "unknown field \"payload\" of a query",
        );
    }

    /// The examples of docs/query.md, by what they are.
    fn examples(kind: &str) -> Vec<&'static str> {
        let page = include_str!("../../../docs/query.md");
        let fenced = page.split("```").skip(1).step_by(2);
        let own = fenced.filter_map(|block| block.strip_prefix(kind));
        own.map(|block| block.trim_start_matches(' ')).collect()
    }

    #[test]
    fn the_examples_of_the_documentation_are_queries() {
        let limits = FilterLimits::default();
        let bodies = examples("json query");
        assert_eq!(bodies.len(), 3);
        let queries: Vec<_> = bodies.iter().map(|body| read(body)).collect();
        let lines: Vec<_> = examples("text filter")
            .iter()
            .flat_map(|block| block.lines())
            .collect();
        let filters = lines.iter().filter(|line| !line.is_empty()).map(|line| {
            factum_query::parse_text_form(line, &limits)
                .unwrap_or_else(|error| panic!("{error}\n{}", error.draw(line)))
        });
        let filters: Vec<Filter> = filters.collect();
        assert_eq!(filters.len(), 7);
        // The page says that these two are the same.
        assert_eq!(filters[0], queries[2].filter);
        assert!(filters.iter().all(|filter| !filter.is_empty()));
    }

    #[test]
    fn the_limits_of_the_documentation_are_the_limits() {
        let page = include_str!("../../../docs/query.md");
        let FilterLimits {
            values_max,
            depth_max,
            path_bytes_max,
            path_parts_max,
            path_filters_max,
            regexes_max,
            regex_bytes_max,
            regex_compiled_bytes_max,
            needle_bytes_max,
        } = FilterLimits::default();
        let kib = regex_compiled_bytes_max >> 10;
        for said in [
            format!("every word counts | {values_max} |"),
            format!("lists in `payloadQuery` | {depth_max} |"),
            format!("| {path_bytes_max} bytes, {path_parts_max} segments"),
            format!("(`?`) | {path_filters_max} |"),
            format!("| {regexes_max}, each of {regex_bytes_max} bytes and {kib} KiB compiled |"),
            format!("words together | {needle_bytes_max} bytes |"),
            format!(
                "| {} bytes, 16 levels of parentheses |",
                factum_query::TEXT_FORM_BYTES_MAX
            ),
        ] {
            assert!(page.contains(&said), "{said}");
        }
        assert_eq!(factum_query::PATH_STEPS_MAX, 200_000);
    }
}
