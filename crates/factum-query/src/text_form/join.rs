//! Makes one filter out of several.

use crate::filter::{Filter, TimeRange};
use crate::json::JsonQuery;

/// Returns the filter that is met where one of these is.
pub(super) fn any_of(mut any: Vec<Filter>) -> Filter {
    match any.pop() {
        Some(only) if any.is_empty() => only,
        last => {
            any.extend(last);
            Filter {
                any_of: any,
                ..Filter::default()
            }
        }
    }
}

/// Returns the filter that is met where all of these are. It is as flat as it can be.
pub(super) fn all_of(all: Vec<Filter>) -> Filter {
    let mut filters = all.into_iter();
    let mut joined = filters.next().unwrap_or_default();
    for filter in filters {
        if collide(&joined, &filter) {
            joined.all_of.push(filter);
        } else {
            join(&mut joined, filter);
        }
    }
    joined
}

/// Tells whether both ask for something that a filter has one place for.
fn collide(left: &Filter, right: &Filter) -> bool {
    fn both<T>(left: &[T], right: &[T]) -> bool {
        !left.is_empty() && !right.is_empty()
    }
    let times = |left: TimeRange, right: TimeRange| {
        left.from.is_some() && right.from.is_some() || left.to.is_some() && right.to.is_some()
    };
    both(&left.event_types, &right.event_types)
        || both(&left.aggregate_types, &right.aggregate_types)
        || both(&left.aggregate_ids, &right.aggregate_ids)
        || both(&left.streams, &right.streams)
        || both(&left.ids, &right.ids)
        || both(&left.any_of, &right.any_of)
        || left.correlation_id.is_some() && right.correlation_id.is_some()
        || left.causation_id.is_some() && right.causation_id.is_some()
        || left.user_id.is_some() && right.user_id.is_some()
        || times(left.timestamp, right.timestamp)
        || times(left.recorded_at, right.recorded_at)
        || !left.sequence.is_open() && !right.sequence.is_open()
}

fn join(left: &mut Filter, right: Filter) {
    left.event_types.extend(right.event_types);
    left.aggregate_types.extend(right.aggregate_types);
    left.aggregate_ids.extend(right.aggregate_ids);
    left.streams.extend(right.streams);
    left.ids.extend(right.ids);
    left.tags.extend(right.tags);
    left.any_of.extend(right.any_of);
    left.all_of.extend(right.all_of);
    left.not.extend(right.not);
    left.correlation_id = left.correlation_id.take().or(right.correlation_id);
    left.causation_id = left.causation_id.or(right.causation_id);
    left.user_id = left.user_id.take().or(right.user_id);
    let times = |left: TimeRange, right: TimeRange| TimeRange {
        from: left.from.or(right.from),
        to: left.to.or(right.to),
    };
    left.timestamp = times(left.timestamp, right.timestamp);
    left.recorded_at = times(left.recorded_at, right.recorded_at);
    if left.sequence.is_open() {
        left.sequence = right.sequence;
    }
    left.payload = queries(left.payload.take(), right.payload);
    left.metadata = queries(left.metadata.take(), right.metadata);
    left.text = match (left.text.take(), right.text) {
        (Some(left), Some(right)) => Some(left.and(right)),
        (left, right) => left.or(right),
    };
}

fn queries(left: Option<JsonQuery>, right: Option<JsonQuery>) -> Option<JsonQuery> {
    match (left, right) {
        (Some(JsonQuery::And(mut all)), Some(right)) => {
            match right {
                JsonQuery::And(inner) => all.extend(inner),
                other => all.push(other),
            }
            Some(JsonQuery::And(all))
        }
        (Some(left), Some(JsonQuery::And(mut all))) => {
            all.insert(0, left);
            Some(JsonQuery::And(all))
        }
        (Some(left), Some(right)) => Some(JsonQuery::And(vec![left, right])),
        (left, right) => left.or(right),
    }
}
