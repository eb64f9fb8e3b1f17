//! Checks that concurrent appends to streams look as if they had happened one after the other.
//!
//! A general search for such an order is exponential. Here it is not needed, because every
//! successful append to a stream names the version that it found and the one that it made, and
//! versions are totally ordered: if there is an order at all, it is the order of the versions.
//! A refused append names the version that it found, so it belongs between the append that made
//! that version and the next one. What is left to check is that this order agrees with real time:
//!
//! - each version of a stream is made by exactly one append, from the version before it;
//! - an append that answered before another one was asked made a smaller version;
//! - a refused append was still in flight at some moment when the version that it names was the
//!   last: the append that made it had been asked before the refusal, and the append of the next
//!   version had not answered before the refused one was asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use factum_model::{ExpectedVersion, SequenceNumber};
use factum_store::conformance::fixtures::{event, expecting};
use factum_store::{AppendError, EventStore};
use tokio::task::JoinSet;

use crate::random::Random;

/// One append with an exact expected version, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Which stream.
    pub stream: u64,
    /// When it was asked, on a clock that ticks once at each question and answer.
    pub asked: u64,
    /// When it answered.
    pub answered: u64,
    /// The version that the writer expected.
    pub expected: u64,
    /// What the store said.
    pub outcome: Outcome,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It made this version.
    Made(u64),
    /// It was refused because the stream was at this version.
    Found(u64),
}

/// Lets eight tasks append to a few streams at once, each expecting what it saw last or something
/// at random, and returns all calls.
///
/// # Panics
/// When an append fails for another reason than a version conflict.
pub async fn record(seed: u64, n_calls: u64, store: &Arc<dyn EventStore>) -> Vec<Call> {
    const N_TASKS: u64 = 8;
    const N_STREAMS: u64 = 3;
    let clock = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..N_TASKS {
        let (store, clock) = (Arc::clone(store), Arc::clone(&clock));
        tasks.spawn(async move {
            let mut random = Random::seeded(seed.wrapping_mul(N_TASKS).wrapping_add(task));
            let mut seen = [0; 3];
            let mut calls = Vec::new();
            for _ in 0..n_calls / N_TASKS {
                let stream = random.below(N_STREAMS);
                let seen = &mut seen[usize::try_from(stream).unwrap()];
                let expected = if random.one_in(8) {
                    random.below(*seen + 2)
                } else {
                    *seen
                };
                let version = SequenceNumber::new(expected)
                    .map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                let new = event("a", &format!("race/{stream}"));
                let asked = clock.fetch_add(1, Ordering::SeqCst);
                let result = store.append(expecting(version, new)).await;
                let answered = clock.fetch_add(1, Ordering::SeqCst);
                let outcome = match result {
                    Ok(receipt) => Outcome::Made(receipt.events[0].sequence_number.get()),
                    Err(AppendError::VersionConflict { actual, .. }) => {
                        Outcome::Found(actual.map_or(0, SequenceNumber::get))
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                };
                *seen = match outcome {
                    Outcome::Made(version) | Outcome::Found(version) => version,
                };
                calls.push(Call {
                    stream,
                    asked,
                    answered,
                    expected,
                    outcome,
                });
            }
            calls
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Checks that there is an order of the calls in which every answer is right and that agrees with
/// real time.
///
/// # Errors
/// What is wrong, in words.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let mut streams: BTreeMap<u64, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        streams.entry(call.stream).or_default().push(call);
    }
    streams.values().try_for_each(|calls| check_stream(calls))
}

fn check_stream(calls: &[&Call]) -> Result<(), String> {
    let mut made: BTreeMap<u64, &Call> = BTreeMap::new();
    for call in calls {
        if let Outcome::Made(version) = call.outcome {
            if version != call.expected + 1 {
                return Err(format!("{call:?} made another version than it expected"));
            }
            if let Some(other) = made.insert(version, call) {
                return Err(format!("{call:?} and {other:?} made the same version"));
            }
        }
    }
    let mut latest_question = None;
    for ((version, call), dense) in made.iter().zip(1..) {
        if *version != dense {
            return Err(format!("no append made version {dense}"));
        }
        if let Some(earlier) = latest_question.filter(|asked| call.answered < *asked) {
            return Err(format!(
                "{call:?} answered before {earlier}, when a smaller version was asked for"
            ));
        }
        latest_question = latest_question.max(Some(call.asked));
    }
    calls.iter().try_for_each(|call| check_refusal(call, &made))
}

fn check_refusal(call: &Call, made: &BTreeMap<u64, &Call>) -> Result<(), String> {
    let Outcome::Found(found) = call.outcome else {
        return Ok(());
    };
    if found == call.expected {
        return Err(format!("{call:?} was refused though it was right"));
    }
    if found > 0 {
        match made.get(&found) {
            None => return Err(format!("{call:?} found a version that nobody made")),
            Some(maker) if maker.asked > call.answered => {
                return Err(format!(
                    "{call:?} found the version of {maker:?} before its time"
                ));
            }
            Some(_) => {}
        }
    }
    match made.get(&(found + 1)) {
        Some(next) if next.answered < call.asked => {
            Err(format!("{call:?} did not find the version of {next:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use factum_store::MemoryStore;

    use super::*;

    const fn call(asked: u64, answered: u64, expected: u64, outcome: Outcome) -> Call {
        Call {
            stream: 0,
            asked,
            answered,
            expected,
            outcome,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_model_store_is_linearizable() {
        for seed in 0..5 {
            let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
            let calls = record(seed, 800, &store).await;
            assert_eq!(check(&calls), Ok(()), "seed {seed}");
        }
    }

    #[test]
    fn wrong_histories_are_found() {
        use Outcome::{Found, Made};
        let first = call(0, 1, 0, Made(1));
        for wrong in [
            vec![first, call(2, 3, 0, Made(1))],
            vec![first, call(2, 3, 2, Made(3))],
            vec![first, call(2, 3, 1, Made(3))],
            vec![call(2, 3, 0, Made(1)), call(0, 1, 1, Made(2))],
            vec![first, call(2, 3, 1, Found(0))],
            vec![first, call(2, 3, 1, Found(1))],
            vec![first, call(2, 3, 1, Found(2))],
            vec![call(2, 3, 0, Made(1)), call(0, 1, 5, Found(1))],
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
        let overlapping = [
            call(0, 9, 0, Made(1)),
            call(1, 8, 1, Made(2)),
            call(2, 7, 5, Found(1)),
        ];
        assert_eq!(check(&overlapping), Ok(()));
    }
}
