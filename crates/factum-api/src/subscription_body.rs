//! What clients ask of durable subscriptions, read with exact errors.

use bytes::Bytes;
use factum_model::{ErrorCode, Timestamp};
use factum_query::{Filter, FilterLimits};

use crate::envelope::utf8;
use crate::fields::{Field, Fields, Shape};
use crate::filter::read_filter;
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::subscription_schema::{NackActionDto, OrderDto};

/// Where a pass over the log begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartInput {
    /// Before the first event.
    Beginning,
    /// After the last event of this moment.
    #[default]
    End,
    /// After a cursor or the number of a position.
    After(String),
    /// Before the first event that was recorded at this instant or later.
    Since(Timestamp),
}

/// What a client says of the settings; what it leaves out is as it is by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SettingsInput {
    /// What retries mean to the events behind them.
    pub order: Option<OrderDto>,
    /// How long a consumer may have an event, in milliseconds.
    pub ack_deadline_ms: Option<u64>,
    /// After how many failed attempts an event is parked; 0 for never.
    pub attempts_max: Option<u64>,
    /// How many events may be ready or out at once.
    pub in_flight_max: Option<u64>,
    /// How many events may wait for their retry.
    pub retries_max: Option<u64>,
    /// How many events may be parked.
    pub parked_max: Option<u64>,
    /// The wait after the first attempt, in milliseconds.
    pub retry_first_ms: Option<u64>,
    /// What each wait is multiplied with for the next.
    pub retry_factor: Option<u64>,
    /// The longest wait, in milliseconds.
    pub retry_max_ms: Option<u64>,
}

/// A subscription that is to be made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionInput {
    /// Which events.
    pub filter: Filter,
    /// How they are handed out.
    pub settings: SettingsInput,
}

/// A request for events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchInput {
    /// Who asks; consumers of one key with one name are one consumer.
    pub consumer: String,
    /// The most events to hand out.
    pub limit: usize,
    /// How long to wait for the first one, in milliseconds.
    pub wait_ms: u64,
}

/// What is to become of events that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NackInput {
    /// Which handouts.
    pub tokens: Vec<String>,
    /// What is to become of them.
    pub action: NackActionDto,
    /// When to try again, in milliseconds; for `retry` only.
    pub delay_ms: Option<u64>,
    /// What went wrong.
    pub cause: String,
}

/// The longest list of tokens or positions in one request.
pub const TOKENS_MAX: usize = 1000;
/// The longest text that says what went wrong, in bytes.
const CAUSE_BYTES_MAX: usize = 1000;
/// The longest name of a consumer, in bytes.
const CONSUMER_BYTES_MAX: usize = 100;

static NEW: Shape<12> = Shape {
    of: "a subscription",
    code: ErrorCode::InvalidRequest,
    names: [
        "name",
        "filter",
        "start",
        "after",
        "since",
        "order",
        "ackDeadlineMs",
        "attemptsMax",
        "inFlightMax",
        "retriesMax",
        "parkedMax",
        "retry",
    ],
};
static CHANGE: Shape<8> = Shape {
    of: "a definition",
    code: ErrorCode::InvalidRequest,
    names: [
        "filter",
        "order",
        "ackDeadlineMs",
        "attemptsMax",
        "inFlightMax",
        "retriesMax",
        "parkedMax",
        "retry",
    ],
};
static RETRY: Shape<3> = Shape {
    of: "retry",
    code: ErrorCode::InvalidRequest,
    names: ["firstMs", "factor", "maxMs"],
};
static RESET: Shape<3> = Shape {
    of: "a reset",
    code: ErrorCode::InvalidRequest,
    names: ["start", "after", "since"],
};
static FETCH: Shape<3> = Shape {
    of: "a fetch",
    code: ErrorCode::InvalidRequest,
    names: ["consumer", "limit", "waitMs"],
};
static ACK: Shape<1> = Shape {
    of: "an ack",
    code: ErrorCode::InvalidRequest,
    names: ["tokens"],
};
static NACK: Shape<4> = Shape {
    of: "a nack",
    code: ErrorCode::InvalidRequest,
    names: ["tokens", "action", "delayMs", "cause"],
};
static EXTEND: Shape<2> = Shape {
    of: "an extension",
    code: ErrorCode::InvalidRequest,
    names: ["tokens", "extendMs"],
};
static RELEASE: Shape<1> = Shape {
    of: "a release",
    code: ErrorCode::InvalidRequest,
    names: ["consumer"],
};
static PARKED: Shape<2> = Shape {
    of: "a choice of parked events",
    code: ErrorCode::InvalidRequest,
    names: ["positions", "all"],
};

/// Reads the body of a request for a subscription: its name, what it is, and where it begins.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_new_subscription(
    body: &Bytes,
    limits: &FilterLimits,
) -> Result<(String, SubscriptionInput, StartInput), InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &NEW, &path)?;
    let name = fields.require("name")?.string()?.into_owned();
    let input = subscription(&fields, &path, limits)?;
    Ok((name, input, start(&fields)?))
}

/// Reads the body of a change of a subscription.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_subscription(
    body: &Bytes,
    limits: &FilterLimits,
) -> Result<SubscriptionInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &CHANGE, &path)?;
    subscription(&fields, &path, limits)
}

fn subscription<const N: usize>(
    fields: &Fields<'_, '_, N>,
    path: &Path<'_>,
    limits: &FilterLimits,
) -> Result<SubscriptionInput, InputError> {
    let filter = fields
        .get("filter")
        .map(|field| read_filter(field.text, &path.key("filter"), limits))
        .transpose()?;
    let number = |name| fields.get(name).map(|field| whole(&field)).transpose();
    let mut settings = SettingsInput {
        order: fields
            .get("order")
            .map(|field| field.parse(order))
            .transpose()?,
        ack_deadline_ms: number("ackDeadlineMs")?,
        attempts_max: number("attemptsMax")?,
        in_flight_max: number("inFlightMax")?,
        retries_max: number("retriesMax")?,
        parked_max: number("parkedMax")?,
        ..SettingsInput::default()
    };
    if let Some(retry) = fields.get("retry") {
        let path = path.key("retry");
        let retry = Fields::read(retry.text, &RETRY, &path)?;
        let number = |name| retry.get(name).map(|field| whole(&field)).transpose();
        settings.retry_first_ms = number("firstMs")?;
        settings.retry_factor = number("factor")?;
        settings.retry_max_ms = number("maxMs")?;
    }
    Ok(SubscriptionInput {
        filter: filter.unwrap_or_default(),
        settings,
    })
}

fn whole(field: &Field<'_, '_>) -> Result<u64, InputError> {
    field.integer("a whole number of 0 or more")
}

fn order(name: &str) -> Result<OrderDto, InputFault> {
    match name {
        "strict" => Ok(OrderDto::Strict),
        "relaxed" => Ok(OrderDto::Relaxed),
        other => Err(InputFault::Value {
            expected: "\"strict\" or \"relaxed\"",
            found: excerpt(other),
        }),
    }
}

fn start<const N: usize>(fields: &Fields<'_, '_, N>) -> Result<StartInput, InputError> {
    let (named, after, since) = (
        fields.get("start"),
        fields.get("after"),
        fields.get("since"),
    );
    match (named, after, since) {
        (None, None, None) => Ok(StartInput::End),
        (Some(field), None, None) => field.parse(|name| match name {
            "beginning" => Ok(StartInput::Beginning),
            "end" => Ok(StartInput::End),
            other => Err(InputFault::Value {
                expected: "\"beginning\" or \"end\"",
                found: excerpt(other),
            }),
        }),
        (None, Some(field), None) => {
            let text = if field.text.starts_with('"') {
                field.string()?.into_owned()
            } else {
                field
                    .integer("a cursor, or the number of a position")?
                    .to_string()
            };
            Ok(StartInput::After(text))
        }
        (None, None, Some(field)) => Ok(StartInput::Since(field.timestamp()?)),
        (_, Some(field), _) | (_, None, Some(field)) => {
            Err(field.not("the only one of start, after and since"))
        }
    }
}

/// Reads the body of a reset: where the next pass begins.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_reset(body: &Bytes) -> Result<StartInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &RESET, &path)?;
    let is_given = ["start", "after", "since"]
        .iter()
        .any(|name| fields.get(name).is_some());
    if !is_given {
        return Err(fields.missing("start"));
    }
    start(&fields)
}

/// Reads the body of a request for events. `{}` asks for up to 100 at once.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_fetch(body: &Bytes) -> Result<FetchInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &FETCH, &path)?;
    let limit = fields.get("limit").map(|field| {
        let number = field.integer("an integer of 1 to 1000")?;
        let limit = usize::try_from(number).ok();
        let limit = limit.filter(|limit| (1..=TOKENS_MAX).contains(limit));
        limit.ok_or_else(|| field.not("an integer of 1 to 1000"))
    });
    Ok(FetchInput {
        consumer: consumer(&fields)?.unwrap_or_else(|| "default".to_owned()),
        limit: limit.transpose()?.unwrap_or(100),
        wait_ms: fields
            .get("waitMs")
            .map(|field| whole(&field))
            .transpose()?
            .unwrap_or(0),
    })
}

fn consumer<const N: usize>(fields: &Fields<'_, '_, N>) -> Result<Option<String>, InputError> {
    let Some(field) = fields.get("consumer") else {
        return Ok(None);
    };
    let name = field.string()?.into_owned();
    let is_good =
        !name.is_empty() && name.len() <= CONSUMER_BYTES_MAX && !name.contains(char::is_control);
    if is_good {
        Ok(Some(name))
    } else {
        Err(field.not("a text of 1 to 100 bytes without control characters"))
    }
}

/// Reads the body of a release: the consumer that gives back what it has.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_release(body: &Bytes) -> Result<String, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &RELEASE, &path)?;
    Ok(consumer(&fields)?.unwrap_or_else(|| "default".to_owned()))
}

/// Reads the body of an ack: the tokens of what is done.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_ack(body: &Bytes) -> Result<Vec<String>, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    tokens(&Fields::read(&body, &ACK, &path)?)
}

fn tokens<const N: usize>(fields: &Fields<'_, '_, N>) -> Result<Vec<String>, InputError> {
    fields.require("tokens")?.strings(TOKENS_MAX, |token| {
        if token.len() <= 64 {
            Ok(token.to_owned())
        } else {
            Err(InputFault::Value {
                expected: "a token as it was handed out",
                found: excerpt(token),
            })
        }
    })
}

/// Reads the body of a nack.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_nack(body: &Bytes) -> Result<NackInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &NACK, &path)?;
    let action = fields
        .get("action")
        .map(|field| field.parse(action))
        .transpose()?;
    let action = action.unwrap_or(NackActionDto::Retry);
    let delay = fields.get("delayMs");
    if let Some(delay) = &delay
        && action != NackActionDto::Retry
    {
        return Err(delay.not("given with the action retry only"));
    }
    let cause = fields.get("cause").map(|field| {
        let cause = field.string()?;
        if cause.len() > CAUSE_BYTES_MAX {
            return Err(field.not("a text of at most 1000 bytes"));
        }
        Ok(cause.into_owned())
    });
    Ok(NackInput {
        tokens: tokens(&fields)?,
        action,
        delay_ms: delay.map(|field| whole(&field)).transpose()?,
        cause: cause.transpose()?.unwrap_or_default(),
    })
}

/// Reads the body of an extension: the tokens, and how much time is asked for.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_extend(body: &Bytes) -> Result<(Vec<String>, Option<u64>), InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &EXTEND, &path)?;
    let extend_ms = fields.get("extendMs").map(|field| whole(&field));
    Ok((tokens(&fields)?, extend_ms.transpose()?))
}

fn action(name: &str) -> Result<NackActionDto, InputFault> {
    match name {
        "retry" => Ok(NackActionDto::Retry),
        "park" => Ok(NackActionDto::Park),
        "skip" => Ok(NackActionDto::Skip),
        other => Err(InputFault::Value {
            expected: "\"retry\", \"park\" or \"skip\"",
            found: excerpt(other),
        }),
    }
}

/// Reads which parked events are meant: those at these positions, or, as `None`, all.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_parked_choice(body: &Bytes) -> Result<Option<Vec<u64>>, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &PARKED, &path)?;
    match (fields.get("positions"), fields.get("all")) {
        (Some(field), None) => {
            let read = |text: &str| {
                let number = serde_json::from_str::<u64>(text).ok();
                number.filter(|number| *number > 0)
            };
            let numbers: Option<Vec<u64>> = field.list(TOKENS_MAX)?.into_iter().map(read).collect();
            let numbers = numbers.ok_or_else(|| field.not("a list of positions"))?;
            Ok(Some(numbers))
        }
        (None, Some(field)) if field.text == "true" => Ok(None),
        (None, Some(field)) => Err(field.not("true")),
        (None, None) => Err(fields.missing("positions")),
        (Some(_), Some(field)) => Err(field.not("given without positions only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(parsed: Result<T, InputError>, message: &str) {
        let error = parsed.err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(message));
    }

    #[test]
    fn a_subscription_has_a_name_a_filter_and_one_start() {
        let limits = FilterLimits::default();
        let body = r#"{"name":"crm","filter":{"eventTypes":["a.b"]},"after":7,"order":"relaxed","retry":{"factor":3}}"#;
        let (name, input, start) = parse_new_subscription(&body.into(), &limits).unwrap();
        assert_eq!(
            (name.as_str(), start),
            ("crm", StartInput::After("7".to_owned()))
        );
        assert_eq!(input.settings.order, Some(OrderDto::Relaxed));
        assert_eq!(
            (input.settings.retry_factor, input.filter.event_types.len()),
            (Some(3), 1)
        );
        let new = |body: &'static str| parse_new_subscription(&body.into(), &limits);
        check(new("{}"), "field \"name\" of a subscription is missing");
        check(
            new(r#"{"name":"a","start":"end","after":1}"#),
            "1 is not the only one of start, after and since",
        );
        check(
            new(r#"{"name":"a","retry":{"firstSec":1}}"#),
            "unknown field \"firstSec\" of retry",
        );
        check(
            new(r#"{"name":"a","inFlightMax":-1}"#),
            "-1 is not a whole number of 0 or more",
        );
    }

    #[test]
    fn consumers_tokens_and_choices_are_bounded() {
        let fetch = parse_fetch(&r#"{"limit":5,"waitMs":100}"#.into()).unwrap();
        assert_eq!(
            (fetch.limit, fetch.wait_ms, fetch.consumer.as_str()),
            (5, 100, "default")
        );
        check(
            parse_fetch(&r#"{"limit":1001}"#.into()),
            "1001 is not an integer of 1 to 1000",
        );
        check(
            parse_nack(&r#"{"tokens":[],"action":"park","delayMs":5}"#.into()),
            "5 is not given with the action retry only",
        );
        assert_eq!(
            parse_extend(&r#"{"tokens":["1-2-3"],"extendMs":5}"#.into()).unwrap(),
            (vec!["1-2-3".to_owned()], Some(5))
        );
        check(
            parse_extend(&r#"{"tokens":[],"extendMs":-1}"#.into()),
            "-1 is not a whole number of 0 or more",
        );
        check(
            parse_parked_choice(&r#"{"positions":[0]}"#.into()),
            "[0] is not a list of positions",
        );
        assert_eq!(
            parse_parked_choice(&r#"{"all":true}"#.into()).unwrap(),
            None
        );
        check(
            parse_reset(&"{}".into()),
            "field \"start\" of a reset is missing",
        );
    }
}
