//! Ten webhook endpoints, one of them dead and one that answers in ten seconds: how long an event takes from its
//! append to each of the other eight, and what the dead one gets when it is back.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin deliveries -- PATH_OF_FACTUM RATE SECONDS [one]`
//!
//! `RATE` single appends a second are begun at even intervals, whatever became of those before, over as many
//! connections as that takes; time runs from when an append was due to when the endpoint has read the request. Every event
//! goes to all ten endpoints, each by a rule of its own; with `one`, every event goes to one of them.
#![expect(clippy::disallowed_methods, reason = "a program that measures")]

mod receiver;
mod sender;
mod server;

use std::time::{Duration, Instant};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How many endpoints there are: the first is dead, the second slow.
pub(crate) const N_ENDPOINTS: usize = 10;
/// For how long the dead endpoint may take to get everything when it is back.
const BACK_MAX: Duration = Duration::from_mins(30);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, rate, seconds, rest @ ..] = arguments.as_slice() else {
        return Err("PATH_OF_FACTUM RATE SECONDS [one]".into());
    };
    let rate: u32 = rate.parse()?;
    let time = Duration::from_secs(seconds.parse()?);
    let to_one = rest.first().is_some_and(|word| word == "one");

    let begun = Instant::now();
    let endpoints = receiver::Endpoints::start(begun)?;
    let server = server::Server::start(program)?;
    for endpoint in 0..N_ENDPOINTS {
        server.rule(endpoint, &endpoints.url(endpoint), to_one)?;
    }
    let watch = server.watch(begun);
    let n_events = sender::send(&server, begun, (rate, time), to_one)?;
    let sent_after = begun.elapsed();
    println!("{n_events} events in {sent_after:.1?}, {rate} a second");

    let meant = |endpoint: usize| match to_one {
        true => (0..n_events).filter(|number| number % N_ENDPOINTS == endpoint).count(),
        false => n_events,
    };
    let healthy = |endpoint: &usize| *endpoint >= 2;
    let waited = Instant::now();
    while (0..N_ENDPOINTS)
        .filter(healthy)
        .any(|endpoint| endpoints.n_events(endpoint) < meant(endpoint))
    {
        if waited.elapsed() > Duration::from_mins(2) {
            println!("the healthy do not have everything after two minutes");
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("| endpoint | events | requests | p50 ms | p95 ms | p99 ms | longest ms |\n|---|---|---|---|---|---|---|");
    let mut all = Vec::new();
    for endpoint in (0..N_ENDPOINTS).filter(healthy) {
        let latencies = endpoints.latencies(endpoint);
        report(&endpoint.to_string(), &endpoints, endpoint, &latencies);
        all.extend(latencies);
    }
    row("all eight", (all.len(), all.len()), &mut all);
    let slow = endpoints.n_events(1);
    println!("the slow one has {slow} events");

    endpoints.revive();
    let back = Instant::now();
    while endpoints.n_events(0) < meant(0) && back.elapsed() < BACK_MAX {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (n_back, n_meant, took) = (endpoints.n_events(0), meant(0), back.elapsed());
    println!("the dead one has {n_back} of {n_meant} events {took:.1?} after it is back");
    println!("streams out of order: {}", endpoints.n_disorders());
    watch.report(sent_after);
    Ok(())
}

fn report(name: &str, endpoints: &receiver::Endpoints, endpoint: usize, latencies: &[Duration]) {
    let counts = (endpoints.n_events(endpoint), endpoints.n_requests(endpoint));
    row(name, counts, &mut latencies.to_vec());
}

fn row(name: &str, (n_events, n_requests): (usize, usize), latencies: &mut [Duration]) {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * share).round() as usize;
        latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    };
    let (p50, p95, p99, longest) = (at(0.50), at(0.95), at(0.99), at(1.0));
    println!("| {name} | {n_events} | {n_requests} | {p50:.1} | {p95:.1} | {p99:.1} | {longest:.1} |");
}
