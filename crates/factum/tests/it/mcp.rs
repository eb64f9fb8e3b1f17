//! Agent sessions through the tools, with the finished program: over HTTP, over standard input to a
//! server, and over standard input without one.

mod client;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use factum_engine::{Catalogue, CatalogueGroup};
use factum_testkit::agents::Call;
use factum_testkit::agents::recorded::Recorded;
use factum_testkit::agents::secrets::{KEPT, SECRETS, everywhere, named, texts as secret_texts};
use memchr::memmem;
use serde_json::{Map, Value, json};

use crate::harness::until;
use crate::mcp::client::{Client, Door, Setting};

/// Runs every promise over each way to the tools.
macro_rules! over_every_door {
    ($($promise:ident),* $(,)?) => {
        mod http {
            $(#[test] fn $promise() { super::$promise(super::Door::Http); })*
        }
        mod forwarded {
            $(#[test] fn $promise() { super::$promise(super::Door::Forwarded); })*
        }
        mod local {
            $(#[test] fn $promise() { super::$promise(super::Door::Local); })*
        }
    };
}

over_every_door!(
    recorded_sessions_are_killed_and_taken_over_by_another_client,
    every_type_is_taken_whole_and_refused_without_each_required_field,
    each_mistake_has_an_error_of_its_own,
    fifty_instances_of_one_project_register_at_once,
    heartbeats_that_race_over_the_bound_make_one_checkpoint,
    no_secret_is_in_the_data_directory_or_in_the_log,
);

/// Silence is found in a moment.
const FAST: &[(&str, &str)] = &[
    ("FACTUM_SESSIONS_STALE_MS", "300"),
    ("FACTUM_SESSIONS_SWEEP_MS", "20"),
];

/// Draws a number up to a bound, another one each time.
fn draw(most: usize) -> usize {
    let number = RandomState::new().hash_one(most);
    usize::try_from(number % (u64::try_from(most).unwrap() + 1)).unwrap()
}

fn registered(client: &Client, call: &Call) -> String {
    let made = client.done(call);
    made["instance_id"].as_str().unwrap().to_owned()
}

fn recorded_sessions_are_killed_and_taken_over_by_another_client(door: Door) {
    let recorded = Recorded::read();
    let mut setting = Setting::start(door, FAST);
    let client = setting.client();
    let work = each(&recorded.sessions, |session| {
        let id = registered(&client, &session.registration());
        let calls = session.calls(&id);
        // A session that is finished is not taken over.
        let open = calls
            .iter()
            .filter(|call| call.tool != "mcp_meta_close_instance");
        let told = draw(open.count());
        for call in &calls[..told] {
            client.done(call);
        }
        (id, calls, told)
    });
    client.kill();
    setting.crash();

    let successor = setting.client();
    let counts = each(&work, |(id, calls, told)| {
        // It counts as stale a moment before that is recorded.
        let before = until("the silence is recorded", || {
            let state = successor.done(&Call::replay(id))["final_state"].clone();
            (state["status"] == "stale").then_some(state)
        });
        let resumed = successor.done(&Call::resume(Some(id)));
        assert_eq!(resumed["outcome"], "resumed");
        assert_eq!(resumed["state"], before, "killed after {told} events");
        for call in &calls[*told..] {
            successor.done(call);
        }
        let asked = json!({ "instance_id": id });
        let counts = successor.done(&Call::new("mcp_meta_get_event_aggregates", asked));
        let counts: BTreeMap<String, u64> =
            serde_json::from_value(counts["counts"].clone()).unwrap();
        let state = successor.done(&Call::replay(id))["final_state"].clone();
        assert_eq!(state["event_counts"], json!(counts));
        for once in ["instance_registered", "instance_stale", "instance_resumed"] {
            assert_eq!(counts[once], 1, "{once}");
        }
        counts
    });
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in counts.into_iter().flatten() {
        *told.entry(name).or_default() += count;
    }
    recorded.check(&told);
}

fn every_type_is_taken_whole_and_refused_without_each_required_field(door: Door) {
    let setting = Setting::start(door, &[]);
    let client = setting.client();
    let id = registered(&client, &Call::register("shop"));
    let entries = Catalogue::shipped().entries();
    let entries = entries.filter(|entry| entry.group() == CatalogueGroup::AgentSession);
    let mut n_types = 0;
    for entry in entries {
        n_types += 1;
        let event_type = entry.event_type();
        let example: Map<String, Value> = serde_json::from_str(entry.example()).unwrap();
        let required: Vec<&str> = entry.required_fields().collect();
        let mut least = example.clone();
        least.retain(|field, _| required.contains(&field.as_str()));
        for data in [&example, &least] {
            client.done(&Call::emit(&id, event_type, &json!(data)));
        }
        for missing in required {
            let mut data = least.clone();
            data.remove(missing);
            let refused = client.refused(&Call::emit(&id, event_type, &data.into()));
            assert_eq!(
                (&refused["error"], &refused["field"]),
                (&json!("InvalidEvent"), &json!(missing)),
                "{event_type}"
            );
        }
    }
    assert_eq!(n_types, 23);
}

fn each_mistake_has_an_error_of_its_own(door: Door) {
    let setting = Setting::start(door, &[]);
    let client = setting.client();
    let id = registered(&client, &Call::register("shop"));
    let closed = registered(&client, &Call::register("shop"));
    let close = json!({ "instance_id": closed });
    client.done(&Call::new("mcp_meta_close_instance", close));
    let beat = |id: &str, percent| {
        let data = json!({ "context_percent": percent });
        [
            Call::heartbeat(id, percent),
            Call::emit(id, "instance_heartbeat", &data),
        ]
    };
    let unknown = ["x", "form.created", "instance_closed"];
    let unknown = unknown.map(|name| Call::emit(&id, name, &json!({})));
    let check = |calls: &[Call], error: &str, code: &str, field: Value| {
        for call in calls {
            let refused = client.refused(call);
            assert_eq!(
                (&refused["error"], &refused["code"], &refused["field"]),
                (&json!(error), &json!(code), &field),
                "{call:?}"
            );
        }
    };
    let none = Value::Null;
    check(
        &beat("shop-PS-000000", 1),
        "InstanceNotFound",
        "instance_not_found",
        none.clone(),
    );
    check(
        &unknown,
        "InvalidEvent",
        "unknown_event_type",
        json!("event_type"),
    );
    check(&beat(&closed, 1), "InstanceClosed", "instance_closed", none);
    check(
        &beat("shop", 1),
        "InvalidInstanceId",
        "invalid_instance_id",
        json!("instance_id"),
    );
    check(
        &beat(&id, 101),
        "InvalidEvent",
        "context_out_of_range",
        json!("context_percent"),
    );
    let state = client.done(&Call::replay(&id))["final_state"].clone();
    assert_eq!(state["event_count"], 1, "what was refused left nothing");
}

fn fifty_instances_of_one_project_register_at_once(door: Door) {
    let setting = Setting::start(door, &[]);
    let client = setting.client();
    let ids = each(&[(); 50], |()| registered(&client, &Call::register("shop")));
    let different: HashSet<&String> = ids.iter().collect();
    assert_eq!(different.len(), 50);
    for id in &ids {
        let state = client.done(&Call::replay(id))["final_state"].clone();
        assert_eq!(
            (&state["event_count"], &state["project"]),
            (&json!(1), &json!("shop"))
        );
    }
    let asked = json!({ "project": "shop" });
    let list = client.done(&Call::new("mcp_meta_list_instances", asked));
    assert_eq!(
        (&list["total_count"], &list["active_count"]),
        (&json!(50), &json!(50)),
        "none is half registered"
    );
}

fn heartbeats_that_race_over_the_bound_make_one_checkpoint(door: Door) {
    let setting = Setting::start(door, &[]);
    let client = setting.client();
    for round in 1..=5 {
        let id = registered(&client, &Call::register("shop"));
        client.done(&Call::heartbeat(&id, 10));
        let percents: Vec<u32> = (0..16).map(|index| 80 + index % 5).collect();
        let made = each(&percents, |percent| {
            client.done(&Call::heartbeat(&id, *percent))["checkpoint_id"].clone()
        });
        let made: Vec<_> = made.into_iter().filter(Value::is_string).collect();
        assert_eq!(made.len(), 1, "round {round}");
        let asked = json!({ "instance_id": id });
        let list = client.done(&Call::new("mcp_meta_list_checkpoints", asked));
        assert_eq!(list["total_count"], 1, "round {round}");
        assert_eq!(list["checkpoints"][0]["checkpoint_id"], made[0]);
    }
}

fn no_secret_is_in_the_data_directory_or_in_the_log(door: Door) {
    let mut setting = Setting::start(door, &[("FACTUM_LOG_LEVEL", "trace")]);
    let client = setting.client();
    let id = registered(&client, &Call::register("shop"));
    assert!(SECRETS.len() >= 25);
    for (_, secret, text) in SECRETS {
        let text = text.replace("{}", secret);
        for call in everywhere(&id, &text) {
            let answer = client.done(&call);
            // Closing has a word to say too.
            if let Some(other) = answer["instance_id"].as_str().filter(|other| *other != id) {
                let close = json!({ "instance_id": other, "reason": text });
                client.done(&Call::new("mcp_meta_close_instance", close));
            }
        }
        // What is refused repeats nothing.
        let slip = Call::emit(&id, "commit_created", &json!({ "message": text }));
        let refused = client.refused(&slip).to_string();
        assert!(!refused.contains(secret), "{refused}");
    }
    for call in named(&id) {
        client.done(&call);
    }
    let logs = setting.stop(client);
    assert!(!logs.is_empty(), "there is a log at this level");
    for secret in secret_texts() {
        assert_eq!(memmem::find(&logs, secret.as_bytes()), None, "{secret}");
    }
    assert!(finds_only_what_is_kept(&setting.data()));
}

/// Searches the files of a directory for every secret, and tells whether what no rule takes out is
/// there.
fn finds_only_what_is_kept(directory: &Path) -> bool {
    let mut found = false;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found |= finds_only_what_is_kept(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        found |= memmem::find(&bytes, KEPT.as_bytes()).is_some();
        for secret in secret_texts() {
            let found = memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret} in {}", path.display());
        }
    }
    found
}

/// Does something for each of many at once, and returns what came of it.
fn each<T: Sync, R: Send>(many: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let acting: Vec<_> = many.iter().map(|one| scope.spawn(|| act(one))).collect();
        acting.into_iter().map(|one| one.join().unwrap()).collect()
    })
}
