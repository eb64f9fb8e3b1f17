//! The one writer of this node: takes requests from the queue and appends them as one group.
//!
//! First it takes for granted what it remembers, and one call appends the group. Where the
//! database turns out to be otherwise, nothing was changed; the writer looks everything up in one
//! snapshot and tries again, and if others are ahead of it then too, it locks the head before it
//! looks. So most groups take one round trip, and every group gets its turn.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use factum_model::{EventId, Position, SequenceNumber, StreamId};
use factum_store::{AppendError, AppendReceipt, EventReceipt, ReadError, WriteState};
use tokio::time::{Instant, sleep, timeout_at};

use crate::counters::add;
use crate::decide::{Facts, Head, Place, Plan, PlannedEvent, decide};
use crate::error::{Failure, Meaning, meaning};
use crate::facts::fetch;
use crate::queue::Pending;
use crate::read_log::TooMany;
use crate::send::{Outcome, send};
use crate::shared::Shared;
use crate::source::Asking;
use crate::values::position_bigint;

/// How long to wait before a group is sent again after the connection was lost.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// When a caller is to come back who met other nodes' locks, or no server.
const RETRY_AFTER_MS: u64 = 1000;
/// A condition is not decided if more events than this would have to be looked at for it.
const CONDITION_EXAMINED_MAX: usize = 50_000;

/// How much is taken for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// What this node remembers.
    Memory,
    /// What a snapshot shows.
    Snapshot,
    /// Nothing: the head is locked first.
    Nothing,
}

impl Trust {
    const fn less(self) -> Self {
        match self {
            Self::Memory => Self::Snapshot,
            Self::Snapshot | Self::Nothing => Self::Nothing,
        }
    }
}

/// A group on its way to the server.
struct Group {
    requests: Vec<Pending>,
    trust: Trust,
    deadline: Instant,
    /// The ids of events that were sent without an answer: they may be there.
    sent: HashSet<EventId>,
}

/// What an attempt came to.
enum Attempt {
    /// As many requests as there are answers are done.
    Answered(Vec<Result<AppendReceipt, AppendError>>),
    /// Something was not as it was taken to be.
    InVain,
}

/// The writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    versions: HashMap<StreamId, u64>,
    correlations: HashMap<EventId, Option<String>>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            versions: HashMap::new(),
            correlations: HashMap::new(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        while let Some(requests) = self.shared.queue.take().await {
            add(&self.shared.counters.requests, requests.len() as u64);
            self.append(requests).await;
        }
        self.shared.set_state(WriteState::Closed);
    }

    async fn append(&mut self, requests: Vec<Pending>) {
        let (late, requests): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .partition(|pending| pending.deadline <= Instant::now());
        for pending in late {
            pending.answer(Err(overloaded("time that an append may wait")));
        }
        let Some(deadline) = requests.iter().map(|pending| pending.deadline).min() else {
            return;
        };
        let has_condition = |pending: &Pending| pending.request.condition.is_some();
        let trust = if requests.iter().any(has_condition) {
            Trust::Snapshot
        } else {
            Trust::Memory
        };
        let mut group = Group {
            requests,
            trust,
            deadline,
            sent: HashSet::new(),
        };
        let answers = loop {
            match self.attempt(&mut group).await {
                Ok(Attempt::Answered(answers)) => {
                    self.shared.set_state(WriteState::Open);
                    break answers;
                }
                Ok(Attempt::InVain) => {
                    add(&self.shared.counters.attempts_in_vain, 1);
                    group.trust = group.trust.less();
                }
                Err(failure) => {
                    if let Some(refusal) = self.give_up(&mut group, failure).await {
                        let each = group.requests.iter();
                        break each
                            .map(|pending| Err(refusal.error(pending, &group.sent)))
                            .collect();
                    }
                }
            }
        };
        self.answer(group.requests, answers);
    }

    fn answer(&self, mut requests: Vec<Pending>, answers: Vec<Result<AppendReceipt, AppendError>>) {
        // What could not be decided on in this group comes first in the next.
        let rest = requests.split_off(answers.len().min(requests.len()));
        self.shared.queue.put_back(rest);
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        add(&self.shared.counters.requests_refused, refused as u64);
        for (pending, answer) in requests.into_iter().zip(answers) {
            pending.answer(answer);
        }
    }

    async fn attempt(&mut self, group: &mut Group) -> Result<Attempt, Failure> {
        match group.trust {
            Trust::Memory => {
                let facts = self.remembered(&group.requests);
                let now = self.shared.options.clock.now();
                let plan = decide(&group.requests, &facts, now);
                // A refusal alone changes nothing that would show whether it is right.
                if plan.needs_facts || plan.events.is_empty() {
                    return Ok(Attempt::InVain);
                }
                self.send(plan, None, &mut group.sent, group.deadline).await
            }
            Trust::Snapshot => {
                let asking = Asking::own(group.deadline);
                let facts = fetch(&self.shared, asking, &group.requests, &group.sent);
                let mut facts = facts.await?;
                self.look_for_matches(&mut facts, group, asking).await?;
                let now = self.shared.options.clock.now();
                let plan = decide(&group.requests, &facts, now);
                if plan.events.is_empty() {
                    return Ok(Attempt::Answered(answers(plan, None, &group.sent)));
                }
                let head = facts.head.filter(|_| plan.is_bound_to_head);
                self.send(plan, head, &mut group.sent, group.deadline).await
            }
            Trust::Nothing => self.attempt_locked(group).await,
        }
    }

    /// Sends a plan over a connection of its own.
    async fn send(
        &mut self,
        plan: Plan<'_>,
        head: Option<Head>,
        sent: &mut HashSet<EventId>,
        deadline: Instant,
    ) -> Result<Attempt, Failure> {
        let client = self.shared.own.get(deadline).await?;
        let before = sent.clone();
        // From here on it may be there, whatever happens.
        sent.extend(plan.events.iter().map(|event| event.id));
        let shared = Arc::clone(&self.shared);
        let started = Instant::now();
        let (statements, options) = (&shared.statements, &shared.options);
        let outcome = send(&client, statements, options, &plan, (head, deadline)).await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        add(&shared.counters.commit_micros, micros);
        match outcome {
            Ok(outcome) => {
                let attempt = self.conclude(plan, &outcome, &before);
                *sent = before;
                Ok(attempt)
            }
            Err(failure) => {
                let lost = match &failure {
                    Failure::Statement(error) => meaning(error) == Meaning::Lost,
                    Failure::Timeout | Failure::Row(_) => true,
                    Failure::NoConnection(_) | Failure::Closed => false,
                };
                if lost {
                    // The server may still be at it; nobody else is to wait behind that.
                    drop(deadpool_postgres::Object::take(client));
                } else {
                    *sent = before;
                }
                Err(failure)
            }
        }
    }

    /// Locks the head, looks everything up and appends, in one transaction.
    async fn attempt_locked(&mut self, group: &mut Group) -> Result<Attempt, Failure> {
        add(&self.shared.counters.heads_locked, 1);
        let client = self.shared.own.get(group.deadline).await?;
        // If anything goes wrong from here on, the transaction ends with the connection.
        let client = deadpool_postgres::Object::take(client);
        let shared = Arc::clone(&self.shared);
        let (statements, options) = (&shared.statements, &shared.options);
        let deadline = group.deadline;
        let lock_ms = options.lock_timeout.as_millis();
        // No statement takes longer than others wait for the head.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {lock_ms}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; \
             SET LOCAL lock_timeout = {lock_ms}",
            options.head_idle_timeout.as_millis()
        );
        in_time(deadline, client.batch_execute(&begin)).await?;
        let lock_ms = i32::try_from(lock_ms).unwrap_or(i32::MAX);
        let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), _)] = &[
            (&statements.log, tokio_postgres::types::Type::INT4),
            (&lock_ms, tokio_postgres::types::Type::INT4),
        ];
        let lock = client.query_typed(&statements.lock_head, parameters);
        in_time(deadline, lock).await?;
        let asking = Asking::locked(&client, deadline);
        let mut facts = fetch(&shared, asking, &group.requests, &group.sent).await?;
        self.look_for_matches(&mut facts, group, asking).await?;
        let now = options.clock.now();
        let plan = decide(&group.requests, &facts, now);
        if plan.events.is_empty() {
            in_time(deadline, client.batch_execute("ROLLBACK")).await?;
            return Ok(Attempt::Answered(answers(plan, None, &group.sent)));
        }
        let head = facts.head;
        let before = group.sent.clone();
        let outcome = send(&client, statements, options, &plan, (head, deadline)).await?;
        // From here on it may be there, whatever happens.
        group.sent.extend(plan.events.iter().map(|event| event.id));
        in_time(deadline, client.batch_execute("COMMIT")).await?;
        group.sent.clone_from(&before);
        Ok(self.conclude(plan, &outcome, &before))
    }

    /// Takes note of what the server made of a plan.
    fn conclude(
        &mut self,
        plan: Plan<'_>,
        outcome: &Outcome,
        sent_before: &HashSet<EventId>,
    ) -> Attempt {
        if !outcome.is_appended {
            for stream in &plan.streams {
                self.versions.remove(stream.stream);
            }
            return Attempt::InVain;
        }
        let known = self.versions.len() + self.correlations.len() / 2;
        if known > self.shared.options.versions_max {
            self.versions.clear();
            self.correlations.clear();
        }
        for (planned, version) in plan.streams.iter().zip(&outcome.versions) {
            let version = version + planned.n_events;
            self.versions.insert(planned.stream.clone(), version);
        }
        let mut bytes = 0;
        for event in &plan.events {
            bytes += event.event.payload.as_str().len() + event.event.metadata.as_str().len();
            self.correlations
                .insert(event.id, event.correlation.clone());
        }
        let counters = &self.shared.counters;
        add(&counters.events, plan.events.len() as u64);
        add(&counters.groups, 1);
        add(&counters.bytes, bytes as u64);
        let before = outcome.head.map_or(0, Position::get);
        self.shared
            .advance(Position::new(before + plan.events.len() as u64));
        self.shared.appended.notify_one();
        Attempt::Answered(answers(plan, Some(outcome), sent_before))
    }

    /// Returns what this node remembers of the streams and causes of a group.
    fn remembered(&self, requests: &[Pending]) -> Facts {
        let mut facts = Facts::default();
        for pending in requests {
            let expected = pending.request.expected.iter();
            let events = pending.request.events.iter();
            for stream in events
                .clone()
                .map(|event| &event.stream)
                .chain(expected.map(|expectation| &expectation.stream))
            {
                if let Some(version) = self.versions.get(stream) {
                    facts.versions.insert(stream.clone(), *version);
                }
            }
            for cause in events.filter_map(|event| event.causation_id) {
                if let Some(correlation) = self.correlations.get(&cause) {
                    facts.correlations.insert(cause, correlation.clone());
                }
            }
        }
        facts
    }

    /// Looks for the events that conditions must not find, up to the head of the facts.
    async fn look_for_matches(
        &self,
        facts: &mut Facts,
        group: &Group,
        asking: Asking<'_>,
    ) -> Result<(), Failure> {
        let head = position_bigint(facts.head.and_then(|head| head.position));
        for (number, pending) in group.requests.iter().enumerate() {
            let Some(condition) = &pending.request.condition else {
                continue;
            };
            let range = (position_bigint(condition.after).saturating_add(1), head);
            let most = CONDITION_EXAMINED_MAX;
            let filter = &condition.filter;
            let looked = self.shared.first_match(filter, range, most, asking);
            match looked.await? {
                Ok(Some(event)) => {
                    facts.matches.insert(number, (event.position, event.id));
                }
                Ok(None) => {}
                Err(TooMany) => {
                    facts.undecided.insert(number);
                }
            }
        }
        Ok(())
    }

    /// Says how a group that cannot be appended is refused; `None` if it is to be tried again.
    async fn give_up(&mut self, group: &mut Group, failure: Failure) -> Option<Refusal> {
        let meaning = match &failure {
            Failure::Statement(error) => meaning(error),
            Failure::NoConnection(_) | Failure::Timeout => Meaning::Lost,
            Failure::Row(_) => Meaning::Refused,
            Failure::Closed => return Some(Refusal::Unavailable),
        };
        match meaning {
            // With the head locked nobody else can take an id: two sources make the same ones.
            Meaning::Taken if group.trust == Trust::Nothing => {
                tracing::error!("an id that was made for an event is taken");
                return Some(Refusal::Refused);
            }
            Meaning::Taken => {
                group.trust = group.trust.less();
                return None;
            }
            Meaning::Lost | Meaning::ReadOnly => {
                add(&self.shared.counters.connections_lost, 1);
                tracing::warn!(%failure, "an append has lost its connection");
                self.shared.set_state(WriteState::Failed {
                    cause: "PostgreSQL cannot be reached".to_owned(),
                });
                // Much may have happened meanwhile.
                self.versions.clear();
                group.trust = Trust::Snapshot;
            }
            Meaning::Busy => tracing::warn!(%failure, "an append has waited in vain"),
            Meaning::Full => {
                tracing::error!(%failure, "PostgreSQL has no space");
                self.shared.set_state(WriteState::Full);
                return Some(Refusal::Full);
            }
            Meaning::Moved => {
                tracing::error!(error = ?failure, "the log takes no appends");
                self.shared.set_state(WriteState::ReadOnly);
                return Some(Refusal::ReadOnly);
            }
            Meaning::Refused => {
                tracing::error!(error = ?failure, "PostgreSQL has refused an append");
                return Some(Refusal::Refused);
            }
        }
        if Instant::now() + RETRY_DELAY < group.deadline {
            sleep(RETRY_DELAY).await;
            return None;
        }
        Some(match meaning {
            Meaning::Busy => Refusal::Busy,
            Meaning::Lost
            | Meaning::ReadOnly
            | Meaning::Moved
            | Meaning::Taken
            | Meaning::Full
            | Meaning::Refused => Refusal::Unavailable,
        })
    }
}

/// Why a whole group is refused.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Unavailable,
    Busy,
    Full,
    ReadOnly,
    Refused,
}

impl Refusal {
    fn error(self, pending: &Pending, sent: &HashSet<EventId>) -> AppendError {
        if pending.ids.iter().any(|id| sent.contains(id)) {
            return AppendError::OutcomeUnknown {
                ids: pending.ids.clone(),
            };
        }
        match self {
            Self::Unavailable => AppendError::Read(ReadError::Unavailable(
                "no connection to append with".into(),
            )),
            Self::Busy => overloaded("time that an append may wait for other nodes"),
            Self::Full => AppendError::StorageFull,
            Self::ReadOnly => AppendError::ReadOnly,
            Self::Refused => AppendError::StoreFailed {
                cause: "PostgreSQL refused the append".to_owned(),
            },
        }
    }
}

const fn overloaded(limit: &'static str) -> AppendError {
    AppendError::Overloaded {
        limit,
        retry_after_ms: RETRY_AFTER_MS,
    }
}

async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    let done = timeout_at(deadline, work).await;
    Ok(done.map_err(|_| Failure::Timeout)??)
}

/// Makes the answers out of a plan and what the server made of it.
fn answers(
    plan: Plan<'_>,
    outcome: Option<&Outcome>,
    sent: &HashSet<EventId>,
) -> Vec<Result<AppendReceipt, AppendError>> {
    let events = plan.events;
    let receipt = |places: Vec<Place>| {
        let each = places.into_iter().filter_map(|place| match place {
            Place::Known(receipt) => Some(EventReceipt {
                // What this very request has brought there is no repeat.
                deduplicated: !sent.contains(&receipt.id),
                ..receipt
            }),
            Place::Planned(index) => planned_receipt(&events, outcome?, index),
        });
        AppendReceipt {
            events: each.collect(),
        }
    };
    let each = plan.answers.into_iter();
    each.map(|answer| answer.map(receipt)).collect()
}

fn planned_receipt(
    events: &[PlannedEvent<'_>],
    outcome: &Outcome,
    index: usize,
) -> Option<EventReceipt> {
    let event = events.get(index)?;
    let version = outcome.versions.get(event.stream)?;
    let before = outcome.head.map_or(0, Position::get);
    Some(EventReceipt {
        id: event.id,
        position: Position::new(before + index as u64 + 1)?,
        sequence_number: SequenceNumber::new(version + event.offset)?,
        recorded_at: outcome.recorded_at,
        deduplicated: false,
    })
}
