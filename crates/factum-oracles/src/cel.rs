//! Expressions in CEL, compiled and asked of an event.

use factum_model::{JsonObject, NewEvent, RecordedEvent, StreamId};
use factum_query::{
    CelExpression, CelFailure, CelLimits, CelVerdict, Condition, Explanation, InvalidCel, Predicate,
};

use crate::events::recorded;

pub(crate) const SEEDS: &[&str] = &[
    "event.type == 'a.b' && event.payload.amount > 10.5 || !has(event.payload.x)\n{\"amount\":11}",
    "event.payload.items.exists(i, i.sku.matches('^[a-z]+$') && i.n in [1, 2u, 3.0])\n{\"items\":[{\"sku\":\"ab\",\"n\":2}]}",
    "event.payload.list.map(x, x * 2).filter(x, x > 2).all(x, x % 2 == 0) ? size(event.payload.list) > 1 : false // why\n{\"list\":[1,2,3]}",
    "timestamp(event.timestamp) < timestamp('2030-01-01T00:00:00Z') + duration('1h')\n&& event.metadata.tags.exists_one(t, t.startsWith(\"x\"))\n{}",
    "{'a': 1, \"b\": [null, true, b'\\x00']}['a'] / int(event.payload.zero) == 9223372036854775807 + 1\n{\"zero\":0}",
    "event.payload.a[event.payload.n].b['c d'] != dyn(1) || string(event.sequenceNumber).contains('1')\n{\"a\":[{\"b\":{\"c d\":1e999}}],\"n\":0}",
    "event.payload.a.map(x, event.payload.a.map(y, x + y)).size() > 0\n{\"a\":[\"aaaa\",\"bbbb\",\"cccc\",\"dddd\"]}",
];

/// An expression is refused with a place in its text; or it always says the same of an event, a
/// condition says so too, and its opposite says the opposite.
///
/// # Panics
/// When not.
pub fn cel(data: &[u8]) {
    let Some((text, event)) = parts(data) else {
        return;
    };
    let expression = match CelExpression::compile(&text, &CelLimits::DEFAULT) {
        Ok(expression) => expression,
        Err(error) => return is_in_the_text(&error, &text),
    };
    assert_eq!(expression.as_str(), text);
    let said = expression.evaluate(&event);
    assert_eq!(expression.evaluate(&event), said, "{text:?}");
    let condition = Condition::Is(Predicate::Cel(expression));
    match (condition.explain(&event), &said) {
        (Explanation::Matched, Ok(CelVerdict::True)) => {}
        (Explanation::NotMatched(reason), Ok(CelVerdict::Missing { key })) => {
            assert_eq!(reason.missing.as_ref(), Some(key), "{text:?}");
        }
        (Explanation::NotMatched(reason), Ok(CelVerdict::False)) => {
            assert_eq!(reason.missing, None, "{text:?}");
        }
        (Explanation::Failed { failure, .. }, Err(error)) => assert_eq!(&failure, error),
        (explanation, _) => panic!("{text:?} is {said:?}, and as a condition {explanation:?}"),
    }
    opposite(&text, &event, &said);
}

/// A comment at its end must not hide what stands behind the expression.
fn opposite(text: &str, event: &RecordedEvent, said: &Result<CelVerdict, CelFailure>) {
    let Ok(not) = CelExpression::compile(&format!("!(\n{text}\n)"), &CelLimits::DEFAULT) else {
        // It has one part more, and may be too large by that.
        return;
    };
    match (said, not.evaluate(event)) {
        (Ok(CelVerdict::True), Ok(CelVerdict::False))
        | (Ok(CelVerdict::False), Ok(CelVerdict::True))
        | (_, Err(CelFailure::Cost { .. }))
        | (Err(_), Err(_)) => {}
        (Ok(CelVerdict::Missing { key }), Ok(CelVerdict::Missing { key: other })) => {
            assert_eq!(*key, other, "{text:?}");
        }
        (said, other) => panic!("{text:?} is {said:?}, and its opposite {other:?}"),
    }
}

fn is_in_the_text(error: &InvalidCel, text: &str) {
    assert!(!error.rule.is_empty(), "{error}");
    let line = error.line.checked_sub(1);
    let line = line.and_then(|index| text.split('\n').nth(index));
    let n_characters = line.unwrap_or_else(|| panic!("{error}")).chars().count();
    assert!((1..=n_characters + 1).contains(&error.column), "{error}");
}

/// The payload begins with the last line that begins with a brace, where there is one.
fn parts(data: &[u8]) -> Option<(String, RecordedEvent)> {
    let text = std::str::from_utf8(data).ok()?;
    let (expression, payload) = match text.rsplit_once("\n{") {
        Some((expression, payload)) => (expression, format!("{{{payload}")),
        None => (text, "{}".to_owned()),
    };
    let payload = JsonObject::parse(payload).unwrap_or_default();
    let stream = StreamId::new("a".parse().unwrap(), "1".parse().unwrap());
    let mut event = NewEvent::new("a.b".parse().unwrap(), stream, payload);
    event.metadata = JsonObject::parse(r#"{"tags":["x"],"userId":"u"}"#).unwrap();
    Some((expression.to_owned(), recorded(&event)))
}
