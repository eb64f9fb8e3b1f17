//! The seam between what was stored and what arrives, under load: many subscribers with different
//! filters, whose connections are cut at random and resumed by cursor. Each of them must have
//! received what a read of the log with its filter gives: no gap, no event twice.
//!
//! `FACTUM_SOAK_SECONDS` sets how long (6 by default; from 60 on, with the full number of
//! subscribers), `FACTUM_SOAK_EVENTS_PER_SECOND` how much, `FACTUM_SOAK_SEED` where the cuts are.

mod feed;
mod load;
mod plan;
mod subscriber;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use factum_testkit::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::feed::{Address, Door};
use self::plan::Plan;
use self::subscriber::{Received, Subscriber};
use crate::server::{Server, until};

/// How large a soak is.
struct Size {
    time: Duration,
    n_writers: u64,
    n_web_sockets: usize,
    n_event_sources: usize,
    n_stalled: usize,
    events_per_second: u64,
}

/// How long subscribers may take to receive the rest once nobody appends any more.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How often the memory of the server is looked at.
const SAMPLES: u32 = 60;

fn number_of(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn size() -> Size {
    let seconds = number_of("FACTUM_SOAK_SECONDS", 6);
    let full = seconds >= 60;
    Size {
        time: Duration::from_secs(seconds),
        n_writers: 8,
        n_web_sockets: if full { 100 } else { 20 },
        n_event_sources: if full { 20 } else { 5 },
        n_stalled: if full { 4 } else { 2 },
        events_per_second: number_of("FACTUM_SOAK_EVENTS_PER_SECOND", 400),
    }
}

#[test]
fn subscribers_miss_nothing_and_get_nothing_twice() {
    let size = size();
    let seed = number_of("FACTUM_SOAK_SEED", u64::from(std::process::id()));
    let directory = tempfile::tempdir().unwrap();
    // Small segments, so that subscribers also cross the change of segments.
    let small = ["--store-segment-bytes-max", "8388608"];
    let mut server = Server::start(&directory.path().join("data"), &small);
    let plans = plan::plans();
    load::ballast(&mut server.client());
    let (stop, n_appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let epoch = Instant::now();
    let (received, memory) = std::thread::scope(|scope| {
        for writer in 0..size.n_writers {
            let pause = Duration::from_secs(size.n_writers) / per_second(&size);
            let writer = load::Writer::new(server.client(), writer, epoch, pause);
            scope.spawn(|| writer.run(&stop, &n_appended));
        }
        until("the first events are there", || {
            (n_appended.load(Ordering::SeqCst) > 100).then_some(())
        });
        let memory = scope.spawn(|| load::sample_memory(&server, size.time / SAMPLES, &stop));
        let received = follow(&server, &size, (&plans, seed, epoch), &stop);
        (received, memory.join().unwrap())
    });
    let n_appended = n_appended.load(Ordering::SeqCst);
    report(&size, seed, n_appended, &received);
    load::report_memory(&memory, size.time);
    check(&server, &plans, &received);
    server.kill();
}

fn per_second(size: &Size) -> u32 {
    u32::try_from(size.events_per_second).unwrap().max(1)
}

/// Lets the subscribers run for the time of the soak, stops the writers, and returns what each
/// subscriber had received when it had everything.
fn follow(
    server: &Server,
    size: &Size,
    (plans, seed, epoch): (&[Plan], u64, Instant),
    stop: &AtomicBool,
) -> Vec<Received> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (finish, finishing) = watch::channel(None);
    let address = Address::of(server);
    runtime.block_on(async {
        let mut stalled = Vec::new();
        for _ in 0..size.n_stalled {
            stalled.push(feed::Stalled::open(&address).await);
        }
        let mut subscribers = JoinSet::new();
        for number in 0..size.n_web_sockets + size.n_event_sources {
            let door = if number < size.n_web_sockets {
                Door::WebSocket
            } else {
                Door::EventSource
            };
            let subscriber = Subscriber {
                number,
                plan: number % plans.len(),
                filter: plans[number % plans.len()].clone(),
                door,
                // Half of them want what was there before, the others what comes from now on.
                from_beginning: (number / plans.len()).is_multiple_of(2),
                random: Random::seeded(seed ^ (number as u64) << 32),
                address: address.clone(),
                epoch,
            };
            subscribers.spawn(subscriber.run(finishing.clone()));
        }
        tokio::time::sleep(size.time).await;
        stop.store(true, Ordering::SeqCst);
        let expected = tokio::task::block_in_place(|| lasts(server, plans));
        finish.send(Some(expected)).unwrap();
        let received = tokio::time::timeout(DRAIN_MAX, subscribers.join_all()).await;
        let received = received.expect("every subscriber receives the rest in time");
        // Those who do not read were there to the end, and held up nobody.
        tokio::task::block_in_place(|| load::check_stalled(server, stalled.len()));
        drop(stalled);
        received
    })
}

/// Returns the last position that each plan matches, once nobody appends any more.
fn lasts(server: &Server, plans: &[Plan]) -> Vec<u64> {
    let mut client = server.client();
    plans
        .iter()
        .map(|plan| load::last_position(&mut client, plan))
        .collect()
}

fn check(server: &Server, plans: &[Plan], received: &[Received]) {
    let mut client = server.client();
    let logs: Vec<_> = plans
        .iter()
        .map(|plan| load::matching(&mut client, plan))
        .collect();
    assert!(logs.iter().all(|log| !log.is_empty()), "every plan matches");
    for one in received {
        let log = &logs[one.plan];
        let first = log.partition_point(|(position, _)| *position <= one.start);
        let expected = &log[first..];
        let n_received = one.events.len();
        let differs = one
            .events
            .iter()
            .zip(expected)
            .position(|(left, right)| left != right);
        let shorter = n_received.min(expected.len());
        let differs = differs.or_else(|| (n_received != expected.len()).then_some(shorter));
        assert_eq!(
            differs.map(|at| (one.events.get(at), expected.get(at))),
            None,
            "subscriber {} ({:?}) of {:?} received something else at {differs:?}",
            one.number,
            one.door,
            plans[one.plan].json
        );
    }
}

fn report(size: &Size, seed: u64, n_appended: u64, received: &[Received]) {
    let sum = |of: fn(&Received) -> u64| received.iter().map(of).sum::<u64>();
    let mut latency = subscriber::Latency::default();
    for one in received {
        latency.merge(&one.latency);
    }
    eprintln!(
        "{} s, seed {seed}: {n_appended} events appended by {} writers, {} delivered to {} WebSocket \
         and {} SSE subscribers, {} connections cut and resumed, {} that never read",
        size.time.as_secs(),
        size.n_writers,
        sum(|one| one.events.len() as u64),
        size.n_web_sockets,
        size.n_event_sources,
        sum(|one| one.n_cuts),
        size.n_stalled,
    );
    eprintln!(
        "from append to arrival: p50 {:?}, p99 {:?}, p99.9 {:?}",
        latency.quantile(500),
        latency.quantile(990),
        latency.quantile(999)
    );
    assert_eq!(
        sum(|one| one.n_ended),
        0,
        "the server ended connections by itself"
    );
    assert!(sum(|one| one.n_cuts) > received.len() as u64 / 2);
}
