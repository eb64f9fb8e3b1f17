//! Requests about rules, deliveries and dead letters, read with exact errors.

use bytes::Bytes;
use factum_model::{ErrorCode, EventId};

use crate::envelope::utf8;
use crate::fields::{Field, Fields, Shape};
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::nearest::nearest;
use crate::rule_schema::DeadLetterActDto;

/// What a dry run looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleTestInput {
    /// The text of a definition that is not recorded.
    pub definition: Option<String>,
    /// The event to look at.
    pub event: Option<EventId>,
    /// How many of the last events to look at instead.
    pub last: Option<usize>,
}

static TEST: Shape<3> = Shape {
    of: "a dry run",
    code: ErrorCode::InvalidRequest,
    names: ["definition", "event", "last"],
};

static ACT: Shape<11> = Shape {
    of: "an act on dead letters",
    code: ErrorCode::InvalidRequest,
    names: [
        "ids",
        "all",
        "group",
        "rule",
        "target",
        "errorClass",
        "eventType",
        "status",
        "perSecond",
        "reason",
        "dryRun",
    ],
};

/// The most events that a dry run looks at.
const LAST_MAX: u64 = 1000;
/// The most dead letters that can be named one by one.
const IDS_MAX: usize = 1000;
/// The fastest that dead letters can be asked to be tried again.
const RATE_MAX: u64 = 100_000;

/// Reads the body of a request for a dry run; an empty one means the last ten events.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_rule_test(body: &Bytes) -> Result<RuleTestInput, InputError> {
    let body = utf8(body)?;
    if body.trim().is_empty() {
        return Ok(RuleTestInput::default());
    }
    let path = Path::ROOT;
    let fields = Fields::read(&body, &TEST, &path)?;
    let event = fields.get("event").map(|field| field.parse_as("a UUID"));
    let last = fields.get("last").map(|field| {
        const EXPECTED: &str = "a number from 1 to 1000";
        let number = field.integer(EXPECTED)?;
        let number = (1..=LAST_MAX).contains(&number).then_some(number);
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| field.not(EXPECTED))
    });
    let input = RuleTestInput {
        definition: fields.get("definition").map(|field| field.text.to_owned()),
        event: event.transpose()?,
        last: last.transpose()?,
    };
    match fields.get("last") {
        Some(field) if input.event.is_some() => Err(field.not("allowed beside \"event\"")),
        Some(_) | None => Ok(input),
    }
}

/// Reads the body of a request that does something to dead letters.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault. It must say which dead letters are
/// meant: by their ids, by what they match, or with `"all": true`.
pub fn parse_dead_letter_act(body: &Bytes) -> Result<DeadLetterActDto, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &ACT, &path)?;
    let text = |name: &'static str| {
        let field = fields.get(name);
        field
            .map(|field| Ok(field.string()?.into_owned()))
            .transpose()
    };
    let ids = fields
        .get("ids")
        .map(|field| field.strings(IDS_MAX, |id| Ok(id.to_owned())));
    let rate = fields.get("perSecond").map(|field| {
        const EXPECTED: &str = "a number from 1 to 100000";
        let number = field.integer(EXPECTED)?;
        let number = (1..=RATE_MAX).contains(&number).then_some(number);
        let number = number.and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| field.not(EXPECTED))
    });
    let act = DeadLetterActDto {
        ids: ids.transpose()?,
        all: fields.get("all").map(truth).transpose()?,
        group: text("group")?,
        rule: text("rule")?,
        target: text("target")?,
        error_class: text("errorClass")?,
        event_type: text("eventType")?,
        status: text("status")?,
        per_second: rate.transpose()?,
        reason: text("reason")?,
        dry_run: fields.get("dryRun").map(truth).transpose()?,
    };
    let matches = [
        &act.group,
        &act.rule,
        &act.target,
        &act.error_class,
        &act.event_type,
        &act.status,
    ];
    let matches = matches.iter().any(|condition| condition.is_some());
    let fault = |found: &str, expected| {
        let found = found.to_owned();
        Err(path.error(
            ErrorCode::InvalidRequest,
            InputFault::Value { expected, found },
        ))
    };
    match (act.ids.is_some(), matches || act.all == Some(true)) {
        (true, true) => fault("\"ids\"", "allowed beside what dead letters must match"),
        (false, false) => fault(
            "the request",
            "clear about which dead letters are meant: give \"ids\", a condition, or \"all\": true",
        ),
        (true, false) | (false, true) => Ok(act),
    }
}

fn truth(field: Field<'_, '_>) -> Result<bool, InputError> {
    match field.text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(field.not("true or false")),
    }
}

/// Reads a query string of plain texts, each at most once; the values stand in the order of the
/// names.
///
/// # Errors
/// [`InputError`] with the name of the parameter.
pub fn parse_plain_query<const N: usize>(
    query: &str,
    names: [&'static str; N],
) -> Result<[Option<String>; N], InputError> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let known = names
            .iter()
            .zip(&mut values)
            .find(|(known, _)| **known == name);
        let fault = match known {
            Some((_, place @ None)) => {
                *place = Some(value.into_owned());
                continue;
            }
            Some((field, Some(_))) => InputFault::DuplicateField { field },
            None => InputFault::UnknownField {
                field: excerpt(&name),
                of: "the query string",
                nearest: nearest(&name, &names),
            },
        };
        return Err(InputError::of_parameter(&name, fault));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_says_which_dead_letters_are_meant() {
        let read = |body: &'static str| parse_dead_letter_act(&body.into());
        let act = read(r#"{"group":"g","perSecond":5,"dryRun":true}"#).unwrap();
        assert_eq!((act.per_second, act.dry_run), (Some(5), Some(true)));
        assert!(read(r#"{"all":true}"#).is_ok() && read(r#"{"ids":["1.a"]}"#).is_ok());
        let message = |body| read(body).unwrap_err().to_string();
        assert!(message("{}").contains("which dead letters are meant"));
        assert!(message(r#"{"all":false}"#).contains("which dead letters are meant"));
        assert!(message(r#"{"ids":[],"rule":"x"}"#).contains("allowed beside"));
        assert!(message(r#"{"all":true,"perSecond":0}"#).contains("from 1 to 100000"));
        assert!(message(r#"{"al":true}"#).contains("did you mean \"all\"?"));
    }

    #[test]
    fn a_dry_run_is_of_one_event_or_of_the_last() {
        let read = |body: &'static str| parse_rule_test(&body.into());
        assert_eq!(read("").unwrap(), RuleTestInput::default());
        assert_eq!(read(r#"{"last":5}"#).unwrap().last, Some(5));
        assert!(read(r#"{"last":0}"#).is_err() && read(r#"{"event":"x"}"#).is_err());
        let both = r#"{"last":5,"event":"01234567-89ab-7def-8123-456789abcdef"}"#;
        assert!(
            read(both)
                .unwrap_err()
                .to_string()
                .contains("allowed beside")
        );
    }

    #[test]
    fn a_query_string_has_known_parameters_once() {
        let read = |query| parse_plain_query(query, ["rule", "limit"]);
        let values = read("limit=5&rule=a%20b").unwrap();
        assert_eq!(values, [Some("a b".to_owned()), Some("5".to_owned())]);
        assert!(read("rule=a&rule=b").is_err());
        assert!(
            read("rul=a")
                .unwrap_err()
                .to_string()
                .contains("did you mean \"rule\"?")
        );
    }
}
