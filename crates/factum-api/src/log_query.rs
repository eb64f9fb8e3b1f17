//! What a read of the log or of a stream asks for: as a query string, or as a body.

use std::str::FromStr;

use bytes::Bytes;
use factum_model::{ErrorCode, SequenceNumber};
use factum_query::{Filter, FilterLimits, parse_text_form};

use crate::envelope::{after, utf8};
use crate::fields::{Fields, Shape};
use crate::filter::{event_id, read_filter};
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::nearest::nearest;

/// How many events a page has where the client does not say.
pub const LIMIT_DEFAULT: usize = 100;
/// How many events a page may have.
pub const LIMIT_MAX: usize = 1000;

/// Which way a read walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadDirection {
    /// From the oldest to the newest.
    #[default]
    Forwards,
    /// From the newest to the oldest.
    Backwards,
}

impl FromStr for ReadDirection {
    type Err = InputFault;

    fn from_str(text: &str) -> Result<Self, InputFault> {
        match text {
            "forwards" => Ok(Self::Forwards),
            "backwards" => Ok(Self::Backwards),
            other => Err(InputFault::Value {
                expected: "\"forwards\" or \"backwards\"",
                found: excerpt(other),
            }),
        }
    }
}

/// A read of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Which events.
    pub filter: Filter,
    /// Which way.
    pub direction: ReadDirection,
    /// A cursor or the number of a position.
    pub after: Option<String>,
    /// The largest number of events; `None` where the client does not say.
    pub limit: Option<usize>,
}

/// A read of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamQuery {
    /// The smallest sequence number, inclusive.
    pub from: Option<SequenceNumber>,
    /// The largest sequence number, inclusive.
    pub to: Option<SequenceNumber>,
    /// Which way.
    pub direction: ReadDirection,
    /// The largest number of events; `None` where the client does not say.
    pub limit: Option<usize>,
}

const LOG_NAMES: [&str; 16] = [
    "q",
    "types",
    "aggregateTypes",
    "aggregateIds",
    "ids",
    "tags",
    "correlationId",
    "causationId",
    "userId",
    "from",
    "to",
    "recordedFrom",
    "recordedTo",
    "after",
    "limit",
    "direction",
];

const STREAM_NAMES: [&str; 4] = ["from", "to", "limit", "direction"];

static QUERY: Shape<4> = Shape {
    of: "a query",
    code: ErrorCode::InvalidRequest,
    names: ["filter", "direction", "after", "limit"],
};

/// Reads the query string of a read of the log.
///
/// # Errors
/// [`InputError`] with the name of the parameter.
pub fn parse_log_query(query: &str, limits: &FilterLimits) -> Result<LogQuery, InputError> {
    let mut read = LogQuery::default();
    each_parameter(query, &LOG_NAMES, |name, text| {
        let filter = &mut read.filter;
        match name {
            "q" => filter.all_of = vec![parse_text_form(text, limits)?],
            "types" => filter.event_types = list(text, |part| Ok(part.parse()?))?,
            "aggregateTypes" => filter.aggregate_types = list(text, |part| Ok(part.parse()?))?,
            "aggregateIds" => filter.aggregate_ids = list(text, |part| Ok(part.parse()?))?,
            "ids" => filter.ids = list(text, event_id)?,
            "tags" => filter.tags = list(text, |part| Ok(part.to_owned()))?,
            "correlationId" => filter.correlation_id = Some(text.parse()?),
            "causationId" => filter.causation_id = Some(event_id(text)?),
            "userId" => filter.user_id = Some(text.to_owned()),
            "from" => filter.timestamp.from = Some(timestamp(text)?),
            "to" => filter.timestamp.to = Some(timestamp(text)?),
            "recordedFrom" => filter.recorded_at.from = Some(timestamp(text)?),
            "recordedTo" => filter.recorded_at.to = Some(timestamp(text)?),
            "after" => read.after = Some(text.to_owned()),
            "limit" => read.limit = Some(limit(text)?),
            _ => read.direction = text.parse()?,
        }
        Ok(())
    })?;
    read.filter.check(*limits).map_err(|error| {
        let code = ErrorCode::InvalidFilter;
        InputError::of_body(code, error.into())
    })?;
    Ok(read)
}

/// Reads the query string of a read of one stream.
///
/// # Errors
/// [`InputError`] with the name of the parameter.
pub fn parse_stream_query(query: &str) -> Result<StreamQuery, InputError> {
    let mut read = StreamQuery::default();
    each_parameter(query, &STREAM_NAMES, |name, text| {
        match name {
            "from" => read.from = Some(sequence_number(text)?),
            "to" => read.to = Some(sequence_number(text)?),
            "limit" => read.limit = Some(limit(text)?),
            _ => read.direction = text.parse()?,
        }
        Ok(())
    })?;
    Ok(read)
}

/// Reads the query string of a read of a tree: the largest number of events, if it says.
///
/// # Errors
/// [`InputError`] with the parameter that is wrong.
pub fn parse_tree_query(query: &str) -> Result<usize, InputError> {
    let mut limit_given = LIMIT_MAX;
    each_parameter(query, &["limit"], |_, text| {
        limit_given = limit(text)?;
        Ok(())
    })?;
    Ok(limit_given)
}

/// Reads the query string of a list of parked events: after which position, and how many.
///
/// # Errors
/// [`InputError`] with the name of the parameter.
pub fn parse_parked_query(query: &str) -> Result<(Option<u64>, usize), InputError> {
    let (mut after, mut limit_given) = (None, LIMIT_DEFAULT);
    each_parameter(query, &["after", "limit"], |name, text| {
        match name {
            "after" => {
                let number = text.parse().map_err(|_| InputFault::Value {
                    expected: "the number of a position",
                    found: excerpt(text),
                })?;
                after = Some(number);
            }
            _ => limit_given = limit(text)?,
        }
        Ok(())
    })?;
    Ok((after, limit_given))
}

/// Reads the body of a query.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_query_body(body: &Bytes, limits: &FilterLimits) -> Result<LogQuery, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &QUERY, &path)?;
    let filter = fields
        .get("filter")
        .map(|field| read_filter(field.text, &path.key("filter"), limits))
        .transpose()?;
    let limit = fields.get("limit").map(|field| {
        let number = field.integer("an integer of 1 to 1000")?;
        check_limit(usize::try_from(number).unwrap_or(usize::MAX))
            .map_err(|fault| field.error(fault))
    });
    Ok(LogQuery {
        filter: filter.unwrap_or_default(),
        direction: fields
            .get("direction")
            .map(|field| field.parse(str::parse))
            .transpose()?
            .unwrap_or_default(),
        after: fields.get("after").map(after).transpose()?,
        limit: limit.transpose()?,
    })
}

fn each_parameter(
    query: &str,
    names: &[&'static str],
    mut read: impl FnMut(&str, &str) -> Result<(), InputFault>,
) -> Result<(), InputError> {
    let mut seen = 0_u64;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(index) = names.iter().position(|known| *known == name) else {
            let fault = InputFault::UnknownField {
                field: excerpt(&name),
                of: "the query string",
                nearest: nearest(&name, names),
            };
            return Err(InputError::of_parameter(&name, fault));
        };
        let fault = check_text(query, &value).and_then(|()| {
            let field = names.get(index).copied().unwrap_or_default();
            if seen & (1 << index) != 0 {
                return Err(InputFault::DuplicateField { field });
            }
            seen |= 1 << index;
            read(field, &value)
        });
        fault.map_err(|fault| InputError::of_parameter(&name, fault))?;
    }
    Ok(())
}

/// Refuses what was no UTF-8 before it was decoded: decoding puts the replacement character in
/// its place, which a client may also have written itself.
fn check_text(query: &str, value: &str) -> Result<(), InputFault> {
    match value.find(char::REPLACEMENT_CHARACTER) {
        Some(at) if !query.to_ascii_uppercase().contains("%EF%BF%BD") => {
            Err(InputFault::NotUtf8 { at })
        }
        Some(_) | None => Ok(()),
    }
}

fn list<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, InputFault>,
) -> Result<Vec<T>, InputFault> {
    let list: Vec<T> = text.split(',').map(parse).collect::<Result<_, _>>()?;
    Ok(list)
}

fn timestamp(text: &str) -> Result<factum_model::Timestamp, InputFault> {
    text.parse().map_err(|_| InputFault::Value {
        expected: "an RFC 3339 date and time with a zone, such as 2026-03-01T09:30:00Z",
        found: excerpt(text),
    })
}

fn sequence_number(text: &str) -> Result<SequenceNumber, InputFault> {
    let number = digits(text).and_then(SequenceNumber::new);
    number.ok_or_else(|| InputFault::Value {
        expected: "a sequence number, which is an integer of at least 1",
        found: excerpt(text),
    })
}

fn limit(text: &str) -> Result<usize, InputFault> {
    let number = digits(text).ok_or_else(|| InputFault::Value {
        expected: "an integer of 1 to 1000",
        found: excerpt(text),
    })?;
    check_limit(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Checks how many events a page shall have.
pub(crate) fn check_limit(actual: usize) -> Result<usize, InputFault> {
    match actual {
        0 => Err(InputFault::Value {
            expected: "an integer of 1 to 1000",
            found: "0".to_owned(),
        }),
        1..=LIMIT_MAX => Ok(actual),
        _ => Err(InputFault::Value {
            expected: "an integer of 1 to 1000",
            found: actual.to_string(),
        }),
    }
}

/// Reads a number that has digits only: no sign, no space.
fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Place;

    fn check(query: &str, parameter: &str, message: &str) {
        let error = parse_log_query(query, &FilterLimits::default()).unwrap_err();
        assert_eq!(error.place, Place::Parameter(parameter.to_owned()));
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn a_query_string_reads_as_it_is_meant() {
        let query = "types=form.*,a.b&tags=x%2Cy&userId=%C3%A4&from=2026-01-01T00%3A00%3A00Z\
            &after=12&limit=7&direction=backwards";
        let read = parse_log_query(query, &FilterLimits::default()).unwrap();
        assert_eq!(read.filter.event_types.len(), 2);
        assert_eq!(read.filter.tags, ["x", "y"]);
        assert_eq!(read.filter.user_id.as_deref(), Some("ä"));
        assert_eq!((read.after.as_deref(), read.limit), (Some("12"), Some(7)));
        assert_eq!(read.direction, ReadDirection::Backwards);
        let none = parse_log_query("", &FilterLimits::default()).unwrap();
        assert_eq!(none, LogQuery::default());
    }

    #[test]
    fn faults_name_the_parameter() {
        check(
            "type=a",
            "type",
            "unknown field \"type\" of the query string, did you mean \"types\"?",
        );
        check("limit=1&limit=2", "limit", "field \"limit\" stands twice");
        check("limit=0", "limit", "0 is not an integer of 1 to 1000");
        check("limit=1001", "limit", "1001 is not an integer of 1 to 1000");
        check("limit=+5", "limit", " 5 is not an integer of 1 to 1000");
        check(
            "direction=up",
            "direction",
            "up is not \"forwards\" or \"backwards\"",
        );
        check(
            "userId=%ff",
            "userId",
            "the text is not UTF-8: byte 0 is wrong",
        );
        check(
            "types=",
            "types",
            "\"\" is not an event type or pattern: a pattern has 1 to 100 characters",
        );
    }

    #[test]
    fn a_stream_is_read_by_sequence_numbers() {
        let read = parse_stream_query("from=2&to=9&limit=3").unwrap();
        assert_eq!(read.from, SequenceNumber::new(2));
        assert!(parse_stream_query("from=0").is_err());
        assert!(parse_stream_query("after=0").is_err());
    }

    #[test]
    fn a_body_may_leave_everything_out() {
        let limits = FilterLimits::default();
        assert_eq!(
            parse_query_body(&"{}".into(), &limits),
            Ok(LogQuery::default())
        );
        let read = parse_query_body(&Bytes::from(r#"{"after":5,"limit":1000}"#), &limits).unwrap();
        assert_eq!((read.after.as_deref(), read.limit), (Some("5"), Some(1000)));
        assert!(parse_query_body(&Bytes::from(r#"{"limit":1001}"#), &limits).is_err());
        assert!(parse_query_body(&Bytes::from(r#"{"limit":-1}"#), &limits).is_err());
    }
}
