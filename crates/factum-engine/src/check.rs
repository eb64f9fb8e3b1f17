//! What is checked of an append before the store sees it.
//!
//! Everything here looks at the request alone; what depends on the log is checked by the store,
//! where nobody can come between the check and the append.

use std::collections::HashSet;

use factum_model::{
    KnownMetadata, LimitExceeded, SYSTEM_AGGREGATE_TYPE, check_event, encoded_bytes,
};
use factum_store::{AppendError, AppendRequest};

use crate::catalogue::Catalogue;
use crate::engine::EngineOptions;
use crate::error::EngineError;

/// Checks sizes, metadata, expectations and condition.
pub(crate) fn request(request: &AppendRequest, options: &EngineOptions) -> Result<(), EngineError> {
    let limits = &options.limits;
    if request.events.is_empty() {
        return Err(AppendError::Empty.into());
    }
    within(
        "number of events",
        limits.request_events_max,
        request.events.len(),
    )?;
    let mut bytes = 0_usize;
    for (index, event) in request.events.iter().enumerate() {
        check_event(event, limits).map_err(|source| EngineError::EventLimit { index, source })?;
        bytes = bytes.saturating_add(encoded_bytes(event));
        KnownMetadata::read(&event.metadata)
            .map_err(|source| EngineError::Metadata { index, source })?;
    }
    within("request size in bytes", limits.request_bytes_max, bytes)?;
    if let Some(condition) = &request.condition {
        condition.filter.check(options.filter_limits)?;
        condition.filter.check_condition()?;
    }
    expectations(request)
}

fn within(what: &'static str, limit: usize, actual: usize) -> Result<(), LimitExceeded> {
    if actual > limit {
        return Err(LimitExceeded {
            what,
            limit,
            actual,
        });
    }
    Ok(())
}

fn expectations(request: &AppendRequest) -> Result<(), EngineError> {
    let mut seen = HashSet::new();
    for expectation in &request.expected {
        let stream = &expectation.stream;
        if !seen.insert(stream) {
            return Err(EngineError::DuplicateExpectation {
                stream: stream.clone(),
            });
        }
        if !request.events.iter().any(|event| event.stream == *stream) {
            return Err(EngineError::UnusedExpectation {
                stream: stream.clone(),
            });
        }
    }
    Ok(())
}

/// Refuses names that belong to the engine.
pub(crate) fn names(request: &AppendRequest) -> Result<(), EngineError> {
    for (index, event) in request.events.iter().enumerate() {
        let event_type = event.event_type.as_str();
        let (field, name) = if event.stream.is_system() {
            ("aggregateType", event.stream.aggregate_type.as_str())
        } else if is_reserved(event_type) {
            ("type", event_type)
        } else {
            continue;
        };
        return Err(EngineError::ReservedName {
            index,
            field,
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Refuses the streams of agent instances.
pub(crate) fn instances(request: &AppendRequest) -> Result<(), EngineError> {
    let mut events = request.events.iter().enumerate();
    match events.find(|(_, event)| event.stream.is_of_instance()) {
        None => Ok(()),
        Some((index, event)) => Err(EngineError::InstanceStream {
            index,
            instance_id: event.stream.aggregate_id.clone(),
        }),
    }
}

/// Refuses event types that are not in the catalogue.
pub(crate) fn types(request: &AppendRequest) -> Result<(), EngineError> {
    let catalogue = Catalogue::shipped();
    for (index, event) in request.events.iter().enumerate() {
        let event_type = event.event_type.as_str();
        if catalogue.entry(event_type).is_none() {
            return Err(EngineError::UnknownEventType {
                index,
                event_type: event_type.to_owned(),
            });
        }
    }
    Ok(())
}

fn is_reserved(event_type: &str) -> bool {
    event_type
        .strip_prefix(SYSTEM_AGGREGATE_TYPE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use factum_model::{ExpectedVersion, JsonObject, NewEvent, StreamId};
    use factum_store::StreamExpectation;

    use super::*;

    fn event(event_type: &str, aggregate_type: &str) -> NewEvent {
        NewEvent::new(
            event_type.parse().unwrap(),
            StreamId::new(aggregate_type.parse().unwrap(), "x".parse().unwrap()),
            JsonObject::empty(),
        )
    }

    fn of(events: Vec<NewEvent>) -> AppendRequest {
        AppendRequest {
            events,
            ..AppendRequest::default()
        }
    }

    fn check(asked: &AppendRequest, expected: &str) {
        let error = request(asked, &EngineOptions::default())
            .and_then(|()| names(asked))
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_names_of_the_engine_are_refused() {
        check(
            &of(vec![event("a", "b"), event("a", "factum")]),
            "event 1: aggregateType \"factum\" belongs to the engine",
        );
        check(
            &of(vec![event("factum.key.created", "b")]),
            "event 0: type \"factum.key.created\" belongs to the engine",
        );
        check(
            &of(vec![event("factum", "b")]),
            "event 0: type \"factum\" belongs to the engine",
        );
        assert!(names(&of(vec![event("factum-x.y", "factum2")])).is_ok());
    }

    #[test]
    fn streams_of_instances_are_refused_and_others_of_their_type_are_not() {
        let of_instance = |aggregate_type: &str, id: &str| {
            let mut beat = event("instance_heartbeat", aggregate_type);
            beat.stream.aggregate_id = id.parse().unwrap();
            instances(&of(vec![event("a", "b"), beat]))
        };
        for id in ["shop-PS-0a1b2c", "a-b-MS-ffffff"] {
            let error = of_instance("agent_session", id).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "event 1: the stream agent_session/{id} is written by agent sessions alone"
                )
            );
            assert!(of_instance("agent-session", id).is_ok());
        }
        for id in ["shop-PS-0a1b2", "shop-XS-0a1b2c", "marshmallow-1867~2"] {
            assert!(of_instance("agent_session", id).is_ok(), "{id}");
        }
    }

    #[test]
    fn a_strict_catalogue_refuses_other_types() {
        let known = event("form.created", "form");
        assert!(types(&of(vec![known.clone(), event("epic_started", "x")])).is_ok());
        let error = types(&of(vec![known, event("form.painted", "form")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "event 1: type \"form.painted\" is not in the catalogue, which is strict"
        );
    }

    #[test]
    fn sizes_and_metadata_are_checked() {
        check(&of(Vec::new()), "request has no events");
        check(
            &of(vec![event("a", "b"); 1001]),
            "number of events of 1001 exceeds the limit of 1000",
        );
        let tagged = NewEvent {
            metadata: JsonObject::parse(r#"{"tags":[1]}"#).unwrap(),
            ..event("a", "b")
        };
        check(
            &of(vec![event("a", "b"), tagged]),
            "event 1: metadata /tags/0 must be an array of at most 64 texts of 1 to 255 characters",
        );
    }

    #[test]
    fn a_stream_is_expected_once_and_only_if_it_is_written() {
        let expected = |id: &str| StreamExpectation {
            stream: StreamId::new("b".parse().unwrap(), id.parse().unwrap()),
            version: ExpectedVersion::Any,
        };
        let mut request = of(vec![event("a", "b")]);
        request.expected = vec![expected("x"), expected("x")];
        check(&request, "two expected versions for stream b/x");
        request.expected = vec![expected("y")];
        check(
            &request,
            "expected version for stream b/y, of which the request has no event",
        );
    }
}
