//! Whose work is taken over, and how sure the successor may be: the tables of the contract, case by
//! case.

use factum_testkit::agents::{self, CONFIDENCE, Call};
use serde_json::{Value, json};

use crate::harness::Harness;

async fn done(server: &Harness, call: &Call) -> Value {
    server.call(call.tool, &call.arguments).await
}

async fn refused(server: &Harness, call: &Call) -> Value {
    server.refused(call.tool, &call.arguments).await.1
}

/// An instance that has worked for a while.
async fn worked(server: &Harness, project: &str) -> String {
    let made = done(server, &Call::register(project)).await;
    let id = made["instance_id"].as_str().unwrap().to_owned();
    for call in agents::worked(&id) {
        done(server, &call).await;
    }
    id
}

async fn close(server: &Harness, id: &str) {
    let close = json!({ "instance_id": id });
    done(server, &Call::new("mcp_meta_close_instance", close)).await;
}

#[tokio::test]
async fn confidence_and_source_follow_the_ages() {
    let (server, clock) = Harness::start_with_clock();
    for (index, case) in CONFIDENCE.iter().enumerate() {
        let project = format!("shop{index}");
        let id = worked(&server, &project).await;
        clock.advance(case.minutes * 60_000_000);
        let resumed = done(&server, &Call::resume(Some(&project))).await;
        assert_eq!(resumed["instance_id"], id.as_str());
        assert_eq!(
            (&resumed["confidence_score"], &resumed["source"]),
            (&json!(case.score), &json!(case.source)),
            "{case:?}"
        );
        assert!(resumed["confidence_reason"].is_string());
        let warned = !resumed["warnings"].as_array().unwrap().is_empty();
        assert_eq!(warned, case.warned, "{case:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_hint_is_an_id_a_hash_a_prefix_a_project_an_epic_or_nothing() {
    let (server, clock) = Harness::start_with_clock();
    let nobody = refused(&server, &Call::resume(None)).await;
    assert_eq!(nobody["error"], "InstanceNotFound");
    let id = worked(&server, "shop").await;
    let other = done(&server, &Call::register("bank")).await;
    clock.advance(130_000_000);
    let active = done(&server, &Call::register("mail")).await;
    let hash = id.rsplit('-').next().unwrap();
    let prefix = &id[..id.len() - 2];
    for hint in [id.as_str(), hash, prefix, "shop", "epic-003", " shop "] {
        let resumed = done(&server, &Call::resume(Some(hint))).await;
        assert_eq!(resumed["instance_id"], id.as_str(), "{hint}");
    }
    for hint in ["nobody", "shop-PS-000000"] {
        let nobody = refused(&server, &Call::resume(Some(hint))).await;
        assert_eq!(nobody["error"], "InstanceNotFound", "{hint}");
    }
    // Nothing means the newest that is stale: one was taken over since, the other was not heard of.
    let resumed = done(&server, &Call::resume(None)).await;
    let stale = [&json!(id), &other["instance_id"]];
    assert!(stale.contains(&&resumed["instance_id"]), "{resumed}");
    let at_work = active["instance_id"].as_str().unwrap();
    let refused_active = refused(&server, &Call::resume(Some(at_work))).await;
    assert_eq!(refused_active["error"], "InstanceActive");
    let forced = json!({ "instance_id_hint": at_work, "force": true });
    let forced = Call::new("mcp_meta_resume_instance", forced);
    assert_eq!(done(&server, &forced).await["outcome"], "resumed");
    close(&server, at_work).await;
    for call in [&forced, &Call::resume(Some("mail"))] {
        assert_eq!(refused(&server, call).await["error"], "InstanceClosed");
    }
    server.stop().await;
}

#[tokio::test]
async fn several_that_fit_are_numbered_and_one_is_chosen() {
    let (server, clock) = Harness::start_with_clock();
    let first = worked(&server, "shop").await;
    clock.advance(10_000_000);
    let second = worked(&server, "shop").await;
    clock.advance(130_000_000);
    for hint in ["shop", "epic-003", "shop-PS", "sho"] {
        let choose = done(&server, &Call::resume(Some(hint))).await;
        let matches = choose["matches"].as_array().unwrap();
        let offered: Vec<_> = matches
            .iter()
            .map(|one| (&one["choice"], &one["instance_id"]))
            .collect();
        assert_eq!(
            offered,
            [(&json!(1), &json!(second)), (&json!(2), &json!(first))],
            "{hint}"
        );
    }
    let counts = json!({ "instance_id": first });
    let counts = Call::new("mcp_meta_get_event_aggregates", counts);
    let counts = done(&server, &counts).await;
    assert!(
        counts["counts"].get("checkpoint_loaded").is_none(),
        "nothing was recorded"
    );
    let choose = |choice: Value| {
        let asked = json!({ "instance_id_hint": "shop", "user_choice": choice });
        Call::new("mcp_meta_resume_instance", asked)
    };
    for (choice, expected) in [(json!(2), &first), (json!(second), &second)] {
        let resumed = done(&server, &choose(choice)).await;
        assert_eq!(resumed["instance_id"], expected.as_str());
    }
    for wrong in [json!(0), json!(3), json!("x")] {
        let refused = refused(&server, &choose(wrong)).await;
        assert_eq!(refused["field"], "user_choice");
    }
    server.stop().await;
}
