use factum_model::{
    EventId, EventOrigin, Position, RecordedFields, SchemaVersion, SequenceNumber, Timestamp,
};

use super::*;

fn event(payload: &str) -> RecordedEvent {
    RecordedEvent::new(RecordedFields {
        id: EventId::from_bytes([1; 16]),
        position: Position::FIRST,
        sequence_number: SequenceNumber::FIRST,
        recorded_at: Timestamp::from_micros(20).unwrap(),
        timestamp: "2026-01-02T03:04:05.5Z".parse().unwrap(),
        schema_version: SchemaVersion::FIRST,
        origin: EventOrigin::default(),
        causation_id: None,
        event_type: "form.submitted",
        aggregate_type: "form",
        aggregate_id: "f-1",
        correlation_id: Some("case"),
        metadata: r#"{"userId":"ann","tags":["x","y"]}"#,
        payload,
    })
}

const PAYLOAD: &str = r#"{"amount":12.50,"count":3,"big":18446744073709551615,"huge":1e400,
    "name":"A\u00e9\n","list":[1,2,[3]],"rows":[{"id":"a","n":1},{"id":"b","n":2}],"none":null,
    "ok":true,"first name":"x"}"#;

fn evaluate(text: &str) -> Result<CelVerdict, CelFailure> {
    let expression = CelExpression::compile(text, &CelLimits::DEFAULT);
    expression.unwrap().evaluate(&event(PAYLOAD))
}

fn refused(text: &str) -> String {
    let error = CelExpression::compile(text, &CelLimits::DEFAULT).unwrap_err();
    format!("{}:{} {}", error.line, error.column, error.rule)
}

#[test]
fn expressions_see_the_event_as_it_is_written() {
    for holds in [
        "event.type == 'form.submitted' && event.type.startsWith('form.')",
        "event.aggregateType + '/' + event.aggregateId == 'form/f-1'",
        "event.payload.amount > 12 && event.payload.amount == 12.5",
        "event.payload.count == 3 && event.payload.count == 3.0 && type(event.payload.count) == int",
        "event.payload.big == 18446744073709551615u && event.payload.big > 18446744073709551614u",
        "event.payload.name == 'A\\u00e9\\n'",
        "event.payload.none == null && event.payload.ok",
        "event.payload['first name'] == 'x'",
        "'amount' in event.payload && !('other' in event.payload)",
        "has(event.payload.amount) && !has(event.payload.other)",
        "event.payload.?other.orValue(7) == 7",
        "size(event.payload.list) == 3 && event.payload.list[2][0] == 3",
        "event.payload.list == [1, 2, [3]] && [1, 2, [3]] == event.payload.list",
        "[1, 2, [4]] != event.payload.list && [3] in event.payload.list",
        "event.payload.list in [[1, 2, [3]]] && {'id': 'a', 'n': 1} in event.payload.rows",
        "event.payload.rows[0] == {'n': 1, 'id': 'a'}",
        "event.payload.rows.exists(row, row.id == 'b' && row.n == 2)",
        "event.payload.rows.map(row, row.n) == [1, 2]",
        "event.payload.rows.all(row, row.n > 0)",
        "event.metadata.tags.exists_one(tag, tag == 'x') && 'y' in event.metadata.tags",
        "event.payload.exists(key, key == 'count')",
        "event.timestamp > timestamp('2026-01-01T00:00:00Z')",
        "event.timestamp - timestamp('2026-01-02T03:04:05Z') == duration('500ms')",
        "event.timestamp.getFullYear() == 2026",
        "event.sequenceNumber == 1 && event.position == 1 && event.version == 1",
        "event.correlationId == 'case' && !has(event.causationId)",
        "event.payload.name.matches('^A.') && !event.type.matches('x{3}')",
    ] {
        assert_eq!(evaluate(holds), Ok(CelVerdict::True), "{holds}");
    }
}

#[test]
fn what_is_missing_does_not_hold_and_is_named() {
    let missing = |key: &str| {
        Ok(CelVerdict::Missing {
            key: key.to_owned(),
        })
    };
    assert_eq!(evaluate("event.payload.other > 1"), missing("other"));
    assert_eq!(evaluate("event.causationId == ''"), missing("causationId"));
    assert_eq!(
        evaluate("event.payload.other > 1 || true"),
        Ok(CelVerdict::True)
    );
    assert_eq!(evaluate("event.payload.count > 3"), Ok(CelVerdict::False));
}

#[test]
fn what_cannot_be_said_is_a_failure() {
    let failure = |text: &str| evaluate(text).unwrap_err().to_string();
    assert!(failure("event.payload.name > 1").contains("no matching overload"));
    assert!(failure("1 / (event.payload.count - 3) == 1").contains("Division by zero"));
    assert_eq!(
        failure("event.payload.count"),
        "the expression has a value of type int, not bool"
    );
    assert!(failure("event.payload.list[7] == 1").contains("out of bounds"));
}

#[test]
fn errors_show_the_place() {
    assert_eq!(
        refused("event.type ==\n  evnt.type"),
        "2:3 there is no \"evnt\"; an expression knows \"event\""
    );
    assert_eq!(
        refused("event.type.lower()"),
        "1:17 there is no function \"lower\""
    );
    assert!(refused("event.type == ").starts_with("1:1"));
    assert_eq!(
        refused("event.type.matches(event.type)"),
        "1:25 the regular expression of matches must be written out"
    );
    assert!(refused("event.type.matches('(')").contains("regular expression"));
    assert!(refused("a.b.C{x: 1}").contains("messages"));
    assert!(refused("[1].exists(x, y == x)").contains("\"y\""));
}

#[test]
fn the_cost_is_bounded_before_it_arises() {
    let lists = "[1,2,3,4,5,6,7,8,9,10]";
    let nested = (0..6).fold("true".to_owned(), |inner, level| {
        format!("{lists}.all(x{level}, {inner})")
    });
    assert!(refused(&nested).contains("steps"));
    let loops = "event.payload.l.all(a, a.all(b, b.all(c, true)))";
    assert!(refused(loops).contains("loops over lists"));
    assert!(refused(&"(".repeat(200)).starts_with("1:"));
    assert!(refused(&format!("1{}", " + 1".repeat(500))).contains("deeply"));
    assert!(refused(&"x".repeat(5000)).contains("exceeds the limit of 4096"));

    let row = r#"{"a":1},"#.repeat(2000);
    let large = event(&format!(
        r#"{{"rows":[{row}0],"text":"{}"}}"#,
        "x".repeat(200_000)
    ));
    let evaluate = |text: &str| {
        let expression = CelExpression::compile(text, &CelLimits::DEFAULT).unwrap();
        expression.evaluate(&large)
    };
    let once = evaluate("event.payload.rows.filter(row, row == 0).size() == 1");
    assert_eq!(once, Ok(CelVerdict::True));
    let squared = "event.payload.rows.all(a, event.payload.rows.all(b, a != 'x' && b != 'x'))";
    assert!(matches!(
        evaluate(squared),
        Err(CelFailure::Cost { what: "steps", .. })
    ));
    let bytes = "event.payload.rows.map(row, event.payload.text + 'x').size() > 0";
    assert!(matches!(
        evaluate(bytes),
        Err(CelFailure::Cost { what: "bytes", .. })
    ));
}

#[test]
fn a_deep_expression_fits_a_small_stack() {
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let text = format!(
            "{}event.payload.count == 3{}",
            "!(!(".repeat(10),
            "))".repeat(10)
        );
        assert_eq!(evaluate(&text), Ok(CelVerdict::True));
        let sum = format!("1{} > 0", " + 1".repeat(36));
        assert_eq!(evaluate(&sum), Ok(CelVerdict::True));
    });
    worker.unwrap().join().unwrap();
}
