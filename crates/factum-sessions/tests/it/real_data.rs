//! Recorded sessions of real agents as concurrent instances, each killed at a random event and
//! taken over by another client.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use factum_sessions::{ResumeAnswer, ResumeInstance, ResumedInstance, Sessions};
use factum_testkit::agents::recorded::Recorded;
use tokio::task::JoinSet;

use crate::harness::{Place, done, registered};

async fn take_over(sessions: &Sessions, id: &str) -> ResumedInstance {
    let input = ResumeInstance {
        instance_id_hint: Some(id.to_owned()),
        ..ResumeInstance::default()
    };
    match sessions.resume_instance(input).await.unwrap() {
        ResumeAnswer::Resumed(work) => *work,
        ResumeAnswer::Choose { matches, .. } => panic!("an id is not ambiguous: {matches:?}"),
    }
}

/// Draws a number under a bound, another one each time.
fn draw(bound: usize) -> usize {
    let number = RandomState::new().hash_one(bound);
    usize::try_from(number % u64::try_from(bound).unwrap()).unwrap()
}

pub(crate) async fn recorded_sessions_are_killed_and_taken_over_and_nothing_is_lost(place: &Place) {
    let recorded = Recorded::read();
    let node = place.node().await;
    let mut working = JoinSet::new();
    for session in &recorded.sessions {
        let (sessions, session) = (node.sessions.clone(), session.clone());
        working.spawn(async move {
            let id = registered(&sessions, session.registration()).await;
            let calls = session.calls(&id);
            // A session that is finished is not taken over.
            let open = calls
                .iter()
                .filter(|call| call.tool != "mcp_meta_close_instance");
            let told = draw(open.count() + 1);
            for call in &calls[..told] {
                done(&sessions, call.clone()).await.unwrap();
            }
            (id, calls, told)
        });
    }
    let killed = working.join_all().await;
    let at = node.kill().await;

    let node = place.open(at).await;
    node.advance(130);
    node.sessions
        .list_instances(Default::default())
        .await
        .unwrap();
    assert_eq!(node.sessions.sweep().await.unwrap(), killed.len());
    let mut working = JoinSet::new();
    for (id, calls, told) in killed {
        let before = node.replay(&id).await;
        let sessions = node.sessions.clone();
        working.spawn(async move {
            let work = take_over(&sessions, &id).await;
            assert_eq!(work.state, before, "killed after {told} events");
            for call in &calls[told..] {
                done(&sessions, call.clone()).await.unwrap();
            }
            id
        });
    }
    let ids = working.join_all().await;
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for id in &ids {
        let state = node.replay(id).await;
        assert_eq!(node.report(id).await.state, state);
        assert_eq!(
            node.sessions.event_aggregates(id).await.unwrap().counts,
            state.event_counts
        );
        for (name, count) in &state.event_counts {
            *found.entry(name.clone()).or_default() += count;
        }
        assert_eq!(state.event_counts["instance_registered"], 1);
        assert_eq!(state.event_counts["instance_stale"], 1);
        assert_eq!(state.event_counts["instance_resumed"], 1);
    }
    recorded.check(&found);
}
