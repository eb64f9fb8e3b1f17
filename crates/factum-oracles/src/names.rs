//! Names and patterns over event types.

use factum_model::{AggregateId, AggregateType, CorrelationId, EventId, EventType};
use factum_query::TypePattern;

/// Whatever is a name is given back as it came; a pattern matches what a plain reading of its
/// definition says.
///
/// The input is lines; each is tried as every kind of name, and each as a pattern against all.
///
/// # Panics
/// When not.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.split('\n').take(16).collect();
    for line in &lines {
        if let Ok(name) = line.parse::<EventType>() {
            assert_eq!(name.as_str(), *line);
            assert!((1..=100).contains(&line.len()), "{line:?}");
            // Every event type is the pattern of itself.
            let pattern: TypePattern = line.parse().unwrap();
            assert!(pattern.is_exact() && pattern.matches(line), "{line:?}");
        }
        if let Ok(name) = line.parse::<AggregateType>() {
            assert_eq!(name.as_str(), *line);
            assert!((1..=50).contains(&line.chars().count()), "{line:?}");
        }
        if let Ok(name) = line.parse::<AggregateId>() {
            assert_eq!(name.as_str(), *line);
            assert!((1..=255).contains(&line.chars().count()), "{line:?}");
        }
        if let Ok(name) = line.parse::<CorrelationId>() {
            assert_eq!(name.as_str(), *line);
            assert!((1..=128).contains(&line.chars().count()), "{line:?}");
        }
        if let Ok(id) = line.parse::<EventId>() {
            // Other spellings of a UUID are understood; there is one that is given back.
            let canonical = id.to_string();
            assert_eq!(canonical.parse(), Ok(id));
            assert_eq!(canonical.len(), 36);
        }
        patterns(line, &lines);
    }
}

fn patterns(line: &str, types: &[&str]) {
    let Ok(pattern) = line.parse::<TypePattern>() else {
        return;
    };
    assert_eq!(pattern.as_str(), line);
    for event_type in types {
        if event_type.parse::<EventType>().is_ok() {
            let segments: Vec<&str> = event_type.split('.').collect();
            let wanted: Vec<&str> = line.split('.').collect();
            assert_eq!(
                pattern.matches(event_type),
                plainly(&wanted, &segments),
                "{line:?} against {event_type:?}"
            );
        }
    }
}

/// `*` is one segment, a final `>` is one or more.
fn plainly(wanted: &[&str], segments: &[&str]) -> bool {
    match (wanted, segments) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        ([first, wanted @ ..], [segment, segments @ ..]) => {
            (*first == "*" || first == segment) && plainly(wanted, segments)
        }
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}
