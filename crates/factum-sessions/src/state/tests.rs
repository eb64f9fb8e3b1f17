use serde_json::json;

use super::*;
use crate::id::InstanceId;

fn fold(events: &[(&str, serde_json::Value)]) -> SessionState {
    let id: InstanceId = "shop-PS-0a1b2c".parse().unwrap();
    let registration = (
        "instance_registered",
        json!({"instance_type": "PS", "project": "shop"}),
    );
    let mut state: Option<SessionState> = None;
    for (index, (event_type, payload)) in std::iter::once(&registration).chain(events).enumerate() {
        let payload = payload.to_string();
        let number = u64::try_from(index).unwrap() + 1;
        let step = Step {
            id: EventId::from_bytes([u8::try_from(index % 256).unwrap(); 16]),
            event_type,
            payload: &payload,
            sequence_num: number,
            position: None,
            at: Timestamp::from_micros(i64::try_from(index).unwrap() * 1_000_000).unwrap(),
        };
        match &mut state {
            Some(state) => assert!(state.apply(&step)),
            None => state = SessionState::begin(&id, &step),
        }
    }
    state.unwrap()
}

#[test]
fn an_epic_is_planned_begun_and_completed() {
    let state = fold(&[
        (
            "epic_planned",
            json!({"epic_id": "e-1", "feature_name": "passkeys"}),
        ),
        (
            "epic_planned",
            json!({"epic_id": "e-2", "feature_name": "search"}),
        ),
        ("epic_started", json!({"epic_id": "e-1"})),
    ]);
    let last = state.last_epic.as_ref().unwrap();
    assert_eq!(
        (last.epic_id.as_str(), last.status),
        ("e-1", EpicStatus::InProgress)
    );
    assert_eq!(last.feature_name.as_deref(), Some("passkeys"));
    assert_eq!(state.current_epic.as_deref(), Some("e-1"));
    assert_eq!(state.planned_epics.len(), 1);
    let state = fold(&[
        (
            "epic_started",
            json!({"epic_id": "e-1", "feature_name": "passkeys"}),
        ),
        ("epic_completed", json!({"epic_id": "e-1"})),
    ]);
    assert_eq!(state.current_epic, None);
    assert_eq!(state.last_epic.unwrap().status, EpicStatus::Completed);
}

#[test]
fn tests_add_up_and_the_last_run_is_known() {
    let state = fold(&[
        (
            "test_started",
            json!({"test_type": "unit", "test_count": 3}),
        ),
        (
            "test_passed",
            json!({"test_type": "unit", "passed_count": 3, "failed_count": 0, "skipped_count": 1}),
        ),
        (
            "test_failed",
            json!({"test_type": "e2e", "failed_count": 2, "error_summary": "two"}),
        ),
    ]);
    let tests = &state.tests;
    assert_eq!((tests.runs_passed, tests.runs_failed), (1, 1));
    assert_eq!(
        (tests.passed_count, tests.failed_count, tests.skipped_count),
        (3, 2, 1)
    );
    let last = tests.last.as_ref().unwrap();
    assert_eq!((last.test_type.as_str(), last.passed), ("e2e", Some(false)));
}

#[test]
fn merged_pull_requests_are_no_longer_open() {
    let state = fold(&[
        (
            "pr_created",
            json!({"pr_number": 1, "pr_url": "u1", "title": "a", "branch": "b1"}),
        ),
        (
            "pr_created",
            json!({"pr_number": 2, "pr_url": "u2", "title": "b"}),
        ),
        (
            "commit_created",
            json!({"commit_hash": "abc", "message": "m"}),
        ),
        (
            "pr_merged",
            json!({"pr_number": 1, "pr_url": "u1", "merge_commit": "c"}),
        ),
    ]);
    assert_eq!(state.open_prs.len(), 1);
    assert_eq!((state.open_prs[0].pr_number, state.merged_prs), (2, 1));
    assert_eq!(state.last_commit.unwrap().branch.as_deref(), Some("b1"));
}

#[test]
fn the_last_deployment_of_each_service_counts() {
    let state = fold(&[
        (
            "deployment_started",
            json!({"service": "api", "environment": "prod", "deployment_type": "x", "version": "2"}),
        ),
        (
            "deployment_completed",
            json!({"service": "api", "environment": "prod", "health_status": "ok"}),
        ),
        (
            "deployment_failed",
            json!({"service": "web", "environment": "prod", "error_message": "no"}),
        ),
    ]);
    let api = &state.deployments["api"];
    assert_eq!(
        (api.status, api.version.as_deref()),
        (DeploymentStatus::Completed, Some("2"))
    );
    assert_eq!(state.deployments["web"].status, DeploymentStatus::Failed);
}

#[test]
fn a_heartbeat_revives_and_a_closed_instance_stays_closed() {
    let stale = (
        "instance_stale",
        json!({"last_heartbeat": "x", "age_seconds": 130}),
    );
    let heartbeat = (
        "instance_heartbeat",
        json!({"context_percent": 81.5, "current_epic": "e-1"}),
    );
    let closed = ("instance_closed", json!({"reason": "done"}));
    assert_eq!(
        fold(std::slice::from_ref(&stale)).status,
        InstanceStatus::Stale
    );
    let state = fold(&[stale.clone(), heartbeat.clone()]);
    assert_eq!(state.status, InstanceStatus::Active);
    assert_eq!(
        (state.context_percent, state.current_epic.as_deref()),
        (81.5, Some("e-1"))
    );
    let state = fold(&[closed, heartbeat, stale]);
    assert_eq!(state.status, InstanceStatus::Closed);
}

#[test]
fn what_is_not_as_it_should_be_is_counted_and_changes_nothing_else() {
    let plain = fold(&[]);
    let odd = fold(&[
        (
            "instance_heartbeat",
            json!({"context_percent": "x", "current_epic": 5}),
        ),
        ("epic_started", json!({})),
        ("deployment_failed", json!({"service": 1})),
        ("something.else", json!({"a": [1]})),
        ("instance_registered", json!({"project": "other"})),
    ]);
    assert_eq!(odd.event_count, 6);
    assert_eq!((odd.project.as_str(), odd.context_percent), ("shop", 0.0));
    assert_eq!((odd.last_epic, odd.deployments.len()), (plain.last_epic, 0));
}

#[test]
fn a_state_is_bounded() {
    let mut events = Vec::new();
    for number in 0..500 {
        events.push((
            "pr_created",
            json!({"pr_number": number, "pr_url": "u", "title": "t"}),
        ));
        events.push((
            "deployment_started",
            json!({"service": number.to_string(), "environment": "e"}),
        ));
        events.push(("epic_planned", json!({"epic_id": number.to_string()})));
        events.push((
            "command_logged",
            json!({"action": "a", "description": "d".repeat(1000)}),
        ));
    }
    let names: Vec<String> = (0..500).map(|number| format!("type_{number}")).collect();
    events.extend(names.iter().map(|name| (name.as_str(), json!({}))));
    let state = fold(&events);
    assert_eq!((state.open_prs.len(), state.deployments.len()), (100, 100));
    assert!(state.deployments.contains_key("499") && !state.deployments.contains_key("0"));
    assert_eq!(
        (state.planned_epics.len(), state.last_commands.len()),
        (20, 20)
    );
    assert!(state.last_commands[0].description.chars().count() <= 201);
    assert!(state.event_counts.len() <= 201);
    assert_eq!(state.event_counts.values().sum::<u64>(), state.event_count);
}

#[test]
fn a_gap_is_told_and_changes_nothing() {
    let mut state = fold(&[]);
    let before = state.clone();
    let step = Step {
        id: EventId::from_bytes([9; 16]),
        event_type: "instance_closed",
        payload: "{}",
        sequence_num: 3,
        position: None,
        at: Timestamp::from_micros(0).unwrap(),
    };
    assert!(!state.apply(&step));
    assert_eq!(state, before);
}
