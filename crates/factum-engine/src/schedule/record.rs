//! The record of a scheduled event, and the event that a firing appends.

use std::error::Error;

use factum_model::{EventId, JsonObject, NewEvent, SchemaVersion, StreamId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calendar::{Calendar, Missed};
use super::entry::{Firing, ScheduleId, Scheduled};
use super::error::ScheduleError;

const VERSION: u8 = 1;
/// What a firing adds to the metadata.
const KEYS: [&str; 2] = ["scheduleId", "scheduledFor"];

/// A scheduled event as it is stored, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    v: u8,
    event: StoredEvent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<StoredCalendar>,
    /// When it fires next. The instant at which the record is due may be later, after a failure.
    pub(super) due_micros: i64,
    created_micros: i64,
    created_by: String,
    pub(super) n_fired: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<StoredFiring>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredEvent {
    event_type: String,
    schema_version: u32,
    aggregate_type: String,
    aggregate_id: String,
    causation_id: Option<String>,
    correlation_id: Option<String>,
    /// Kept as text, byte for byte.
    metadata: String,
    payload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredCalendar {
    pattern: String,
    zone: String,
    missed: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFiring {
    due_micros: i64,
    recorded_micros: i64,
    event_id: String,
}

type Unreadable = Box<dyn Error + Send + Sync>;

impl Stored {
    pub(super) fn new(
        event: &NewEvent,
        calendar: Option<&Calendar>,
        due: Timestamp,
        (now, by): (Timestamp, &str),
    ) -> Self {
        Self {
            v: VERSION,
            event: StoredEvent::new(event),
            calendar: calendar.map(|calendar| StoredCalendar {
                pattern: calendar.pattern().to_owned(),
                zone: calendar.zone().to_owned(),
                missed: calendar.missed().as_str().to_owned(),
            }),
            due_micros: due.as_micros(),
            created_micros: now.as_micros(),
            created_by: by.to_owned(),
            n_fired: 0,
            last: None,
            failure: None,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ScheduleError> {
        Ok(serde_json::to_vec(self)?)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let stored: Self = serde_json::from_slice(bytes)?;
        if stored.v == VERSION {
            Ok(stored)
        } else {
            Err(format!("version {} of the record is not known", stored.v).into())
        }
    }

    /// Tells whether somebody schedules the same again. A delay gives another instant each time,
    /// so what fires once is compared by what it is, not by when.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.event == other.event && self.calendar == other.calendar
    }

    pub(super) fn due(&self) -> Timestamp {
        Timestamp::from_micros(self.due_micros).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn calendar(&self) -> Result<Option<Calendar>, ScheduleError> {
        let Some(StoredCalendar {
            pattern,
            zone,
            missed,
        }) = &self.calendar
        else {
            return Ok(None);
        };
        let missed = Missed::from_name(missed).unwrap_or_default();
        Ok(Some(Calendar::new(pattern, zone, missed)?))
    }

    pub(super) fn event(&self) -> Result<NewEvent, ScheduleError> {
        self.event.read()
    }

    /// Notes a firing.
    pub(super) fn fired(&mut self, recorded_at: Timestamp, event_id: EventId) {
        self.n_fired += 1;
        self.last = Some(StoredFiring {
            due_micros: self.due_micros,
            recorded_micros: recorded_at.as_micros(),
            event_id: event_id.to_string(),
        });
    }

    pub(super) fn show(&self, id: ScheduleId) -> Result<Scheduled, ScheduleError> {
        let last = self.last.as_ref().and_then(|last| {
            Some(Firing {
                due_at: Timestamp::from_micros(last.due_micros)?,
                recorded_at: Timestamp::from_micros(last.recorded_micros)?,
                event_id: last.event_id.parse().ok()?,
            })
        });
        Ok(Scheduled {
            id,
            event: self.event()?,
            calendar: self.calendar()?,
            due_at: self.due(),
            created_at: Timestamp::from_micros(self.created_micros).unwrap_or(Timestamp::MIN),
            created_by: self.created_by.clone(),
            n_fired: self.n_fired,
            last,
            failure: self.failure.clone(),
        })
    }
}

impl StoredEvent {
    fn new(event: &NewEvent) -> Self {
        Self {
            event_type: event.event_type.as_str().to_owned(),
            schema_version: event.schema_version.get(),
            aggregate_type: event.stream.aggregate_type.as_str().to_owned(),
            aggregate_id: event.stream.aggregate_id.as_str().to_owned(),
            causation_id: event.causation_id.map(|id| id.to_string()),
            correlation_id: event
                .correlation_id
                .as_ref()
                .map(|id| id.as_str().to_owned()),
            metadata: event.metadata.as_str().to_owned(),
            payload: event.payload.as_str().to_owned(),
        }
    }

    fn read(&self) -> Result<NewEvent, ScheduleError> {
        let internal = |error: Unreadable| ScheduleError::Internal(error);
        let stream = StreamId::new(self.aggregate_type.parse()?, self.aggregate_id.parse()?);
        let causation_id = self.causation_id.as_ref().map(|id| id.parse()).transpose();
        let correlation_id = self.correlation_id.as_ref().map(|id| id.parse());
        Ok(NewEvent {
            schema_version: SchemaVersion::new(self.schema_version).unwrap_or_default(),
            causation_id: causation_id
                .map_err(|error: factum_model::InvalidEventId| internal(error.into()))?,
            correlation_id: correlation_id.transpose()?,
            metadata: JsonObject::parse(self.metadata.as_str())?,
            ..NewEvent::new(
                self.event_type.parse()?,
                stream,
                JsonObject::parse(self.payload.as_str())?,
            )
        })
    }
}

/// Returns the event that a firing appends. It follows from its arguments alone, so that every
/// node that tries makes the same one.
pub(super) fn fired(event: &NewEvent, id: &str, due: Timestamp) -> Result<NewEvent, ScheduleError> {
    let metadata: Value = serde_json::from_str(event.metadata.as_str())?;
    if let Some(key) = KEYS.into_iter().find(|key| metadata.get(key).is_some()) {
        return Err(ScheduleError::Metadata { key });
    }
    let text = event.metadata.as_str().trim_end();
    let open = text.strip_suffix('}').unwrap_or(text).trim_end();
    let comma = if open.ends_with('{') { "" } else { "," };
    // An id needs no escape.
    let added = format!(r#"{open}{comma}"scheduleId":"{id}","scheduledFor":"{due}"}}"#);
    let micros = due.as_micros().to_string();
    Ok(NewEvent {
        id: Some(EventId::derived(&["schedule", id, &micros])),
        timestamp: Some(due),
        metadata: JsonObject::parse(added)?,
        ..event.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(metadata: &str) -> NewEvent {
        NewEvent {
            metadata: JsonObject::parse(metadata).unwrap(),
            correlation_id: Some("case 7".parse().unwrap()),
            causation_id: Some(EventId::from_bytes([3; 16])),
            ..NewEvent::new(
                "a.b".parse().unwrap(),
                StreamId::new("form".parse().unwrap(), "f-1".parse().unwrap()),
                JsonObject::parse(r#"{"x" : 1.0}"#).unwrap(),
            )
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let now = Timestamp::from_micros(5).unwrap();
        let calendar = Calendar::new("0 9 * * *", "Europe/Vienna", Missed::Latest).unwrap();
        let mut stored = Stored::new(&event("{ }"), Some(&calendar), now, (now, "ann"));
        stored.fired(now, EventId::from_bytes([4; 16]));
        let read = Stored::decode(&stored.encode().unwrap()).unwrap();
        assert_eq!(read, stored);
        let shown = read.show("x".parse().unwrap()).unwrap();
        assert_eq!(
            (shown.event, shown.calendar),
            (event("{ }"), Some(calendar))
        );
        assert_eq!((shown.n_fired, shown.created_by.as_str()), (1, "ann"));
        let later = String::from_utf8(stored.encode().unwrap()).unwrap();
        assert!(Stored::decode(later.replace(r#""v":1"#, r#""v":2"#).as_bytes()).is_err());
    }

    /// As docs/format/deliveries.md says. What was written so is read for ever.
    #[test]
    fn the_format_stays() {
        let text = concat!(
            r#"{"v":1,"event":{"eventType":"a.b","schemaVersion":1,"aggregateType":"form","#,
            r#""aggregateId":"f-1","causationId":null,"correlationId":"case 7","metadata":"{ }","#,
            r#""payload":"{\"x\" : 1.0}"},"calendar":{"pattern":"0 9 * * *","#,
            r#""zone":"Europe/Vienna","missed":"latest"},"dueMicros":5,"createdMicros":4,"#,
            r#""createdBy":"ann","nFired":1,"last":{"dueMicros":2,"recordedMicros":3,"#,
            r#""eventId":"01234567-89ab-7def-8123-456789abcdef"},"failure":"refused"}"#,
        );
        let stored = Stored::decode(text.as_bytes()).unwrap();
        assert_eq!(stored.encode().unwrap(), text.as_bytes());
        let shown = stored.show("x".parse().unwrap()).unwrap();
        assert_eq!(shown.event.payload.as_str(), r#"{"x" : 1.0}"#);
        assert_eq!(shown.last.unwrap().due_at.as_micros(), 2);
        // The id of a firing stays, or a restart with a newer release would fire again.
        let due = Timestamp::from_micros(5).unwrap();
        let event = fired(&shown.event, "x", due).unwrap();
        assert_eq!(
            event.id.unwrap().to_string(),
            "8d69903f-2c6c-5310-937e-ea74183c85b4"
        );
    }

    #[test]
    fn a_firing_is_always_the_same_event() {
        let due = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
        for (metadata, expected) in [
            ("{}", r#"{"scheduleId":"x","#),
            ("{ }\n", r#"{"scheduleId":"x","#),
            (
                r#"{"userId": "ann" }"#,
                r#"{"userId": "ann","scheduleId":"x","#,
            ),
        ] {
            let first = fired(&event(metadata), "x", due).unwrap();
            assert_eq!(first, fired(&event(metadata), "x", due).unwrap());
            let text = first.metadata.as_str();
            assert!(text.starts_with(expected), "{text}");
            assert!(
                text.ends_with(r#""scheduledFor":"2023-11-14T22:13:20Z"}"#)
                    || text.contains("scheduledFor"),
                "{text}"
            );
            assert_eq!(first.payload.as_str(), r#"{"x" : 1.0}"#);
        }
        let later = fired(&event("{}"), "x", due.saturating_add_micros(1)).unwrap();
        assert_ne!(later.id, fired(&event("{}"), "x", due).unwrap().id);
        let error = fired(&event(r#"{"scheduledFor":1}"#), "x", due).unwrap_err();
        assert!(matches!(
            error,
            ScheduleError::Metadata {
                key: "scheduledFor"
            }
        ));
    }
}
