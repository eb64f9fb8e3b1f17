//! Many at once.

use std::collections::HashSet;

use factum_model::ErrorCode;
use factum_sessions::CloseInstance;
use tokio::task::JoinSet;

use crate::harness::{Place, emit};
use serde_json::json;

pub(crate) async fn fifty_instances_of_one_project_register_at_once(place: &Place) {
    let node = place.node().await;
    let other = place.beside(&node).await;
    let mut registering = JoinSet::new();
    for index in 0..50 {
        let sessions = if index % 2 == 0 { &node } else { &other }.sessions.clone();
        registering.spawn(async move {
            let input = serde_json::from_value(
                json!({ "project": "shop", "instance_type": "PS", "initial_context": { "n": index } }),
            );
            sessions.register_instance(input.unwrap()).await.unwrap().instance_id
        });
    }
    let ids: HashSet<String> = registering.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 50);
    let at = node.kill().await;
    other.stop().await;
    let node = place.open(at).await;
    for id in &ids {
        let state = node.replay(id).await;
        assert_eq!((state.event_count, state.project.as_str()), (1, "shop"));
    }
    let list = node
        .sessions
        .list_instances(Default::default())
        .await
        .unwrap();
    assert_eq!(
        (list.total_count, list.active_count),
        (50, 50),
        "none is half registered"
    );
}

pub(crate) async fn heartbeats_that_race_over_the_bound_make_one_checkpoint(place: &Place) {
    let node = place.node().await;
    let other = place.beside(&node).await;
    for round in 1..=10 {
        let id = node.register("shop").await;
        node.heartbeat(&id, 10.0).await.unwrap();
        let mut racing = JoinSet::new();
        for index in 0..16 {
            let node = if index % 2 == 0 { &node } else { &other };
            let (sessions, id) = (node.sessions.clone(), id.clone());
            racing.spawn(async move {
                let input = serde_json::from_value(
                    json!({ "instance_id": id, "context_percent": 80 + index % 5 }),
                );
                sessions
                    .heartbeat(input.unwrap())
                    .await
                    .unwrap()
                    .checkpoint_id
            });
        }
        let made: Vec<String> = racing.join_all().await.into_iter().flatten().collect();
        assert_eq!(made.len(), 1, "round {round}");
        assert_eq!(
            node.count(&id, "checkpoint_created").await,
            1,
            "round {round}"
        );
        assert_eq!(node.count(&id, "instance_heartbeat").await, 17);
    }
}

pub(crate) async fn events_that_race_with_the_end_come_before_it_or_are_refused(place: &Place) {
    let node = place.node().await;
    let other = place.beside(&node).await;
    for _ in 0..10 {
        let id = node.register("shop").await;
        let mut racing = JoinSet::new();
        for index in 0..16 {
            let node = if index % 2 == 0 { &node } else { &other };
            let (sessions, id) = (node.sessions.clone(), id.clone());
            racing.spawn(async move {
                if index == 7 {
                    let reason = None;
                    let close = CloseInstance {
                        instance_id: id,
                        reason,
                    };
                    return sessions.close_instance(close).await.map(|_| 0);
                }
                let data = json!({ "feature_name": "x", "requested_by": "ann" });
                let emitted = sessions.emit_event(emit(&id, "feature_requested", &data));
                emitted.await.map(|event| event.sequence_num)
            });
        }
        // The registration is there whoever wins.
        let mut last = 1;
        for done in racing.join_all().await {
            match done {
                Ok(sequence_num) => last = last.max(sequence_num),
                Err(error) => assert_eq!(error.code(), ErrorCode::InstanceClosed),
            }
        }
        let state = node.replay(&id).await;
        assert_eq!(state.last_event_type, "instance_closed");
        assert_eq!(state.sequence_num, last + 1, "nothing follows the end");
    }
}

pub(crate) async fn what_is_in_memory_is_what_a_replay_gives_after_any_race(place: &Place) {
    let node = place.node().await;
    let other = place.beside(&node).await;
    let id = node.register("shop").await;
    let mut racing = JoinSet::new();
    for index in 0..100_u32 {
        let node = if index % 2 == 0 { &node } else { &other };
        let (sessions, id) = (node.sessions.clone(), id.clone());
        racing.spawn(async move {
            let data = json!({ "commit_hash": format!("{index:07x}"), "message": "m" });
            let done = sessions
                .emit_event(emit(&id, "commit_created", &data))
                .await
                .unwrap();
            done.sequence_num
        });
    }
    let numbers: HashSet<u64> = racing.join_all().await.into_iter().collect();
    assert_eq!(numbers, (2..=101).collect());
    let expected = node.replay(&id).await;
    // The last one to come back has folded what came before it; the other node follows.
    for node in [&node, &other] {
        node.heartbeat(&id, 1.0).await.unwrap();
    }
    let replayed = node.replay(&id).await;
    assert_eq!(replayed.last_commit, expected.last_commit);
    assert_eq!(other.report(&id).await.state, replayed);
}
