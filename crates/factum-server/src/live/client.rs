//! What WebSocket clients say.
//!
//! ```text
//! {"type":"authenticate","token":"fct_…"}
//! {"type":"subscribe","subscriptionId":"s1","filter":{…},"options":{
//!     "includeHistory":true,"historyLimit":100,"fromPosition":17,
//!     "bufferSize":256,"heartbeatInterval":15000}}
//! {"type":"subscribe","subscriptionId":"s3","channel":"orders"}
//! {"type":"unsubscribe","subscriptionId":"s1"}
//! {"type":"ack","subscriptionId":"s1","cursor":"…"}
//! {"type":"subscribe","subscriptionId":"s2","durable":"crm","options":{"bufferSize":32}}
//! {"type":"ack","subscriptionId":"s2","tokens":["…"]}
//! {"type":"nack","subscriptionId":"s2","tokens":["…"],"action":"retry","delayMs":500,"cause":"…"}
//! {"type":"extend","subscriptionId":"s2","tokens":["…"],"extendMs":60000}
//! {"type":"ping"}
//! ```

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use factum_api::{Place as ApiPlace, parse_extend, parse_filter, parse_nack};
use factum_engine::{LiveStart, Outcome};
use factum_model::{ErrorCode, Position};
use factum_query::Filter;
use factum_store::{Cursor, Lineage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::options::LiveOptions;
use crate::handlers::consumers::outcome as outcome_of;

/// The longest name of a subscription, in bytes.
const SUBSCRIPTION_ID_BYTES_MAX: usize = 128;
/// How much of the cause is told of a message that is not understood.
const CAUSE_CHARS_MAX: usize = 300;

/// A message of a client, checked.
#[derive(Debug)]
pub(crate) enum ClientMessage {
    Authenticate {
        token: Token,
    },
    Subscribe(Box<Subscribe>),
    Consume(Consume),
    Settle {
        subscription_id: String,
        tokens: Vec<String>,
        outcome: Outcome,
    },
    Extend {
        subscription_id: String,
        tokens: Vec<String>,
        extend_ms: Option<u64>,
    },
    Unsubscribe {
        subscription_id: String,
    },
    Ack {
        subscription_id: String,
        at: Place,
    },
    Ping,
}

/// A request to be told of events.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) subscription_id: String,
    pub(crate) filter: Filter,
    /// The channel that it listens to.
    pub(crate) channel: Option<String>,
    pub(crate) start: LiveStart,
    pub(crate) batch_events_max: usize,
    pub(crate) heartbeat_interval: Duration,
}

/// A request for the events of a durable subscription.
#[derive(Debug)]
pub(crate) struct Consume {
    pub(crate) subscription_id: String,
    pub(crate) durable: String,
    pub(crate) buffer: usize,
    pub(crate) heartbeat_interval: Duration,
}

/// A secret on its way to the check; not printable.
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A place in the log, in one of the two ways of naming it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Place {
    Position(u64),
    Cursor(String),
}

/// Why a message was not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) what: RefusedWhat,
    /// The subscription it is about, where that could be read.
    pub(crate) subscription_id: Option<String>,
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
}

/// What was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedWhat {
    /// A subscription is not opened.
    Subscription,
    /// Something else.
    Message,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            what: RefusedWhat::Message,
            subscription_id: None,
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn of(mut self, subscription_id: &str) -> Self {
        self.subscription_id = Some(subscription_id.to_owned());
        self
    }

    pub(crate) fn of_subscription(self, subscription_id: &str) -> Self {
        Self {
            what: RefusedWhat::Subscription,
            ..self.of(subscription_id)
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthenticateBody {
    #[serde(rename = "type")]
    _kind: String,
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubscribeBody<'a> {
    #[serde(rename = "type")]
    _kind: String,
    subscription_id: String,
    #[serde(default)]
    durable: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(borrow, default)]
    filter: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<SubscribeOptions>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubscribeOptions {
    include_history: Option<bool>,
    history_limit: Option<usize>,
    from_position: Option<Place>,
    buffer_size: Option<usize>,
    heartbeat_interval: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UnsubscribeBody {
    #[serde(rename = "type")]
    _kind: String,
    subscription_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AckBody {
    #[serde(rename = "type")]
    _kind: String,
    subscription_id: String,
    position: Option<u64>,
    cursor: Option<String>,
    tokens: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingBody {
    #[serde(rename = "type")]
    _kind: String,
}

/// Reads a message.
///
/// # Errors
/// [`Refusal`] with `invalid_request`, or what is wrong with a subscription.
pub(crate) fn parse(
    text: &str,
    lineage: &Lineage,
    options: &LiveOptions,
) -> Result<ClientMessage, Refusal> {
    let Envelope { kind } = read(text)?;
    match &*kind {
        "authenticate" => {
            let body: AuthenticateBody = read(text)?;
            Ok(ClientMessage::Authenticate {
                token: Token(body.token),
            })
        }
        "subscribe" => read(text)
            .and_then(|body| subscribe(body, lineage, options))
            .map_err(|refusal| Refusal {
                what: RefusedWhat::Subscription,
                ..refusal
            }),
        "unsubscribe" => {
            let body: UnsubscribeBody = read(text)?;
            Ok(ClientMessage::Unsubscribe {
                subscription_id: body.subscription_id,
            })
        }
        "ack" => acknowledge(read(text)?),
        "nack" => nack(text),
        "extend" => extend(text),
        "ping" => read::<PingBody>(text).map(|_| ClientMessage::Ping),
        other => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "{:?} is not a message type; they are authenticate, subscribe, unsubscribe, ack, \
                 nack, extend and ping",
                other.chars().take(40).collect::<String>()
            ),
        )),
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|error| {
        // It may name what the client sent, however long that is.
        let cause: String = error.to_string().chars().take(CAUSE_CHARS_MAX).collect();
        Refusal::new(
            ErrorCode::InvalidRequest,
            format!("the message is not understood: {cause}"),
        )
    })
}

/// Reads a nack: what stands beside the names of the message is that of the endpoint.
fn nack(text: &str) -> Result<ClientMessage, Refusal> {
    let (id, body) = endpoint_body(text, "a nack names the subscriptionId")?;
    let input =
        parse_nack(&body).map_err(|error| Refusal::new(error.code, error.to_string()).of(&id))?;
    let (tokens, outcome) = outcome_of(input);
    Ok(ClientMessage::Settle {
        subscription_id: id,
        tokens,
        outcome,
    })
}

/// Reads a wish for more time, in the same way.
fn extend(text: &str) -> Result<ClientMessage, Refusal> {
    let (id, body) = endpoint_body(text, "an extend names the subscriptionId")?;
    let (tokens, extend_ms) =
        parse_extend(&body).map_err(|error| Refusal::new(error.code, error.to_string()).of(&id))?;
    Ok(ClientMessage::Extend {
        subscription_id: id,
        tokens,
        extend_ms,
    })
}

/// Splits a message into the subscription that it names and the body of the endpoint.
fn endpoint_body(text: &str, nameless: &str) -> Result<(String, Bytes), Refusal> {
    let mut fields: serde_json::Map<String, serde_json::Value> = read(text)?;
    fields.remove("type");
    let Some(serde_json::Value::String(id)) = fields.remove("subscriptionId") else {
        return Err(Refusal::new(ErrorCode::InvalidRequest, nameless));
    };
    let body = Bytes::from(serde_json::Value::from(fields).to_string());
    Ok((id, body))
}

fn acknowledge(body: AckBody) -> Result<ClientMessage, Refusal> {
    if let (Some(tokens), None, None) = (&body.tokens, body.position, &body.cursor) {
        return Ok(ClientMessage::Settle {
            tokens: tokens.clone(),
            subscription_id: body.subscription_id,
            outcome: Outcome::Ack,
        });
    }
    let at = match (body.position, body.cursor) {
        (Some(_), None) | (None, Some(_)) if body.tokens.is_some() => {
            let detail = "an ack names tokens, a cursor or a position";
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).of(&body.subscription_id));
        }
        (Some(position), None) => Place::Position(position),
        (None, Some(cursor)) => Place::Cursor(cursor),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "an ack names either a cursor or a position",
            )
            .of(&body.subscription_id));
        }
    };
    Ok(ClientMessage::Ack {
        subscription_id: body.subscription_id,
        at,
    })
}

fn subscribe(
    body: SubscribeBody<'_>,
    lineage: &Lineage,
    options: &LiveOptions,
) -> Result<ClientMessage, Refusal> {
    let id = body.subscription_id;
    if id.is_empty() || id.len() > SUBSCRIPTION_ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "subscriptionId must have 1 to {SUBSCRIPTION_ID_BYTES_MAX} bytes and no control \
                 characters"
            ),
        ));
    }
    let wanted = body.options.unwrap_or_default();
    if let Some(durable) = body.durable {
        let is_free = body.filter.is_none()
            && body.channel.is_none()
            && wanted.include_history.is_none()
            && wanted.history_limit.is_none()
            && wanted.from_position.is_none();
        if !is_free {
            let detail = "a durable subscription has its own filter and its own place";
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).of(&id));
        }
        return Ok(ClientMessage::Consume(Consume {
            durable,
            buffer: batch_events_of(&wanted, options).map_err(|refusal| refusal.of(&id))?,
            heartbeat_interval: heartbeat_of(&wanted, options)
                .map_err(|refusal| refusal.of(&id))?,
            subscription_id: id,
        }));
    }
    // The last so many events of the log need not be any of the channel.
    if body.channel.is_some() && wanted.history_limit.is_some() {
        let detail = "channel and historyLimit exclude each other";
        return Err(Refusal::new(ErrorCode::InvalidRequest, detail).of(&id));
    }
    let filter_text = body.filter.map_or("{}", RawValue::get);
    let checked = (|| {
        Ok((
            filter_of(filter_text, options)?,
            start_of(&wanted, lineage, options)?,
            batch_events_of(&wanted, options)?,
            heartbeat_of(&wanted, options)?,
        ))
    })();
    let (filter, start, batch_events_max, heartbeat_interval) =
        checked.map_err(|refusal: Refusal| refusal.of(&id))?;
    Ok(ClientMessage::Subscribe(Box::new(Subscribe {
        subscription_id: id,
        filter,
        channel: body.channel,
        start,
        batch_events_max,
        heartbeat_interval,
    })))
}

fn filter_of(text: &str, options: &LiveOptions) -> Result<Filter, Refusal> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    parse_filter(&text, &options.filter).map_err(|error| {
        let at = match &error.place {
            ApiPlace::Pointer(pointer) if !pointer.is_empty() => format!(" (at filter{pointer})"),
            ApiPlace::Pointer(_) | ApiPlace::Parameter(_) => String::new(),
        };
        Refusal::new(error.code, format!("{error}{at}"))
    })
}

fn start_of(
    wanted: &SubscribeOptions,
    lineage: &Lineage,
    options: &LiveOptions,
) -> Result<LiveStart, Refusal> {
    let invalid = |detail: &str| Err(Refusal::new(ErrorCode::InvalidRequest, detail));
    if let Some(limit) = wanted.history_limit
        && limit > options.history_limit_max
    {
        return Err(Refusal::new(
            ErrorCode::LimitExceeded,
            format!(
                "historyLimit of {limit} exceeds the limit of {}",
                options.history_limit_max
            ),
        ));
    }
    match (
        &wanted.from_position,
        wanted.include_history,
        wanted.history_limit,
    ) {
        (Some(_), _, Some(_)) => invalid("fromPosition and historyLimit exclude each other"),
        (Some(_), Some(false), None) => {
            invalid("fromPosition asks for history and includeHistory: false refuses it")
        }
        (Some(place), None | Some(true), None) => place.start(lineage),
        (None, Some(false), Some(limit)) if limit > 0 => {
            invalid("historyLimit asks for history and includeHistory: false refuses it")
        }
        (None, _, Some(limit)) => Ok(LiveStart::Last(limit)),
        (None, Some(true), None) => Ok(LiveStart::Beginning),
        (None, None | Some(false), None) => Ok(LiveStart::End),
    }
}

impl Place {
    /// Returns where to start: at a position, inclusive, or after a cursor.
    fn start(&self, lineage: &Lineage) -> Result<LiveStart, Refusal> {
        let after = match self {
            Self::Position(number) => Position::new(*number).and_then(Position::previous),
            Self::Cursor(_) => self.resolve(lineage)?,
        };
        Ok(after.map_or(LiveStart::Beginning, LiveStart::After))
    }

    /// Returns the position that is named.
    pub(crate) fn resolve(&self, lineage: &Lineage) -> Result<Option<Position>, Refusal> {
        match self {
            Self::Position(number) => Ok(Position::new(*number)),
            Self::Cursor(text) => text
                .parse::<Cursor>()
                .and_then(|cursor| lineage.resolve(cursor))
                .map_err(|error| Refusal::new(error.code(), error.to_string())),
        }
    }
}

fn batch_events_of(wanted: &SubscribeOptions, options: &LiveOptions) -> Result<usize, Refusal> {
    match wanted.buffer_size {
        Some(0) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "bufferSize must be at least 1",
        )),
        // More than the server's own bound would not make it read more at a time.
        Some(size) => Ok(size.min(options.batch_events_max)),
        None => Ok(options.batch_events_max),
    }
}

fn heartbeat_of(wanted: &SubscribeOptions, options: &LiveOptions) -> Result<Duration, Refusal> {
    let Some(millis) = wanted.heartbeat_interval else {
        return Ok(options.heartbeat_interval);
    };
    let interval = Duration::from_millis(millis);
    let (min, max) = (
        options.heartbeat_interval_min,
        options.heartbeat_interval_max,
    );
    if interval < min || interval > max {
        return Err(Refusal::new(
            ErrorCode::LimitExceeded,
            format!(
                "heartbeatInterval of {millis} ms is outside the limits of {} to {} ms",
                min.as_millis(),
                max.as_millis()
            ),
        ));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use factum_store::{LineageId, StoreId};

    use super::*;

    /// An unknown field of any length came back whole in the refusal.
    #[test]
    fn a_refusal_does_not_give_back_what_was_sent_at_length() {
        let lineage = Lineage {
            store_id: StoreId([1; 16]),
            current: LineageId(1),
            earlier: Vec::new(),
        };
        let field = "x".repeat(10_000);
        let text = format!(r#"{{"type":"ping","{field}":1}}"#);
        let refusal = parse(&text, &lineage, &LiveOptions::default()).unwrap_err();
        assert!(
            refusal
                .detail
                .starts_with("the message is not understood: unknown field `xxx")
        );
        assert!(refusal.detail.len() < 400);
    }
}
