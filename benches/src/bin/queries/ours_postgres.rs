//! Factum's store on PostgreSQL.

use std::time::{Duration, Instant};

use factum_store::{AppendRequest, EventStore as _};
use factum_store_postgres::{Options, PostgresStore, Setup};

use crate::Outcome;
use crate::events::event;
use crate::ours::{Waiting, ask};
use crate::questions::{Answer, Question};

const BATCH: u64 = 1000;

/// A store with events in it, on a server that has others beside.
#[derive(Debug)]
pub struct OnPostgres {
    store: PostgresStore,
    waiting: Waiting,
    n_events: u64,
}

impl OnPostgres {
    /// Sets a schema up and appends events, in batches from one caller. Returns how long it took.
    pub fn load(url: &str, n_events: u64) -> Outcome<(Self, Duration)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let store = runtime.block_on(async {
            Setup::default().run(url).await?;
            PostgresStore::open(Options::at(url)).await
        })?;
        let start = Instant::now();
        for first in (0..n_events).step_by(BATCH as usize) {
            let numbers = first..n_events.min(first + BATCH);
            let events: Outcome<Vec<_>> = numbers
                .map(|number| event(number, n_events)?.proposed())
                .collect();
            let request = AppendRequest {
                events: events?,
                ..AppendRequest::default()
            };
            runtime.block_on(store.append(request))?;
        }
        let this = Self {
            store,
            waiting: Waiting::On(runtime),
            n_events,
        };
        Ok((this, start.elapsed()))
    }

    /// Asks with other values each round.
    pub fn ask_round(&self, question: Question, round: u64) -> Outcome<(Answer, u64, Duration)> {
        let asked = question.asked(round, self.n_events)?;
        let start = Instant::now();
        let (answer, examined) = ask(&self.store, &self.waiting, &asked)?;
        Ok((answer, examined, start.elapsed()))
    }
}
