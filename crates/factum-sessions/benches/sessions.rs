//! Every operation on sessions, with many instances and events stored, by one caller and by many.
//!
//! `cargo bench -p factum-sessions --bench sessions`; `FACTUM_BENCH_EVENTS`,
//! `FACTUM_BENCH_INSTANCES` and `FACTUM_BENCH_CALLS` change the sizes, `TMPDIR` the disk.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark stops where it cannot go on, prints, and reads the clock and the environment"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use factum_engine::{Engine, EngineOptions};
use factum_model::{JsonObject, NewEvent, StreamId};
use factum_sessions::{SessionOptions, Sessions};
use factum_store::AppendRequest;
use factum_store_embedded::{EmbeddedStore, Options};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn setting(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(run());
}

async fn run() {
    let n_instances = setting("FACTUM_BENCH_INSTANCES", 1000);
    let n_events = setting("FACTUM_BENCH_EVENTS", 1_000_000);
    let n_calls = setting("FACTUM_BENCH_CALLS", 2000);
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options::at(directory.path())).unwrap();
    let engine = Engine::new(Arc::new(store), EngineOptions::default());
    let ids = Arc::new(registered(&engine, n_instances).await);
    let started = Instant::now();
    fill(&engine, &ids, n_events).await;
    println!(
        "{n_events} events of {n_instances} instances stored in {:.1?}",
        started.elapsed()
    );

    let sessions = Sessions::new(engine.clone(), SessionOptions::default());
    let shutdown = CancellationToken::new();
    let mut background = JoinSet::new();
    let (following, until) = (sessions.clone(), shutdown.clone());
    background.spawn(async move { following.run(until).await });
    let started = Instant::now();
    let all = sessions.list_instances(Default::default()).await.unwrap();
    println!(
        "{} instances in memory after {:.1?}\n",
        all.total_count,
        started.elapsed()
    );

    println!("| operation | callers | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|");
    for (name, operation) in operations() {
        for n_callers in [1, 32] {
            let n_calls = if n_callers == 1 { n_calls / 4 } else { n_calls };
            let mut times = measured(&sessions, &ids, (n_callers, n_calls), operation).await;
            times.sort();
            let at = |share: f64| {
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a place among some thousand"
                )]
                let index = ((times.len() - 1) as f64 * share) as usize;
                times[index].as_secs_f64() * 1000.0
            };
            println!(
                "| {name} | {n_callers} | {:.2} | {:.2} | {:.2} |",
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
    }
    shutdown.cancel();
    background.join_all().await;
    engine.close().await;
}

async fn registered(engine: &Engine, n_instances: usize) -> Vec<String> {
    let sessions = Sessions::new(engine.clone(), SessionOptions::default());
    let shutdown = CancellationToken::new();
    let work = async {
        let mut ids = Vec::new();
        let mut registering = JoinSet::new();
        for index in 0..n_instances {
            let sessions = sessions.clone();
            let project = format!("project-{}", index / 10);
            let input = json!({ "project": project, "instance_type": "PS" });
            let input = serde_json::from_value(input).unwrap();
            registering.spawn(async move { sessions.register_instance(input).await });
            if registering.len() == 64 {
                ids.push(
                    registering
                        .join_next()
                        .await
                        .unwrap()
                        .unwrap()
                        .unwrap()
                        .instance_id,
                );
            }
        }
        for made in registering.join_all().await {
            ids.push(made.unwrap().instance_id);
        }
        shutdown.cancel();
        ids
    };
    tokio::join!(sessions.run(shutdown.clone()), work).1
}

/// Stores events as agents would have, without asking the operations.
async fn fill(engine: &Engine, ids: &[String], n_events: usize) {
    let mut appending = JoinSet::new();
    let per_request = 1000;
    for request in 0..n_events / per_request {
        let mut events = Vec::with_capacity(per_request);
        for index in 0..per_request {
            let number = request * per_request + index;
            let id = &ids[number % ids.len()];
            let (event_type, payload) = event(number / ids.len());
            let stream = StreamId::new("agent_session".parse().unwrap(), id.parse().unwrap());
            let payload = JsonObject::parse(payload.to_string()).unwrap();
            events.push(NewEvent {
                correlation_id: id.parse().ok(),
                ..NewEvent::new(event_type.parse().unwrap(), stream, payload)
            });
        }
        let engine = engine.clone();
        appending.spawn(async move {
            let request = AppendRequest {
                events,
                ..AppendRequest::default()
            };
            engine.append(request).await.map(|_| ())
        });
        if appending.len() == 4 {
            appending.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    for done in appending.join_all().await {
        done.unwrap();
    }
}

fn event(number: usize) -> (&'static str, Value) {
    match number % 5 {
        0 => (
            "instance_heartbeat",
            json!({ "context_percent": number % 79, "current_epic": "epic-1" }),
        ),
        1 => (
            "commit_created",
            json!({ "commit_hash": format!("{number:07x}"), "message": format!("change {number} of the checkout"), "branch": "main", "files_changed": 3 }),
        ),
        2 => (
            "test_passed",
            json!({ "test_type": "unit", "passed_count": 120, "failed_count": 0, "duration_seconds": 12.5 }),
        ),
        3 => (
            "command_logged",
            json!({ "action": "run_tests", "description": "cargo nextest run -p shop", "success": true, "tool_name": "shell", "result": { "success": true, "out": "120 tests run: 120 passed" } }),
        ),
        _ => (
            "task_spawned",
            json!({ "task_type": "review", "subagent_type": "reviewer", "task_id": format!("task-{number}") }),
        ),
    }
}

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type Operation = for<'a> fn(&'a Sessions, &'a str, usize) -> Done<'a>;

macro_rules! operation {
    ($sessions:ident, $id:ident, $number:ident => $method:ident $input:tt) => {{
        fn call<'a>($sessions: &'a Sessions, $id: &'a str, $number: usize) -> Done<'a> {
            let _: (&str, usize) = ($id, $number);
            Box::pin(async move {
                let input = serde_json::from_value(json!($input)).unwrap();
                drop($sessions.$method(input).await.unwrap());
            })
        }
        call as Operation
    }};
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn operations() -> Vec<(&'static str, Operation)> {
    vec![
        (
            "emit",
            operation!(sessions, id, n => emit_event {
                "instance_id": id, "event_type": "commit_created",
                "event_data": { "commit_hash": format!("{n:07x}"), "message": "Accept passkeys", "branch": "main" }
            }),
        ),
        (
            "heartbeat",
            operation!(sessions, id, n => heartbeat {
                "instance_id": id, "context_percent": n % 79
            }),
        ),
        (
            "log command",
            operation!(sessions, id, n => log_command {
                "instance_id": id, "action": "run_tests",
                "details": { "description": format!("make test-{n}"), "result": { "success": true } }
            }),
        ),
        (
            "query 100 by type",
            operation!(sessions, id, n => query_events {
                "instance_id": id, "filters": { "event_type": "commit_created" }, "limit": 100
            }),
        ),
        (
            "query 100 by word",
            operation!(sessions, id, n => query_events {
                "instance_id": id, "filters": { "keyword": "checkout" }, "limit": 100
            }),
        ),
        (
            "query 100, all",
            operation!(sessions, id, n => query_events {
                "instance_id": id, "limit": 100, "offset": n % 500
            }),
        ),
        (
            "search commands",
            operation!(sessions, id, n => search_commands {
                "instance_id": id, "action": "run_tests", "limit": 20
            }),
        ),
        (
            "latest 10",
            operation!(sessions, id, n => latest_events { "instance_id": id }),
        ),
        (
            "replay 100",
            operation!(sessions, id, n => replay_events {
                "instance_id": id, "to_sequence_num": 100
            }),
        ),
        (
            "replay all",
            operation!(sessions, id, n => replay_events { "instance_id": id }),
        ),
        (
            "checkpoint",
            operation!(sessions, id, n => create_checkpoint {
                "instance_id": id, "checkpoint_type": "manual", "note": "n"
            }),
        ),
        (
            "resume",
            operation!(sessions, id, n => resume_instance {
                "instance_id_hint": id, "force": true
            }),
        ),
        (
            "list 100",
            operation!(sessions, id, n => list_instances { "limit": 100 }),
        ),
    ]
}

async fn measured(
    sessions: &Sessions,
    ids: &Arc<Vec<String>>,
    (n_callers, n_calls): (usize, usize),
    operation: Operation,
) -> Vec<Duration> {
    let mut calling = JoinSet::new();
    for caller in 0..n_callers {
        let (sessions, ids) = (sessions.clone(), Arc::clone(ids));
        calling.spawn(async move {
            let mut times = Vec::new();
            for number in 0..n_calls / n_callers {
                let place = (caller * 7919 + number * 104_729) % ids.len();
                let started = Instant::now();
                operation(&sessions, &ids[place], number).await;
                times.push(started.elapsed());
            }
            times
        });
    }
    calling.join_all().await.concat()
}
