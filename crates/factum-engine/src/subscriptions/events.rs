//! The events of subscriptions, as they stand in the log.

use std::time::Duration;

use factum_model::{
    EventType, JsonObject, NewEvent, Position, RecordedEvent, SYSTEM_AGGREGATE_TYPE, StreamId,
};
use factum_query::Filter;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::definition::{Definition, FilterForm};
use super::error::SubscriptionError;
use super::spec::{Backoff, FeedSettings, Order};

pub(super) const CREATED: &str = "factum.subscription.created";
pub(super) const CHANGED: &str = "factum.subscription.changed";
pub(super) const PAUSED: &str = "factum.subscription.paused";
pub(super) const RESUMED: &str = "factum.subscription.resumed";
pub(super) const RESET: &str = "factum.subscription.reset";
pub(super) const DELETED: &str = "factum.subscription.deleted";

/// Something that became true of a subscription.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Created {
        definition: Box<Read>,
        after: Option<Position>,
    },
    Changed(Box<Read>),
    Paused,
    Resumed,
    Reset {
        after: Option<Position>,
    },
    Deleted,
}

/// A definition as it was read. The filter may be one that this release does not know.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) definition: Definition,
    pub(super) fault: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatedPayload {
    name: String,
    filter: Box<RawValue>,
    /// 0 stands before the first event.
    after: u64,
    settings: SettingsPayload,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangedPayload {
    name: String,
    filter: Box<RawValue>,
    settings: SettingsPayload,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResetPayload {
    name: String,
    after: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamePayload {
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SettingsPayload {
    order: OrderPayload,
    ack_deadline_ms: u64,
    attempts_max: u32,
    in_flight_max: u64,
    retries_max: u64,
    parked_max: u64,
    retry: RetryPayload,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetryPayload {
    first_ms: u64,
    factor: u32,
    max_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OrderPayload {
    Strict,
    Relaxed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct By<'a> {
    user_id: &'a str,
}

impl From<&FeedSettings> for SettingsPayload {
    fn from(settings: &FeedSettings) -> Self {
        Self {
            order: match settings.order {
                Order::Strict => OrderPayload::Strict,
                Order::Relaxed => OrderPayload::Relaxed,
            },
            ack_deadline_ms: millis(settings.ack_deadline),
            attempts_max: settings.attempts_max,
            in_flight_max: settings.window_max as u64,
            retries_max: settings.retries_max as u64,
            parked_max: settings.parked_max as u64,
            retry: RetryPayload {
                first_ms: millis(settings.backoff.first),
                factor: settings.backoff.factor,
                max_ms: millis(settings.backoff.max),
            },
        }
    }
}

impl From<SettingsPayload> for FeedSettings {
    fn from(payload: SettingsPayload) -> Self {
        Self {
            order: match payload.order {
                OrderPayload::Strict => Order::Strict,
                OrderPayload::Relaxed => Order::Relaxed,
            },
            ack_deadline: Duration::from_millis(payload.ack_deadline_ms),
            attempts_max: payload.attempts_max,
            window_max: size(payload.in_flight_max),
            retries_max: size(payload.retries_max),
            parked_max: size(payload.parked_max),
            backoff: Backoff {
                first: Duration::from_millis(payload.retry.first_ms),
                factor: payload.retry.factor,
                max: Duration::from_millis(payload.retry.max_ms),
            },
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The events of subscriptions, and no others.
pub(super) fn filter() -> Filter {
    let names = [CREATED, CHANGED, PAUSED, RESUMED, RESET, DELETED];
    Filter {
        event_types: names.iter().filter_map(|name| name.parse().ok()).collect(),
        aggregate_types: SYSTEM_AGGREGATE_TYPE.parse().into_iter().collect(),
        ..Filter::default()
    }
}

/// Writes the event of an act.
pub(super) fn write(
    name: &str,
    act: &Act,
    form: FilterForm,
    by: &str,
) -> Result<NewEvent, SubscriptionError> {
    let number = |position: &Option<Position>| position.map_or(0, Position::get);
    let named = || {
        to_text(&NamePayload {
            name: name.to_owned(),
        })
    };
    let (event_type, payload) = match act {
        Act::Created { definition, after } => {
            let payload = CreatedPayload {
                name: name.to_owned(),
                filter: raw(&definition.definition.filter, form)?,
                after: number(after),
                settings: (&definition.definition.settings).into(),
            };
            (CREATED, to_text(&payload)?)
        }
        Act::Changed(read) => {
            let payload = ChangedPayload {
                name: name.to_owned(),
                filter: raw(&read.definition.filter, form)?,
                settings: (&read.definition.settings).into(),
            };
            (CHANGED, to_text(&payload)?)
        }
        Act::Paused => (PAUSED, named()?),
        Act::Resumed => (RESUMED, named()?),
        Act::Reset { after } => {
            let payload = ResetPayload {
                name: name.to_owned(),
                after: number(after),
            };
            (RESET, to_text(&payload)?)
        }
        Act::Deleted => (DELETED, named()?),
    };
    let event_type: EventType = event_type.parse().map_err(unwritable)?;
    let payload = JsonObject::parse(payload).map_err(unwritable)?;
    let metadata = JsonObject::parse(to_text(&By { user_id: by })?).map_err(unwritable)?;
    Ok(NewEvent {
        metadata,
        ..NewEvent::new(event_type, stream(name)?, payload)
    })
}

/// Returns the stream of a subscription.
pub(super) fn stream(name: &str) -> Result<StreamId, SubscriptionError> {
    let aggregate_type = SYSTEM_AGGREGATE_TYPE.parse().map_err(unwritable)?;
    let aggregate_id = format!("subscription-{name}").parse().map_err(unwritable)?;
    Ok(StreamId::new(aggregate_type, aggregate_id))
}

fn raw(filter: &Filter, form: FilterForm) -> Result<Box<RawValue>, SubscriptionError> {
    RawValue::from_string((form.write)(filter)).map_err(unwritable)
}

fn to_text<T: Serialize>(payload: &T) -> Result<String, SubscriptionError> {
    serde_json::to_string(payload).map_err(unwritable)
}

/// An event is made of checked fields; that it cannot be written is our own fault.
fn unwritable(error: impl std::fmt::Display) -> SubscriptionError {
    SubscriptionError::Unwritable {
        detail: error.to_string(),
    }
}

/// Reads an event: the name of the subscription and what became true of it.
pub(super) fn read(
    event: &RecordedEvent,
    form: FilterForm,
) -> Result<Option<(String, Act)>, serde_json::Error> {
    let payload = event.payload();
    let named = || Ok(serde_json::from_str::<NamePayload>(payload)?.name);
    Ok(Some(match event.event_type() {
        CREATED => {
            let payload: CreatedPayload = serde_json::from_str(payload)?;
            let definition = Box::new(definition(&payload.filter, payload.settings, form));
            let after = Position::new(payload.after);
            (payload.name, Act::Created { definition, after })
        }
        CHANGED => {
            let payload: ChangedPayload = serde_json::from_str(payload)?;
            let read = definition(&payload.filter, payload.settings, form);
            (payload.name, Act::Changed(Box::new(read)))
        }
        PAUSED => (named()?, Act::Paused),
        RESUMED => (named()?, Act::Resumed),
        RESET => {
            let payload: ResetPayload = serde_json::from_str(payload)?;
            let after = Position::new(payload.after);
            (payload.name, Act::Reset { after })
        }
        DELETED => (named()?, Act::Deleted),
        _ => return Ok(None),
    }))
}

fn definition(filter: &RawValue, settings: SettingsPayload, form: FilterForm) -> Read {
    let settings = FeedSettings::from(settings);
    let (filter, fault) = match (form.read)(filter.get()) {
        Ok(filter) => (filter, None),
        Err(fault) => (Filter::default(), Some(format!("filter: {fault}"))),
    };
    let broken = settings.check().err().map(|error| error.to_string());
    Read {
        definition: Definition { filter, settings },
        fault: fault.or(broken),
    }
}
