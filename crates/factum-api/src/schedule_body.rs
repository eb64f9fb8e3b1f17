//! What clients ask of the schedule, read with exact errors.

use bytes::Bytes;
use factum_model::{ErrorCode, NewEvent, Timestamp};

use crate::envelope::{InputLimits, read_event, utf8};
use crate::fields::{Field, Fields, Shape};
use crate::input::{InputError, InputFault, Path};

/// When an event is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenInput {
    /// At this instant.
    At(Timestamp),
    /// This long from now, in milliseconds.
    AfterMs(u64),
    /// Again and again.
    Cron {
        /// The pattern.
        pattern: String,
        /// The name of the time zone; UTC where it is not said.
        zone: Option<String>,
        /// What becomes of what was missed: `all` or `latest`.
        missed: Option<String>,
    },
}

/// An event that is to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleInput {
    /// Its name, if the client chose one.
    pub id: Option<String>,
    /// When it is appended.
    pub when: WhenInput,
    /// What is appended.
    pub event: NewEvent,
}

static SCHEDULE: Shape<7> = Shape {
    of: "a scheduled event",
    code: ErrorCode::InvalidRequest,
    names: ["id", "at", "delayMs", "cron", "timeZone", "missed", "event"],
};

/// Reads the body of a request to schedule an event.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_schedule(body: &Bytes, limits: &InputLimits) -> Result<ScheduleInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &SCHEDULE, &path)?;
    let text = |name| {
        let field = fields.get(name);
        field
            .map(|field| field.string().map(|text| text.into_owned()))
            .transpose()
    };
    let event = fields.require("event")?;
    let (event, expected) = read_event(&body, event.text, &path.key("event"), limits)?;
    if expected.is_some() {
        let rule = "has no meaning for an event that is appended later";
        let fault = InputFault::Expectation { rule };
        let pointer = path.key("event");
        return Err(pointer
            .key("expectedVersion")
            .error(ErrorCode::InvalidRequest, fault));
    }
    Ok(ScheduleInput {
        id: text("id")?,
        when: when(&fields)?,
        event,
    })
}

fn when<const N: usize>(fields: &Fields<'_, '_, N>) -> Result<WhenInput, InputError> {
    const ONE: &str = "alone: one of at, delayMs and cron";
    let (at, delay, cron) = (fields.get("at"), fields.get("delayMs"), fields.get("cron"));
    let beside: Option<Field<'_, '_>> = fields.get("timeZone").or_else(|| fields.get("missed"));
    let string = |field: Option<Field<'_, '_>>| {
        let text = field.map(|field| field.string().map(|text| text.into_owned()));
        text.transpose()
    };
    if cron.is_none()
        && let Some(field) = beside
    {
        return Err(field.not("given with cron only"));
    }
    match (at, delay, cron) {
        (Some(at), None, None) => Ok(WhenInput::At(at.timestamp()?)),
        (None, Some(delay), None) => {
            let delay = delay.integer("a whole number of milliseconds")?;
            Ok(WhenInput::AfterMs(delay))
        }
        (None, None, Some(cron)) => Ok(WhenInput::Cron {
            pattern: cron.string()?.into_owned(),
            zone: string(fields.get("timeZone"))?,
            missed: string(fields.get("missed"))?,
        }),
        (None, None, None) => Err(fields.missing("at")),
        (_, Some(field), _) | (Some(_), _, Some(field)) => Err(field.not(ONE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<ScheduleInput, String> {
        parse_schedule(
            &Bytes::from_static(text.as_bytes()),
            &InputLimits::default(),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn each_way_to_say_when_is_read() {
        const EVENT: &str =
            r#""event":{"type":"a.b","aggregateType":"c","aggregateId":"d","payload":{ }}"#;
        let parse = |when: &str| {
            let text = format!("{{{when},{EVENT}}}");
            parse_schedule(&Bytes::from(text), &InputLimits::default())
        };
        let at = parse(r#""id":"x","at":"2026-01-01T00:00:00Z""#).unwrap();
        assert_eq!(at.id.as_deref(), Some("x"));
        assert_eq!(
            at.when,
            WhenInput::At("2026-01-01T00:00:00Z".parse().unwrap())
        );
        assert_eq!(at.event.payload.as_str(), "{ }");
        let delay = parse(r#""delayMs":5"#).unwrap();
        assert_eq!(delay.when, WhenInput::AfterMs(5));
        let cron = parse(r#""cron":"0 9 * * *","timeZone":"Europe/Vienna","missed":"latest""#);
        assert!(matches!(cron.unwrap().when, WhenInput::Cron { .. }));
        for wrong in [
            r#""id":"x""#,
            r#""at":"soon""#,
            r#""at":"2026-01-01T00:00:00Z","delayMs":5"#,
            r#""at":"2026-01-01T00:00:00Z","cron":"* * * * *""#,
            r#""delayMs":5,"timeZone":"UTC""#,
            r#""delayMs":-5"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_event_is_checked_where_it_stands() {
        let error = parse(r#"{"delayMs":1,"event":{"type":"a b"}}"#).unwrap_err();
        assert!(error.contains("event"), "{error}");
        assert!(parse(r#"{"delayMs":1}"#).is_err());
        let expected = r#"{"delayMs":1,"event":{"type":"a","aggregateType":"b","aggregateId":"c","payload":{},"expectedVersion":1}}"#;
        assert!(parse(expected).is_err());
    }
}
