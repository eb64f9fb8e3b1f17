//! The tools of agent sessions over HTTP and over standard input, beside a plain table of PostgreSQL
//! with the schema that such a store would have by hand.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin mcp -- PATH_OF_FACTUM [all|short] [CALL]`
//!
//! There are 1,000 instances with 1,000,000 events before anything is measured; `short` makes it 20 and 2,000,
//! to see that it runs; the name of a call leaves the others out. Clients wait for each answer before they ask again. The plain clients know no
//! tools, check nothing but uniqueness and keep no state: they insert and select.
#![expect(clippy::disallowed_methods, reason = "a program that measures")]

mod agent;
mod plain;

use std::time::{Duration, Instant};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How large everything is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) n_instances: usize,
    pub(crate) events_each: usize,
    time: Duration,
}

/// What one client does again and again; the number tells its calls apart.
pub(crate) type Act<'a> = Box<dyn FnMut(usize) -> Outcome<()> + Send + 'a>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("the path of the program factum")?;
    let size = match arguments.next().as_deref() {
        None | Some("all") => Size {
            n_instances: 1000,
            events_each: 1000,
            time: Duration::from_secs(3),
        },
        Some(_) => Size {
            n_instances: 20,
            events_each: 100,
            time: Duration::from_millis(200),
        },
    };
    let only = arguments.next();
    let is_meant = |call: &&&str| only.as_deref().is_none_or(|only| only == **call);
    let server = agent::Server::start(&program, size)?;
    let table = plain::Table::fill(size)?;
    println!("| call | clients | over | calls/s | p50 ms | p99 ms |\n|---|---|---|---|---|---|");
    for n_clients in [1, 32] {
        for call in agent::CALLS.iter().filter(is_meant) {
            let run = |act: &mut Act<'_>, number| act(number);
            let over_http = (0..n_clients)
                .map(|client| server.http(call, client))
                .collect::<Outcome<Vec<_>>>()?;
            report(call, n_clients, "HTTP", measure(over_http, size.time, run)?);
            let over_stdio = (0..n_clients)
                .map(|client| server.stdio(call, client))
                .collect::<Outcome<Vec<_>>>()?;
            report(
                call,
                n_clients,
                "stdio",
                measure(over_stdio, size.time, run)?,
            );
            if plain::KNOWS.contains(call) {
                let acts = (0..n_clients)
                    .map(|client| table.act(call, client))
                    .collect::<Outcome<Vec<_>>>()?;
                report(
                    call,
                    n_clients,
                    "plain table",
                    measure(acts, size.time, run)?,
                );
            }
        }
    }
    Ok(())
}

/// Has all clients act at once for a while, and returns how long each call took.
fn measure<'a>(
    mut acts: Vec<Act<'a>>,
    time: Duration,
    run: impl Fn(&mut Act<'a>, usize) -> Outcome<()> + Sync,
) -> Outcome<(Vec<Duration>, Duration)> {
    // The first call opens connections and warms what is cold.
    for act in &mut acts {
        run(act, 0)?;
    }
    let began = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = acts
            .into_iter()
            .map(|mut act| {
                let run = &run;
                scope.spawn(move || -> Outcome<Vec<Duration>> {
                    let mut taken = Vec::new();
                    while began.elapsed() < time || taken.is_empty() {
                        let start = Instant::now();
                        run(&mut act, taken.len() + 1)?;
                        taken.push(start.elapsed());
                    }
                    Ok(taken)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a client panicked")??);
        }
        Outcome::Ok(all)
    })?;
    Ok((latencies, began.elapsed()))
}

fn report(call: &str, n_clients: usize, over: &str, measured: (Vec<Duration>, Duration)) {
    let (mut latencies, took) = measured;
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() - 1) as f64 * share).round() as usize;
        latencies[index].as_secs_f64() * 1000.0
    };
    let rate = latencies.len() as f64 / took.as_secs_f64();
    let (p50, p99) = (at(0.50), at(0.99));
    println!("| {call} | {n_clients} | {over} | {rate:.0} | {p50:.2} | {p99:.2} |");
}
