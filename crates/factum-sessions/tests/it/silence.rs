//! Silence: found once, by an event, whatever happens to the server.

use factum_sessions::{InstanceStatus, LatestEvents};

use crate::harness::Place;

pub(crate) async fn a_silent_instance_becomes_stale_once_and_a_heartbeat_revives_it(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    node.heartbeat(&id, 5.0).await.unwrap();
    node.advance(119);
    assert_eq!(node.sessions.sweep().await.unwrap(), 0);
    node.advance(1);
    // It counts as stale at once, whether or not that is recorded yet.
    assert_eq!(
        node.report(&id).await.instance.status,
        InstanceStatus::Stale
    );
    assert_eq!(node.sessions.sweep().await.unwrap(), 1);
    node.advance(600);
    assert_eq!(node.sessions.sweep().await.unwrap(), 0);
    assert_eq!(node.count(&id, "instance_stale").await, 1);
    let stale = node
        .sessions
        .list_stale_instances(Some("shop"))
        .await
        .unwrap();
    assert_eq!(
        (stale.total_count, stale.instances[0].minutes_stale),
        (1, 12)
    );
    assert_eq!(
        node.sessions
            .list_stale_instances(Some("x"))
            .await
            .unwrap()
            .total_count,
        0
    );

    let answer = node.heartbeat(&id, 6.0).await.unwrap();
    assert!(answer.stale);
    assert_eq!(
        (answer.status, answer.age_seconds),
        (InstanceStatus::Active, 720)
    );
    assert!(!node.heartbeat(&id, 6.0).await.unwrap().stale);
    node.advance(120);
    assert_eq!(node.sessions.sweep().await.unwrap(), 1, "another silence");
    assert_eq!(node.count(&id, "instance_stale").await, 2);
}

pub(crate) async fn the_event_says_since_when_and_names_the_last_heartbeat_as_its_cause(
    place: &Place,
) {
    let node = place.node().await;
    let id = node.register("shop").await;
    node.advance(130);
    node.sessions.sweep().await.unwrap();
    let latest = LatestEvents {
        instance_id: id,
        limit: Some(2),
    };
    let events = node.sessions.latest_events(latest).await.unwrap().events;
    let data: serde_json::Value = serde_json::from_str(events[0].event_data.get()).unwrap();
    assert_eq!(data["last_heartbeat"], "2026-11-21T09:00:00.000000Z");
    assert_eq!(data["age_seconds"], 130);
    assert_eq!(
        events[0].parent_event_id.as_ref(),
        Some(&events[1].event_id)
    );
}

pub(crate) async fn a_server_that_dies_before_it_finds_out_finds_out_after_its_start_and_once(
    place: &Place,
) {
    let node = place.node().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(node.register("shop").await);
    }
    node.advance(100);
    let mut at = node.kill().await;
    for restart in 0..3 {
        let node = place.open(at).await;
        node.advance(50);
        // The overview waits until the log is read.
        node.sessions
            .list_instances(Default::default())
            .await
            .unwrap();
        let found = node.sessions.sweep().await.unwrap();
        assert_eq!(found, if restart == 0 { 5 } else { 0 });
        for id in &ids {
            assert_eq!(node.count(id, "instance_stale").await, 1);
        }
        at = node.kill().await;
    }
}

pub(crate) async fn several_nodes_that_look_at_once_record_one_silence_once(place: &Place) {
    let node = place.node().await;
    let nodes = [
        place.beside(&node).await,
        place.beside(&node).await,
        place.beside(&node).await,
    ];
    for round in 1..=5 {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(node.register("shop").await);
        }
        node.advance(200);
        for node in &nodes {
            for id in &ids {
                node.report(id).await;
            }
        }
        let [a, b, c] = &nodes;
        let found = tokio::join!(
            node.sessions.sweep(),
            a.sessions.sweep(),
            b.sessions.sweep(),
            c.sessions.sweep()
        );
        let found = [found.0, found.1, found.2, found.3].map(Result::unwrap);
        assert_eq!(found.iter().sum::<usize>(), 10, "round {round}");
        for id in &ids {
            assert_eq!(node.count(id, "instance_stale").await, 1, "round {round}");
        }
    }
}

pub(crate) async fn a_heartbeat_that_races_with_the_sweep_leaves_no_false_silence(place: &Place) {
    let node = place.node().await;
    let other = place.beside(&node).await;
    for _ in 0..20 {
        let id = node.register("shop").await;
        other.report(&id).await;
        node.advance(121);
        let (beat, swept) = tokio::join!(other.heartbeat(&id, 3.0), node.sessions.sweep());
        beat.unwrap();
        swept.unwrap();
        let state = node.replay(&id).await;
        let stale = state
            .event_counts
            .get("instance_stale")
            .copied()
            .unwrap_or(0);
        assert!(stale <= 1);
        // Whichever came first: the heartbeat is the last word.
        assert_eq!(state.status, InstanceStatus::Active);
        node.heartbeat(&id, 3.0).await.unwrap();
    }
}

pub(crate) async fn closed_instances_are_not_silent(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    let close = factum_sessions::CloseInstance {
        instance_id: id.clone(),
        reason: Some("done".to_owned()),
    };
    node.sessions.close_instance(close).await.unwrap();
    node.advance(1000);
    assert_eq!(node.sessions.sweep().await.unwrap(), 0);
    assert_eq!(
        node.report(&id).await.instance.status,
        InstanceStatus::Closed
    );
}

pub(crate) async fn a_node_that_dies_between_heartbeat_and_detection_leaves_it_to_the_others(
    place: &Place,
) {
    let first = place.node().await;
    let others = [place.beside(&first).await, place.beside(&first).await];
    let mut ids = Vec::new();
    for _ in 0..10 {
        let id = first.register("shop").await;
        first.heartbeat(&id, 5.0).await.unwrap();
        ids.push(id);
    }
    for other in &others {
        for id in &ids {
            other.report(id).await;
        }
    }
    first.advance(121);
    first.kill().await;
    let [b, c] = &others;
    let found = tokio::join!(b.sessions.sweep(), c.sessions.sweep());
    assert_eq!(found.0.unwrap() + found.1.unwrap(), 10);
    let late = place.beside(b).await;
    late.sessions
        .list_instances(Default::default())
        .await
        .unwrap();
    for node in [&late, b, c] {
        assert_eq!(node.sessions.sweep().await.unwrap(), 0);
        for id in &ids {
            assert_eq!(node.count(id, "instance_stale").await, 1);
        }
    }
}
