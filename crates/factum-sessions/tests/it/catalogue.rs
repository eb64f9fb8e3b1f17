//! Every type and every refusal.

use factum_engine::{Catalogue, CatalogueGroup};
use factum_model::ErrorCode;
use factum_sessions::{CloseInstance, ClosedInstance, SessionError, Sessions};
use serde_json::{Value, json};

use crate::harness::{Node, Place};

/// Returns the 23 types with an example of each.
fn types() -> Vec<(String, Value, Vec<String>)> {
    Catalogue::shipped()
        .entries()
        .filter(|entry| entry.group() == CatalogueGroup::AgentSession)
        .map(|entry| {
            let example = serde_json::from_str(entry.example()).unwrap();
            let required = entry.required_fields().map(str::to_owned).collect();
            (entry.event_type().to_owned(), example, required)
        })
        .collect()
}

pub(crate) async fn every_type_is_taken_whole_and_refused_without_each_required_field(
    place: &Place,
) {
    let node = place.node().await;
    let id = node.register("shop").await;
    let types = types();
    assert_eq!(types.len(), 23);
    for (event_type, example, required) in &types {
        node.emit(&id, event_type, example.clone()).await.unwrap();
        let least: serde_json::Map<String, Value> = example
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .filter(|(field, _)| required.contains(field))
            .collect();
        node.emit(&id, event_type, least.clone().into())
            .await
            .unwrap();
        for missing in required {
            let mut data = least.clone();
            data.remove(missing);
            let error = node.emit(&id, event_type, data.into()).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidEvent, "{event_type}");
            assert_eq!(error.name(), "InvalidEvent");
            assert_eq!(error.field(), Some(missing.as_str()), "{event_type}");
        }
    }
    let state = node.replay(&id).await;
    assert_eq!(node.report(&id).await.state, state);
    for (event_type, _, _) in &types {
        assert!(state.event_counts[event_type] >= 2, "{event_type}");
    }
}

pub(crate) async fn further_fields_are_kept_byte_for_byte(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    let text = r#"{ "context_percent": 42.50,  "x": [1.00, 123456789012345678901234567890] }"#;
    let input = format!(
        r#"{{"instance_id":"{id}","event_type":"instance_heartbeat","event_data":{text}}}"#
    );
    node.sessions
        .emit_event(serde_json::from_str(&input).unwrap())
        .await
        .unwrap();
    let latest = serde_json::from_value(json!({ "instance_id": id, "limit": 1 })).unwrap();
    let latest = node.sessions.latest_events(latest).await.unwrap();
    assert_eq!(latest.events[0].event_data.get(), text);
}

pub(crate) async fn each_mistake_has_an_error_of_its_own(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    let closed = node.register("shop").await;
    close(&node, &closed).await.unwrap();
    let heartbeat = |context: Value| json!({ "context_percent": context });
    let beat = "instance_heartbeat";
    for (id, event_type, data, code) in [
        (
            "shop-PS-000000",
            beat,
            heartbeat(json!(1)),
            ErrorCode::InstanceNotFound,
        ),
        (
            "shop",
            beat,
            heartbeat(json!(1)),
            ErrorCode::InvalidInstanceId,
        ),
        (&id, "instance_lost", json!({}), ErrorCode::UnknownEventType),
        (&id, "form.created", json!({}), ErrorCode::UnknownEventType),
        (
            &id,
            "instance_closed",
            json!({}),
            ErrorCode::UnknownEventType,
        ),
        (
            &closed,
            beat,
            heartbeat(json!(1)),
            ErrorCode::InstanceClosed,
        ),
        (
            &id,
            beat,
            heartbeat(json!(101)),
            ErrorCode::ContextOutOfRange,
        ),
        (
            &id,
            beat,
            heartbeat(json!(-1)),
            ErrorCode::ContextOutOfRange,
        ),
        (&id, beat, heartbeat(json!("x")), ErrorCode::InvalidEvent),
    ] {
        let error = node.emit(id, event_type, data).await.unwrap_err();
        assert_eq!(error.code(), code, "{id} {event_type}: {error}");
    }
    assert_eq!(
        node.count(&id, beat).await,
        0,
        "what was refused left nothing"
    );
}

pub(crate) async fn heartbeats_and_ends_are_refused_in_the_same_words(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    for percent in [101.0, -0.1, f64::NAN] {
        let error = node.heartbeat(&id, percent).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ContextOutOfRange);
        assert_eq!(
            (error.name(), error.field()),
            ("InvalidEvent", Some("context_percent"))
        );
    }
    close(&node, &id).await.unwrap();
    let error = node.heartbeat(&id, 1.0).await.unwrap_err();
    assert_eq!(
        (error.code(), error.name()),
        (ErrorCode::InstanceClosed, "InstanceClosed")
    );
    let error = close(&node, &id).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InstanceClosed);
    let error = close(&node, "shop-PS-000000").await.unwrap_err();
    assert_eq!(
        (error.code(), error.name()),
        (ErrorCode::InstanceNotFound, "InstanceNotFound")
    );
    let error = close(&node, "x").await.unwrap_err();
    assert_eq!(
        (error.code(), error.name()),
        (ErrorCode::InvalidInstanceId, "InvalidInstanceId")
    );
    node.stop().await;
}

async fn close(node: &Node, id: &str) -> Result<ClosedInstance, SessionError> {
    let close = CloseInstance {
        instance_id: id.to_owned(),
        reason: None,
    };
    node.sessions.close_instance(close).await
}

pub(crate) async fn a_store_that_is_closed_is_a_failure_of_the_store(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    node.engine.close().await;
    let error = node.heartbeat(&id, 1.0).await.unwrap_err();
    assert_eq!(error.name(), "EventStoreError");
    assert!(matches!(error, SessionError::EventStore(_)));
}

pub(crate) async fn metadata_name_the_cause_and_are_checked(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    let emit = async |metadata: Value| {
        let input = json!({
            "instance_id": id, "event_type": "feature_requested", "metadata": metadata,
            "event_data": { "feature_name": "x", "requested_by": "ann" },
        });
        let input = serde_json::from_value(input).unwrap();
        node.sessions.emit_event(input).await
    };
    let first = emit(json!({ "tool": "x" })).await.unwrap();
    let second = emit(json!({ "parent_event_id": first.event_id }))
        .await
        .unwrap();
    let third = emit(json!({ "parent_event_id": second.event_id }))
        .await
        .unwrap();
    let tree = node.sessions.event_tree(&first.event_id).await.unwrap();
    let shape: Vec<_> = tree
        .tree
        .iter()
        .map(|node| (node.depth, &node.event.event_id))
        .collect();
    assert_eq!(
        shape,
        [
            (0, &first.event_id),
            (1, &second.event_id),
            (2, &third.event_id)
        ]
    );
    let chain = node.sessions.parent_chain(&third.event_id).await.unwrap();
    let ids: Vec<_> = chain.chain.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids, [&third.event_id, &second.event_id, &first.event_id]);
    for (metadata, field) in [
        (
            json!({ "parent_event_id": "x" }),
            "metadata.parent_event_id",
        ),
        (json!({ "correlation_id": "" }), "metadata.correlation_id"),
        (json!({ "tags": [1] }), "metadata"),
    ] {
        let error = emit(metadata).await.unwrap_err();
        assert_eq!(
            (error.code(), error.field()),
            (ErrorCode::InvalidEvent, Some(field))
        );
    }
    let error = node.sessions.event_tree("x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[test]
fn the_types_are_listed_by_category() {
    let all = Sessions::list_event_types(None).unwrap();
    assert_eq!(all.total_count, 23);
    let counts = [
        ("instance", 3),
        ("epic", 3),
        ("testing", 5),
        ("git", 3),
        ("deployment", 3),
        ("work_state", 3),
        ("planning", 3),
    ];
    for (category, expected) in counts {
        let listed = Sessions::list_event_types(Some(category)).unwrap();
        assert_eq!(listed.total_count, expected, "{category}");
    }
    assert!(Sessions::list_event_types(Some("record")).is_err());
    let epic = &Sessions::list_event_types(Some("epic"))
        .unwrap()
        .event_types[1];
    assert_eq!(epic.r#type, "epic_completed");
    assert_eq!(
        epic.required_fields,
        ["epic_id", "duration_hours", "files_changed", "tests_passed"]
    );
    assert_eq!(
        epic.optional_fields,
        ["pr_url", "validation_confidence", "issues_encountered"]
    );
}
