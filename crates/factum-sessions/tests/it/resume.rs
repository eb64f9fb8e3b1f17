//! Taking over.

use factum_model::ErrorCode;
use factum_sessions::{
    CloseInstance, InstanceDetails, ResumeAnswer, ResumeInstance, ResumeSource, ResumedInstance,
    SessionError, UserChoice,
};
use factum_testkit::agents::{self, CONFIDENCE, Call};
use serde_json::json;

use crate::harness::{Node, Place, done};

async fn resume(node: &Node, hint: Option<&str>) -> Result<ResumeAnswer, SessionError> {
    let input = ResumeInstance {
        instance_id_hint: hint.map(str::to_owned),
        ..ResumeInstance::default()
    };
    node.sessions.resume_instance(input).await
}

async fn resumed(node: &Node, hint: Option<&str>) -> ResumedInstance {
    match resume(node, hint).await.unwrap() {
        ResumeAnswer::Resumed(resumed) => *resumed,
        ResumeAnswer::Choose { matches, .. } => panic!("{matches:?}"),
    }
}

/// An instance that has worked for a while.
async fn worked(node: &Node, project: &str) -> String {
    let id = node.register(project).await;
    for call in agents::worked(&id) {
        done(&node.sessions, call).await.unwrap();
    }
    id
}

pub(crate) async fn a_successor_learns_epic_tests_branch_commit_and_next_step(place: &Place) {
    let node = place.node().await;
    let id = worked(&node, "shop").await;
    node.advance(130);
    let work = resumed(&node, None).await;
    assert_eq!(work.instance_id, id);
    assert_eq!(
        (work.confidence_score, work.source),
        (100, ResumeSource::Checkpoint)
    );
    assert!(work.warnings.is_empty(), "{:?}", work.warnings);
    for wanted in [
        "epic-003",
        "passkeys",
        "feature/passkeys",
        "9f3c2ab",
        "95 %",
        "tests failed",
    ] {
        assert!(work.summary.contains(wanted), "{wanted}: {}", work.summary);
    }
    assert_eq!(
        work.next_steps[0],
        "Mend the tests `unit`, of which 3 fail: `sign_in`."
    );
    assert_eq!(
        work.next_steps[1],
        "Go on with the epic `epic-003` (`passkeys`)."
    );
    for wanted in [
        "# Handoff of",
        "## Next steps",
        "## Checkpoint",
        "## Last commands",
        "cargo nextest run",
    ] {
        assert!(work.handoff.contains(wanted), "{wanted}: {}", work.handoff);
    }
    let loaded = node
        .sessions
        .parent_chain(&work.event_id)
        .await
        .unwrap()
        .chain;
    assert_eq!(loaded[0].event_type, "checkpoint_loaded");
    assert_eq!(Some(&loaded[1].event_id), work.checkpoint_id.as_ref());
    // Who comes second is told.
    let second = resumed(&node, Some(&id)).await;
    assert!(
        second.warnings[0].contains("Another successor"),
        "{:?}",
        second.warnings
    );
}

pub(crate) async fn confidence_and_source_follow_the_age_of_the_checkpoint_and_of_the_last_event(
    place: &Place,
) {
    let node = place.node().await;
    for (index, case) in CONFIDENCE.iter().enumerate() {
        let project = format!("shop{index}");
        worked(&node, &project).await;
        node.advance(case.minutes * 60);
        let resume = Call::resume(Some(&project));
        let work = done(&node.sessions, resume).await.unwrap();
        assert_eq!(
            (&work["confidence_score"], &work["source"]),
            (&json!(case.score), &json!(case.source)),
            "{case:?}"
        );
        let warned = !work["warnings"].as_array().unwrap().is_empty();
        assert_eq!(warned, case.warned, "{case:?}");
    }
}

pub(crate) async fn without_a_checkpoint_events_count_and_without_events_commands(place: &Place) {
    let node = place.node().await;
    let id = node.register("bare").await;
    node.log(&id, "run", json!({ "description": "make" })).await;
    node.advance(130);
    let work = resumed(&node, Some(&id)).await;
    assert_eq!(
        (work.confidence_score, work.source),
        (50, ResumeSource::Commands)
    );
    assert!(work.handoff.contains("`make`") && work.checkpoint_id.is_none());
    let event = node.sessions.parent_chain(&work.event_id).await.unwrap();
    assert_eq!(event.chain[0].event_type, "instance_resumed");

    let id = node.register("some").await;
    let data = json!({ "commit_hash": "9f3c2ab", "message": "m" });
    node.emit(&id, "commit_created", data).await.unwrap();
    node.advance(130);
    let work = resumed(&node, Some(&id)).await;
    assert_eq!(work.source, ResumeSource::Events);
}

pub(crate) async fn a_hint_is_an_id_a_hash_a_prefix_a_project_or_an_epic(place: &Place) {
    let node = place.node().await;
    let id = worked(&node, "shop").await;
    node.register("bank").await;
    node.advance(130);
    let hash = id.rsplit('-').next().unwrap();
    let prefix = &id[..id.len() - 2];
    for hint in [id.as_str(), hash, prefix, "shop", "epic-003", " shop "] {
        assert_eq!(resumed(&node, Some(hint)).await.instance_id, id, "{hint}");
    }
    for hint in ["nobody", "shop-PS-000000"] {
        let error = resume(&node, Some(hint)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InstanceNotFound);
    }
}

pub(crate) async fn several_matches_are_numbered_and_one_can_be_chosen(place: &Place) {
    let node = place.node().await;
    let first = worked(&node, "shop").await;
    node.advance(10);
    let second = worked(&node, "shop").await;
    node.advance(130);
    let ResumeAnswer::Choose { matches, .. } = resume(&node, Some("shop")).await.unwrap() else {
        panic!("there are two");
    };
    let offered: Vec<_> = matches
        .iter()
        .map(|one| (one.choice, &one.instance_id))
        .collect();
    assert_eq!(offered, [(1, &second), (2, &first)]);
    assert_eq!(
        node.count(&first, "checkpoint_loaded").await,
        0,
        "nothing was recorded"
    );
    let choose = |choice: UserChoice| {
        let input = ResumeInstance {
            instance_id_hint: Some("shop".to_owned()),
            user_choice: Some(choice),
            ..ResumeInstance::default()
        };
        node.sessions.resume_instance(input)
    };
    for (choice, expected) in [
        (UserChoice::Number(2), &first),
        (UserChoice::Text(second.clone()), &second),
    ] {
        let ResumeAnswer::Resumed(work) = choose(choice).await.unwrap() else {
            panic!("one was chosen");
        };
        assert_eq!(work.instance_id, *expected);
    }
    for wrong in [
        UserChoice::Number(0),
        UserChoice::Number(3),
        UserChoice::Text("x".to_owned()),
    ] {
        let error = choose(wrong).await.unwrap_err();
        assert_eq!(error.field(), Some("user_choice"));
    }
    match node.sessions.instance_details("shop").await.unwrap() {
        InstanceDetails::Choose { total_count, .. } => assert_eq!(total_count, 2),
        InstanceDetails::Found(report) => panic!("{report:?}"),
    }
}

pub(crate) async fn an_active_instance_is_taken_over_only_by_force_and_a_closed_one_never(
    place: &Place,
) {
    let node = place.node().await;
    let id = worked(&node, "shop").await;
    node.advance(60);
    let error = resume(&node, Some(&id)).await.unwrap_err();
    assert!(matches!(
        error,
        SessionError::InstanceActive {
            age_seconds: 60,
            ..
        }
    ));
    assert_eq!(error.code(), ErrorCode::InstanceActive);
    let forced = ResumeInstance {
        instance_id_hint: Some(id.clone()),
        force: Some(true),
        resumed_by: Some("shop-PS-ffffff".to_owned()),
        ..ResumeInstance::default()
    };
    assert!(node.sessions.resume_instance(forced.clone()).await.is_ok());
    let close = CloseInstance {
        instance_id: id.clone(),
        reason: None,
    };
    node.sessions.close_instance(close).await.unwrap();
    for hint in [Some(id.as_str()), Some("shop"), None] {
        let error = resume(&node, hint).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InstanceClosed, "{hint:?}");
    }
    let error = node.sessions.resume_instance(forced).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InstanceClosed);
}

pub(crate) async fn without_a_hint_the_newest_stale_one_is_meant(place: &Place) {
    let node = place.node().await;
    let error = resume(&node, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InstanceNotFound);
    let older = node.register("a").await;
    node.advance(10);
    let newer = node.register("b").await;
    node.advance(200);
    let active = node.register("c").await;
    assert_eq!(resumed(&node, None).await.instance_id, newer);
    for id in [older, newer] {
        node.heartbeat(&id, 1.0).await.unwrap();
    }
    let error = resume(&node, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InstanceActive);
    assert!(
        !error.to_string().contains(&active),
        "the one heard of last is meant"
    );
}

pub(crate) async fn another_node_takes_over_with_all_that_was_recorded(place: &Place) {
    let node = place.node().await;
    let id = worked(&node, "shop").await;
    let before = node.replay(&id).await;
    let at = node.kill().await;
    let node = place.open(at).await;
    node.advance(130);
    let work = resumed(&node, Some(&id)).await;
    assert_eq!(work.state, before);
}
