//! Questions about many events, asked of Factum and of PostgreSQL 15 in one run.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin queries -- [N_EVENTS] [--only factum|postgres] [--growth]`
//! `cargo run --release --manifest-path benches/Cargo.toml --bin queries -- [N_EVENTS] --on-postgres`
//!
//! PostgreSQL gets a table with the fields of an event as columns, jsonb for payload and metadata,
//! B-trees for what is looked up, GIN for payload, tags and words; it syncs as it does by default.
//! Both return whole events, and both must give the same answers. `--growth` asks at 0.1, 1 and
//! 10 million events.
#![expect(clippy::disallowed_methods, reason = "a program that measures")]

mod events;
mod machine;
mod ours;
mod ours_postgres;
mod questions;
mod theirs;

use std::time::{Duration, Instant};

use crate::machine::Memory;
use crate::ours::Factum;
use crate::ours_postgres::OnPostgres;
use crate::questions::{Answer, Question};
use crate::theirs::Postgres;

/// That of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS_MAX: u64 = 200;
const ROUNDS_MIN: usize = 3;
const QUESTION_TIME: Duration = Duration::from_secs(8);
const COLD_ROUNDS: u64 = 5;
const WARM_UP_ROUNDS: u64 = 3;
/// Events of one round of appending with and without the index of documents.
const APPEND_EVENTS: u64 = 500_000;
const APPEND_ROUNDS: usize = 3;

/// What one store answered to one question.
#[derive(Debug, Default)]
struct Series {
    answers: Vec<Answer>,
    times: Vec<Duration>,
    examined: Vec<u64>,
    cold: Vec<Duration>,
    /// It took longer than a question may.
    gave_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Both,
    Factum,
    Postgres,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut only = Only::Both;
    if let Some(at) = arguments.iter().position(|argument| argument == "--only") {
        only = match arguments.get(at + 1).map(String::as_str) {
            Some("factum") => Only::Factum,
            Some("postgres") => Only::Postgres,
            Some(_) | None => return Err("--only takes factum or postgres".into()),
        };
    }
    let n_events = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    println!("{}", machine::line()?);
    if arguments.iter().any(|argument| argument == "--on-postgres") {
        return on_postgres(n_events);
    }
    if arguments.iter().any(|argument| argument == "--growth") {
        let sizes = [100_000, 1_000_000, 10_000_000];
        let mut all = Vec::new();
        for n_events in sizes {
            all.push(run(n_events, only)?);
        }
        growth(&sizes, &all, only);
    } else {
        run(n_events, only)?;
    }
    // Last, because what it frees stays with the allocator for a while.
    if only != Only::Postgres {
        appending(n_events.min(APPEND_EVENTS))?;
    }
    Ok(())
}

/// Asks Factum's store on PostgreSQL and hand-written SQL, on one server.
fn on_postgres(n_events: u64) -> Outcome<()> {
    let (mut server, loaded) = Postgres::load(n_events)?;
    println!(
        "{n_events} events; SQL: {:.0} events/s by COPY, indexed {:.1} s after",
        n_events as f64 / loaded.copy.as_secs_f64(),
        loaded.index.as_secs_f64()
    );
    let (ours, took) = OnPostgres::load(&server.url(), n_events)?;
    println!(
        "Factum on PostgreSQL: {:.0} events/s in batches of 1000 from one caller, indexes included",
        n_events as f64 / took.as_secs_f64()
    );
    server.analyze()?;
    let mut answers = [Vec::new(), Vec::new()];
    for question in Question::ALL {
        answers[0].push(rounds(|round| Ok(Some(ours.ask_round(question, round)?)))?);
        answers[1].push(rounds(|round| {
            let asked = server.ask_round(question, round)?;
            Ok(asked.map(|(answer, took)| (answer, 0, took)))
        })?);
    }
    print_table(&answers);
    compare(&answers)
}

/// Appends with and without the index of documents, in turns.
fn appending(n_events: u64) -> Outcome<()> {
    let (mut with, mut without, mut ratios, mut until) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..APPEND_ROUNDS {
        let rate = |took: Duration| n_events as f64 / took.as_secs_f64();
        let plain = rate(Factum::load(n_events, false)?.1.append);
        let loaded = Factum::load(n_events, true)?.1;
        let indexed = rate(loaded.append);
        with.push(indexed);
        without.push(plain);
        ratios.push(indexed / plain);
        until.push(rate(loaded.append + loaded.index));
    }
    println!(
        "append {n_events} events in batches of 1000, one caller that makes them, {APPEND_ROUNDS} rounds in turns, events/s"
    );
    for (what, mut values) in [
        ("without documents", without),
        ("with documents", with),
        ("until indexed", until),
    ] {
        println!("  {what:20} {}", spread(&mut values, 0));
    }
    println!("  {:20} {}", "with / without", spread(&mut ratios, 2));
    Ok(())
}

/// Returns the median with the range.
fn spread(values: &mut [f64], digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (first, last) = (values[0], values[values.len() - 1]);
    let median = values[values.len() / 2];
    format!("{median:.digits$} [{first:.digits$} – {last:.digits$}]")
}

/// Loads and asks both, one after the other, and prints what they said.
fn run(n_events: u64, only: Only) -> Outcome<[Vec<Series>; 2]> {
    println!("\n{n_events} events");
    let ours = if only == Only::Postgres {
        Vec::new()
    } else {
        ask_factum(n_events)?
    };
    let theirs = if only == Only::Factum {
        Vec::new()
    } else {
        ask_postgres(n_events)?
    };
    let answers = [ours, theirs];
    print_table(&answers);
    if only == Only::Both {
        compare(&answers)?;
    }
    Ok(answers)
}

fn ask_factum(n_events: u64) -> Outcome<Vec<Series>> {
    let before = Memory::now()?;
    let (mut store, loaded) = Factum::load(n_events, true)?;
    println!(
        "Factum: {:.0} events/s appended, all indexed {:.2} s after the last",
        n_events as f64 / loaded.append.as_secs_f64(),
        loaded.index.as_secs_f64()
    );
    let [first, last] = loaded.tenths;
    println!(
        "  first tenth {:.0} events/s, last tenth {:.0}",
        n_events as f64 / 10.0 / first.as_secs_f64(),
        n_events as f64 / 10.0 / last.as_secs_f64()
    );
    println!("  bytes an event: {}", store.bytes()?);
    println!(
        "  memory before: {before}; at most while loading: {}",
        loaded.memory_max
    );
    println!(
        "  memory after: {}; {}",
        Memory::now()?,
        store.memory_metrics()?
    );
    let (open, indexed) = store.reopen()?;
    println!(
        "  opened again in {:.2} s, indexed after {:.2} s; {}",
        open.as_secs_f64(),
        indexed.as_secs_f64(),
        Memory::now()?
    );
    let mut all = Vec::new();
    for question in Question::ALL {
        all.push(rounds(|round| {
            let (answer, examined, took) = store.ask_round(question, round)?;
            Ok(Some((answer, examined, took)))
        })?);
    }
    println!("  memory after the questions: {}", Memory::now()?);
    for (question, series) in Question::ALL.into_iter().zip(&mut all) {
        let rounds = if Question::COLD.contains(&question) {
            COLD_ROUNDS
        } else {
            0
        };
        for round in 0..rounds {
            store.reopen()?;
            if machine::drop_caches() {
                series
                    .cold
                    .push(store.ask_round(question, cold_round(round))?.2);
            }
        }
    }
    println!("  memory after the cold questions: {}", Memory::now()?);
    Ok(all)
}

fn ask_postgres(n_events: u64) -> Outcome<Vec<Series>> {
    let (mut server, loaded) = Postgres::load(n_events)?;
    println!(
        "PostgreSQL: {:.0} events/s by COPY, indexed and analysed {:.1} s after, {:.0} events/s in all",
        n_events as f64 / loaded.copy.as_secs_f64(),
        loaded.index.as_secs_f64(),
        n_events as f64 / (loaded.copy + loaded.index).as_secs_f64()
    );
    println!("  bytes an event: {}", server.bytes()?);
    let mut all = Vec::new();
    for question in Question::ALL {
        all.push(rounds(|round| {
            let asked = server.ask_round(question, round)?;
            Ok(asked.map(|(answer, took)| (answer, 0, took)))
        })?);
    }
    for (question, series) in Question::ALL.into_iter().zip(&mut all) {
        let rounds = if Question::COLD.contains(&question) {
            COLD_ROUNDS
        } else {
            0
        };
        for round in 0..rounds {
            server.restart()?;
            if machine::drop_caches()
                && let Some((_, took)) = server.ask_round(question, cold_round(round))?
            {
                series.cold.push(took);
            }
        }
    }
    Ok(all)
}

/// Cold rounds ask for what no other round asked for.
const fn cold_round(round: u64) -> u64 {
    1000 + round * 13
}

/// Asks until there are enough answers or enough time is spent.
fn rounds(mut ask: impl FnMut(u64) -> Outcome<Option<(Answer, u64, Duration)>>) -> Outcome<Series> {
    let mut series = Series::default();
    for round in 0..WARM_UP_ROUNDS {
        if ask(ROUNDS_MAX + round)?.is_none() {
            series.gave_up = true;
            return Ok(series);
        }
    }
    let start = Instant::now();
    for round in 0..ROUNDS_MAX {
        let Some((answer, examined, took)) = ask(round)? else {
            series.gave_up = true;
            return Ok(series);
        };
        series.answers.push(answer);
        series.examined.push(examined);
        series.times.push(took);
        if start.elapsed() > QUESTION_TIME && series.times.len() >= ROUNDS_MIN {
            break;
        }
    }
    Ok(series)
}

fn print_table(answers: &[Vec<Series>; 2]) {
    println!(
        "\n| question | events | looked at | Factum p50 · p99 ms | cold | PostgreSQL p50 · p99 ms | cold |\n|---|---|---|---|---|---|---|"
    );
    for (index, question) in Question::ALL.into_iter().enumerate() {
        let [ours, theirs] = answers.each_ref().map(|all| all.get(index));
        let found = ours.or(theirs).map(|series| {
            series
                .answers
                .iter()
                .map(Answer::n_events)
                .collect::<Vec<_>>()
        });
        let examined = ours.map(|series| series.examined.clone());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            question.name(),
            median(found),
            median(examined),
            warm(ours),
            cold(ours),
            warm(theirs),
            cold(theirs)
        );
    }
}

fn median(values: Option<Vec<u64>>) -> String {
    let mut values = values.unwrap_or_default();
    values.sort_unstable();
    values
        .get(values.len() / 2)
        .map(u64::to_string)
        .unwrap_or_default()
}

fn warm(series: Option<&Series>) -> String {
    let Some(series) = series else {
        return String::new();
    };
    let mut millis = millis(&series.times);
    if series.gave_up || millis.is_empty() {
        return "more than 60 s".to_owned();
    }
    millis.sort_by(f64::total_cmp);
    let (p50, p99) = (millis[millis.len() / 2], millis[millis.len() * 99 / 100]);
    format!("{} · {}", short(p50), short(p99))
}

fn cold(series: Option<&Series>) -> String {
    let mut millis = series
        .map(|series| millis(&series.cold))
        .unwrap_or_default();
    millis.sort_by(f64::total_cmp);
    millis
        .get(millis.len() / 2)
        .map(|median| short(*median))
        .unwrap_or_default()
}

fn millis(times: &[Duration]) -> Vec<f64> {
    times
        .iter()
        .map(|took| took.as_secs_f64() * 1000.0)
        .collect()
}

fn short(millis: f64) -> String {
    let digits = if millis < 10.0 {
        2
    } else {
        usize::from(millis < 100.0)
    };
    format!("{millis:.digits$}")
}

/// Checks that both gave the same answers to what both were asked.
fn compare([ours, theirs]: &[Vec<Series>; 2]) -> Outcome<()> {
    let (mut n_compared, mut n_different) = (0, 0);
    for ((question, ours), theirs) in Question::ALL.into_iter().zip(ours).zip(theirs) {
        for (round, (ours, theirs)) in ours.answers.iter().zip(&theirs.answers).enumerate() {
            n_compared += 1;
            if ours != theirs {
                n_different += 1;
                println!(
                    "different, {} round {round}: {ours:?} and {theirs:?}",
                    question.name()
                );
            }
        }
    }
    println!("{n_compared} answers compared, {n_different} different");
    if n_different > 0 {
        return Err("the answers differ".into());
    }
    Ok(())
}

fn growth(sizes: &[u64], all: &[[Vec<Series>; 2]], only: Only) {
    for (store, name) in [(0, "Factum"), (1, "PostgreSQL")] {
        if matches!((store, only), (0, Only::Postgres) | (1, Only::Factum)) {
            continue;
        }
        println!("\n{name}, p50 · p99 ms at {sizes:?} events");
        for (index, question) in Question::ALL.into_iter().enumerate() {
            let cells = all.iter().map(|run| warm(run[store].get(index)));
            println!(
                "| {} | {} |",
                question.name(),
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
    }
}
