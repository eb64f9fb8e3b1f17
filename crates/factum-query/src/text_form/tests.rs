//! What people write, and what is said of what they should not.

use factum_model::{SequenceNumber, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::filter::{SequenceRange, TimeRange};
use crate::json::JsonQuery;

fn read(text: &str) -> Filter {
    parse_text_form(text, &FilterLimits::DEFAULT).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Both mean the same, to the letter.
fn same(text: &str, other: &str) {
    assert_eq!(read(text), read(other), "{text} and {other}");
}

fn check(text: &str, drawn: &str, message: &str) {
    let error = parse_text_form(text, &FilterLimits::DEFAULT).unwrap_err();
    assert_eq!(error.to_string(), message, "{text}");
    assert_eq!(error.draw(text), format!("{text}\n{drawn}"), "{text}");
}

#[test]
fn fields_are_read_as_they_are_meant() {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let filter = read(
        "type:submission.*,form.opened aggregate:form aggregateId:f-1 stream:form/f-1 tag:x,y tag:\"a b\" \
         user:ann correlation:case-1 causation:01010101-0101-0101-0101-010101010102 \
         id:01010101-0101-0101-0101-010101010101 since:2026-03-01 until:2026-04 \
         recordedSince:2026-03-01T09:30:00+01:00 recordedUntil:2027 sequence:3..",
    );
    let expected = Filter {
        event_types: vec![
            "submission.*".parse().unwrap(),
            "form.opened".parse().unwrap(),
        ],
        aggregate_types: vec!["form".parse().unwrap()],
        aggregate_ids: vec!["f-1".parse().unwrap()],
        streams: filter.streams.clone(),
        ids: vec!["01010101-0101-0101-0101-010101010101".parse().unwrap()],
        tags: ["x", "y", "a b"].map(str::to_owned).into(),
        correlation_id: Some("case-1".parse().unwrap()),
        causation_id: Some("01010101-0101-0101-0101-010101010102".parse().unwrap()),
        user_id: Some("ann".to_owned()),
        timestamp: TimeRange {
            from: time("2026-03-01T00:00:00Z"),
            to: time("2026-04-01T00:00:00Z"),
        },
        recorded_at: TimeRange {
            from: time("2026-03-01T08:30:00Z"),
            to: time("2027-01-01T00:00:00Z"),
        },
        sequence: SequenceRange {
            from: SequenceNumber::new(3),
            to: None,
        },
        ..Filter::default()
    };
    assert_eq!(filter, expected);
    assert_eq!(filter.streams.len(), 1);
    assert_eq!(read("  "), Filter::default());
}

#[test]
fn members_are_compared() {
    let query = |text: &str| read(text).payload.unwrap();
    assert_eq!(
        query("payload.country=DE"),
        JsonQuery::equals("$.country", "DE").unwrap()
    );
    assert_eq!(
        query("payload.a-b['c d'][0]=\"1\""),
        JsonQuery::equals("$['a-b']['c d'][0]", "1").unwrap()
    );
    assert_eq!(
        query("payload.n=17"),
        JsonQuery::equals("$.n", 17_u64).unwrap()
    );
    assert_eq!(
        query("payload..0x=true"),
        JsonQuery::equals("$..['0x']", true).unwrap()
    );
    let shown = |text: &str| format!("{:?}", query(text));
    assert!(shown("payload.a=1,\"b\"").contains("In("));
    assert!(shown("payload.items[*].sku!=x,y").starts_with("And("));
    assert!(shown("payload[?@.a == ' ] ' && @.b]").contains("Exists"));
    assert!(shown("payload.a>=-1.5e3").contains("GreaterOrEqual"));
    assert!(shown("(payload.a~^(a|b)$)").contains("^(a|b)$"));
    assert!(shown(r#"payload.a~"\d+ \"x\"""#).contains(r#"\\d+ \"x\""#));
    assert!(shown("payload.tags:urgent").contains("Contains"));
    assert!(read("metadata.sourceSystem=swe-agent").metadata.is_some());
}

#[test]
fn parts_are_joined() {
    same("a b \"c d\"", "  \"c d\"  (b (a))");
    same("text:a text:\"c d\"", "a \"c d\"");
    same("type:a or type:b type:c", "(type:a) OR (type:b (type:c))");
    assert_eq!(read("type:a or type:b").any_of.len(), 2);
    assert_eq!(read("-type:a -(tag:x user:b) tag:y").not.len(), 2);
    assert_eq!(read("-draft").not, [read("draft")]);
    assert_eq!(read("user:a user:b").all_of, [read("user:b")]);
    assert_eq!(read("(a or b) (c or d)").all_of.len(), 1);
    assert_eq!(read("\"or\" order").text, TextQuery::words("or order").ok());
    let payload = read("payload.a payload.b (payload.c payload.d)").payload;
    assert!(matches!(payload, Some(JsonQuery::And(all)) if all.len() == 4));
}

#[test]
fn faults_of_fields_are_pointed_at() {
    let fields = "unknown field; there are type, aggregate, aggregateId, stream, id, tag, user, \
        correlation, causation, since, until, recordedSince, recordedUntil, sequence, text, \
        payload. and metadata.";
    check("a typ:b", "  ^^^", &format!("{fields} at byte 2"));
    check("ä http://x", "  ^^^^", &format!("{fields} at byte 3"));
    check(
        "type:",
        "     ^",
        "expected a value, in quotes if it is empty or has spaces at byte 5",
    );
    check(
        "type:a..b",
        "     ^^^^",
        "\"a..b\" is not an event type or pattern: a segment is empty at byte 5",
    );
    check(
        "stream:form",
        "       ^^^^",
        "expected a stream, such as form/f-1 at byte 7",
    );
    check(
        "tag:x id:a,b",
        "         ^",
        "expected an event id at byte 9",
    );
    check(
        "since:tomorrow",
        "      ^^^^^^^^",
        "expected a time, such as 2026-03-01 or 2026-03-01T09:30:00+01:00 at byte 6",
    );
    check(
        "sequence:0",
        "         ^",
        "expected a sequence number, such as 3, or a range, such as 3..7 at byte 9",
    );
}

#[test]
fn faults_of_members_and_parentheses_are_pointed_at() {
    check(
        "country=DE",
        "^^^^^^^",
        "members are written payload.name or metadata.name at byte 0",
    );
    check(
        "payload.=1",
        "        ^",
        "expected the name of a member, '*', or ['name'] at byte 8",
    );
    check(
        "payload['a'=1",
        "       ^",
        "the bracket is not closed at byte 7",
    );
    check(
        "payload.a~(",
        "          ^",
        "\"(\" is not a regular expression: unclosed group at byte 10",
    );
    check(
        "payload.a#1",
        "         ^",
        "expected one of = != > >= < <= ~ : after the path at byte 9",
    );
    check("(a b", "^", "the parenthesis is not closed at byte 0");
    check("a)", " ^", "expected a field, a word, or the end at byte 1");
    check(
        "a ()",
        "   ^",
        "expected something between '(' and ')' at byte 3",
    );
    check("a or", "    ^", "expected something after 'or' at byte 4");
    check(
        "a - b",
        "   ^",
        "expected what must not hold, right after '-' at byte 3",
    );
    check("a \"b", "  ^", "the quote is not closed at byte 2");
    check(
        "a !!",
        "  ^^",
        "the text has no word to search for at byte 2",
    );
    let deep = "(".repeat(40);
    let error = parse_text_form(&deep, &FilterLimits::DEFAULT).unwrap_err();
    assert_eq!((error.at, error.rule), (16, TextFormRule::Depth));
    let long = "a ".repeat(5000);
    assert!(parse_text_form(&long, &FilterLimits::DEFAULT).is_err());
}

#[test]
fn a_fault_in_a_long_text_is_drawn_where_it_is() {
    let text = format!(
        "{} typ:x and much more that nobody wants to see",
        "word ".repeat(50)
    );
    let error = parse_text_form(&text, &FilterLimits::DEFAULT).unwrap_err();
    let drawn = error.draw(&text);
    let (line, marks) = drawn.split_once('\n').unwrap();
    let at = marks.find('^').unwrap();
    let pointed: String = line.chars().skip(at).take(3).collect();
    assert_eq!(pointed, "typ");
    assert!(line.chars().count() < 100);
}

proptest! {
    #[test]
    fn any_text_is_a_filter_or_a_fault_with_a_place(text in "\\PC{0,60}|[a-z:.=<>~!\"()\\[\\]'* $?@,-]{0,60}") {
        match parse_text_form(&text, &FilterLimits::DEFAULT) {
            Ok(filter) => prop_assert!(filter.check(FilterLimits::DEFAULT).is_ok()),
            Err(error) => {
                prop_assert!(text.get(error.at..error.at + error.len).is_some());
                prop_assert!(error.draw(&text).contains('^'));
            }
        }
    }
}
