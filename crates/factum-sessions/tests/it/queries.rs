//! Questions about events and commands.

use std::time::Duration;

use factum_model::ErrorCode;
use factum_sessions::{ListInstances, SessionOptions};
use serde_json::{Value, json};

use crate::harness::{Node, Place, command, start};

async fn query(node: &Node, input: Value) -> (Vec<u64>, u64, bool) {
    let list = node
        .sessions
        .query_events(serde_json::from_value(input).unwrap())
        .await
        .unwrap();
    let numbers = list.events.iter().map(|event| event.sequence_num).collect();
    (numbers, list.total_count, list.has_more)
}

async fn search(node: &Node, input: Value) -> (Vec<u64>, u64, bool) {
    let input = serde_json::from_value(input).unwrap();
    let list = node.sessions.search_commands(input).await.unwrap();
    let numbers = list
        .commands
        .iter()
        .map(|command| command.sequence_num)
        .collect();
    (numbers, list.total_count, list.has_more)
}

/// 1 registration, 2–6 commits a minute apart, 7–8 passed tests.
async fn filled(place: &Place) -> (Node, String) {
    let node = place.node().await;
    let id = node.register("shop").await;
    for index in 0..5 {
        node.advance(60);
        let message = if index == 2 {
            "Authentication: sign in"
        } else {
            "other"
        };
        let data = json!({ "commit_hash": format!("c{index}"), "message": message });
        node.emit(&id, "commit_created", data).await.unwrap();
    }
    for _ in 0..2 {
        node.advance(60);
        let data = json!({
            "test_type": "unit", "passed_count": 3, "failed_count": 0, "duration_seconds": 1,
        });
        node.emit(&id, "test_passed", data).await.unwrap();
    }
    (node, id)
}

pub(crate) async fn events_by_type_time_and_words_in_pages(place: &Place) {
    let (node, id) = filled(place).await;
    let other = node.register("shop").await;
    let data = json!({ "commit_hash": "x", "message": "authentication" });
    node.emit(&other, "commit_created", data).await.unwrap();
    let check = async |filters: Value, page: Value, expected: (&[u64], u64, bool)| {
        let mut input = page;
        input["instance_id"] = json!(id);
        input["filters"] = filters;
        let (numbers, total, more) = query(&node, input.clone()).await;
        assert_eq!((numbers.as_slice(), total, more), expected, "{input}");
    };
    let all = json!({});
    check(
        Value::Null,
        all.clone(),
        (&[1, 2, 3, 4, 5, 6, 7, 8], 8, false),
    )
    .await;
    check(
        json!({}),
        json!({"limit": 3, "offset": 2}),
        (&[3, 4, 5], 8, true),
    )
    .await;
    check(
        json!({}),
        json!({"limit": 3, "offset": 5}),
        (&[6, 7, 8], 8, false),
    )
    .await;
    check(json!({}), json!({"offset": 50}), (&[], 8, false)).await;
    let commits = json!({ "event_type": "commit_created" });
    check(commits.clone(), all.clone(), (&[2, 3, 4, 5, 6], 5, false)).await;
    check(
        commits.clone(),
        json!({"limit": 2, "offset": 1}),
        (&[3, 4], 5, true),
    )
    .await;
    check(
        commits,
        json!({"limit": 2, "offset": 3}),
        (&[5, 6], 5, false),
    )
    .await;
    let two = json!({ "event_type": ["test_passed", "instance_registered"] });
    check(two, all.clone(), (&[1, 7, 8], 3, false)).await;
    let words = json!({ "keyword": "AUTHENTICATION in" });
    check(words, all.clone(), (&[4], 1, false)).await;
    let time = json!({
        "start_date": "2026-11-21T09:02:00Z", "end_date": "2026-11-21T09:04:00Z",
    });
    check(time, all.clone(), (&[3, 4, 5], 3, false)).await;
    let from = json!({ "start_date": "2026-11-21T11:06:00+02:00", "event_type": "test_passed" });
    check(from, all, (&[7, 8], 2, false)).await;
}

pub(crate) async fn a_page_of_so_many_bytes_goes_on_with_the_next(place: &Place) {
    let (node, id) = filled(place).await;
    let mut seen = Vec::new();
    loop {
        let input = json!({ "instance_id": id, "offset": seen.len() });
        let mut input: factum_sessions::QueryEvents = serde_json::from_value(input).unwrap();
        input.bytes_max = Some(300);
        let page = node.sessions.query_events(input).await.unwrap();
        assert!(!page.events.is_empty() && page.events.len() < 8);
        seen.extend(page.events.iter().map(|event| event.sequence_num));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, (1..=8).collect::<Vec<_>>());
}

pub(crate) async fn questions_that_make_no_sense_are_refused(place: &Place) {
    let (node, id) = filled(place).await;
    let check = async |input: Value, field: &str| {
        let mut input = input;
        input["instance_id"] = json!(id);
        let input: factum_sessions::QueryEvents = serde_json::from_value(input).unwrap();
        let error = node.sessions.query_events(input).await.unwrap_err();
        assert_eq!(error.field(), Some(field), "{error}");
    };
    check(json!({"limit": 0}), "limit").await;
    check(json!({"limit": 1001}), "limit").await;
    check(
        json!({"offset": 10_001, "filters": {"keyword": "x"}}),
        "offset",
    )
    .await;
    check(json!({"filters": {"event_type": "x"}}), "event_type").await;
    check(
        json!({"filters": {"event_type": vec!["commit_created"; 101]}}),
        "event_type",
    )
    .await;
    check(
        json!({"filters": {"start_date": "yesterday"}}),
        "start_date",
    )
    .await;
    check(json!({"filters": {"start_date": "2026-01-02T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"}}), "end_date").await;
    check(json!({"filters": {"keyword": "!!"}}), "keyword").await;
    for unknown in [
        json!({"instance_id": id, "x": 1}),
        json!({"instance_id": id, "filters": {"x": 1}}),
    ] {
        assert!(serde_json::from_value::<factum_sessions::QueryEvents>(unknown).is_err());
    }
}

pub(crate) async fn the_newest_events_and_the_counts(place: &Place) {
    let (node, id) = filled(place).await;
    let latest = |limit: Value| {
        let input = json!({ "instance_id": id, "limit": limit });
        node.sessions
            .latest_events(serde_json::from_value(input).unwrap())
    };
    let numbers: Vec<u64> = latest(json!(3))
        .await
        .unwrap()
        .events
        .iter()
        .map(|event| event.sequence_num)
        .collect();
    assert_eq!(numbers, [8, 7, 6]);
    assert_eq!(latest(Value::Null).await.unwrap().events.len(), 8);
    assert!(latest(json!(101)).await.is_err());
    let counts = node.sessions.event_aggregates(&id).await.unwrap();
    assert_eq!((counts.total, counts.counts["commit_created"]), (8, 5));
    assert!(node.sessions.event_aggregates("x").await.is_err());
}

pub(crate) async fn a_replay_ends_where_it_is_told(place: &Place) {
    let (node, id) = filled(place).await;
    let replay = |to: Value| {
        let input = json!({ "instance_id": id, "to_sequence_num": to });
        node.sessions
            .replay_events(serde_json::from_value(input).unwrap())
    };
    let third = replay(json!(4)).await.unwrap();
    assert_eq!(third.events_replayed, 4);
    assert_eq!(third.final_state.last_commit.unwrap().commit_hash, "c2");
    assert_eq!(third.final_state.tests.runs_passed, 0);
    let whole = replay(json!(4000)).await.unwrap();
    assert_eq!(
        (whole.events_replayed, whole.final_state.tests.passed_count),
        (8, 6)
    );
    assert_eq!(whole.final_state, node.report(&id).await.state);
    assert_eq!(
        replay(json!(0)).await.unwrap_err().field(),
        Some("to_sequence_num")
    );
}

pub(crate) async fn commands_by_action_tool_outcome_and_time(place: &Place) {
    let node = place.node().await;
    let id = node.register("shop").await;
    for index in 0..4_u64 {
        node.advance(60);
        let details = json!({
            "description": format!("step {index}"),
            "parameters": { "tool_name": if index % 2 == 0 { "shell" } else { "edit" } },
            "result": { "success": index < 2, "exit": index },
            "tags": ["t"],
        });
        node.log(&id, if index < 3 { "run" } else { "look" }, details)
            .await;
    }
    let check = async |filter: Value, expected: (&[u64], u64, bool)| {
        let mut input = filter;
        input["instance_id"] = json!(id);
        let (numbers, total, more) = search(&node, input.clone()).await;
        assert_eq!((numbers.as_slice(), total, more), expected, "{input}");
    };
    check(json!({}), (&[5, 4, 3, 2], 4, false)).await;
    check(json!({"limit": 2, "offset": 1}), (&[4, 3], 4, true)).await;
    check(json!({"action": "run"}), (&[4, 3, 2], 3, false)).await;
    check(json!({"tool_name": "edit"}), (&[5, 3], 2, false)).await;
    check(json!({"success": true}), (&[3, 2], 2, false)).await;
    check(
        json!({"success": false, "action": "look"}),
        (&[5], 1, false),
    )
    .await;
    check(
        json!({"from": "2026-11-21T09:02:00Z", "to": "2026-11-21T09:03:00Z"}),
        (&[4, 3], 2, false),
    )
    .await;
    assert_eq!(node.replay(&id).await.command_count, 4);
}

pub(crate) async fn long_texts_of_commands_are_cut_in_the_middle(place: &Place) {
    let options = SessionOptions {
        command_text_bytes_max: 20,
        ..SessionOptions::default()
    };
    let node = place.open_with(start(), options).await;
    let id = node.register("shop").await;
    let long = format!("begin{}end", "é".repeat(100));
    let details = json!({ "description": long, "result": { "out": [long] } });
    let logged = node
        .sessions
        .log_command(command(&id, "run", &details))
        .await
        .unwrap();
    let input = json!({ "instance_id": id });
    let list = node
        .sessions
        .search_commands(serde_json::from_value(input).unwrap())
        .await
        .unwrap();
    assert_eq!(list.commands[0].logged_id, logged.logged_id);
    let stored: Value = serde_json::from_str(list.commands[0].command.get()).unwrap();
    for text in [&stored["description"], &stored["result"]["out"][0]] {
        let text = text.as_str().unwrap();
        assert!(text.starts_with("begin") && text.ends_with("end"), "{text}");
        assert!(
            text.contains("bytes left out]") && text.len() < 60,
            "{text}"
        );
    }
    for (wrong, field) in [
        (command(&id, "", &json!({"description": ""})), "action"),
        (
            command(&id, "a", &json!({"description": "", "tags": vec!["x"; 65]})),
            "details.tags",
        ),
    ] {
        let error = node.sessions.log_command(wrong).await.unwrap_err();
        assert_eq!(
            (error.code(), error.field()),
            (ErrorCode::InvalidEvent, Some(field))
        );
    }
}

pub(crate) async fn instances_are_listed_and_older_closed_ones_make_room(place: &Place) {
    let options = SessionOptions {
        instances_max: 16,
        ..SessionOptions::default()
    };
    let node = place.open_with(start(), options).await;
    let mut ids = Vec::new();
    for index in 0..40 {
        node.advance(1);
        let id = node
            .register(if index < 38 { "shop" } else { "bank" })
            .await;
        if index < 30 {
            let close = factum_sessions::CloseInstance {
                instance_id: id.clone(),
                reason: None,
            };
            node.sessions.close_instance(close).await.unwrap();
        }
        ids.push(id);
    }
    let list = |project: Option<&str>, active_only| {
        let input = ListInstances {
            project: project.map(str::to_owned),
            active_only: Some(active_only),
            limit: Some(3),
            offset: None,
        };
        node.sessions.list_instances(input)
    };
    // The log is followed a moment behind what is recorded.
    let whole = async || {
        let counted = async {
            loop {
                let all = list(None, false).await.unwrap();
                if all.not_listed_count + all.total_count == 40 {
                    return all;
                }
                assert!(all.not_listed_count + all.total_count < 40, "{all:?}");
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, counted).await.unwrap()
    };
    let all = whole().await;
    assert!(all.total_count <= 17 && all.has_more, "{}", all.total_count);
    assert_eq!(all.active_count, 10);
    assert_eq!(all.instances[0].instance_id, ids[39], "the newest first");
    assert_eq!(list(Some("bank"), true).await.unwrap().total_count, 2);
    // What made room is still there for who knows its id.
    for id in &ids[..20] {
        assert_eq!(node.report(id).await.state, node.replay(id).await);
    }
    assert_eq!(whole().await.active_count, 10, "and is counted once");
    for _ in 0..6 {
        node.register("shop").await;
    }
    let more = factum_sessions::RegisterInstance {
        project: "shop".to_owned(),
        instance_type: factum_sessions::InstanceType::MetaSupervisor,
        initial_context: None,
    };
    let error = node.sessions.register_instance(more).await.unwrap_err();
    assert_eq!(
        error.code(),
        ErrorCode::LimitExceeded,
        "active ones make no room"
    );
}

pub(crate) async fn sessions_past_their_retention_are_not_offered_and_nothing_is_lost(
    place: &Place,
) {
    let node = place.node().await;
    let old = node.register("shop").await;
    let data = json!({ "commit_hash": "9f3c2ab", "message": "m" });
    node.emit(&old, "commit_created", data).await.unwrap();
    let closed = node.register("shop").await;
    let close = factum_sessions::CloseInstance {
        instance_id: closed.clone(),
        reason: None,
    };
    node.sessions.close_instance(close).await.unwrap();
    node.advance(89 * 86_400);
    let young = node.register("shop").await;
    let listed = async |node: &Node| {
        let all = node.sessions.list_instances(ListInstances::default());
        let all = all.await.unwrap();
        let mut ids: Vec<String> = all
            .instances
            .into_iter()
            .map(|one| one.instance_id)
            .collect();
        ids.sort();
        (ids, all.not_listed_count)
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(listed(&node).await.0, sorted(&[&old, &closed, &young]));
    // A deleted checkpoint is no use of an instance.
    node.sessions
        .cleanup_checkpoints(Default::default())
        .await
        .unwrap();
    node.advance(86_400);
    assert_eq!(listed(&node).await, (sorted(&[&young]), 2));
    let stale = node.sessions.list_stale_instances(None).await.unwrap();
    assert_eq!(stale.total_count, 1);
    let hash = old.rsplit('-').next().unwrap();
    let error = node.sessions.instance_details(hash).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InstanceNotFound);
    // Also for a server that starts now; who knows the id finds all of it.
    let at = node.stop().await;
    let node = place.open(at).await;
    assert_eq!(listed(&node).await, (sorted(&[&young]), 2));
    let state = node.report(&old).await.state;
    assert_eq!(state.last_commit.unwrap().commit_hash, "9f3c2ab");
    node.heartbeat(&old, 1.0).await.unwrap();
    assert_eq!(listed(&node).await, (sorted(&[&old, &young]), 1));
}
