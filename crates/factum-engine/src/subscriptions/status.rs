//! How a subscription is, and what is parked.

use std::time::Duration;

use factum_model::{EventId, Position, Timestamp};
use factum_query::Filter;
use factum_store::{
    Batch, Change, Direction, Due, LogRead, Precondition, Put, Record, RecordId, RecordKey,
    RecordScan, StateError, Visibility,
};

use super::error::SubscriptionError;
use super::feed::{Feed, Reading, since};
use super::record::{Entry, key_of, position_of};

/// How a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStatus {
    /// Everything up to here was read. On a node that does not read it, as the checkpoint says.
    pub position: Option<Position>,
    /// Events that are ready to be handed out; some may have to wait for others of their stream.
    pub n_ready: u64,
    /// Events that are out.
    pub n_out: u64,
    /// Events that wait for their retry.
    pub n_waiting: u64,
    /// Events that are parked.
    pub n_parked: u64,
    /// How many events of the log are not done with, at most: those that are queued, and those
    /// that were not read yet, whether the filter means them or not.
    pub lag_events: u64,
    /// How long ago the oldest event that is not done with was recorded.
    pub lag: Duration,
    /// This node reads the log for it.
    pub reads_here: bool,
}

/// An event that is set aside for a person to decide on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its id.
    pub event_id: EventId,
    /// Its stream.
    pub stream: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it was parked, by the clock of the bookkeeping.
    pub parked_at: Timestamp,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why the last one failed.
    pub cause: String,
}

/// A page of parked events, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedPage {
    /// The events.
    pub events: Vec<ParkedEvent>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<Position>,
}

/// Which parked events are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParkedChoice {
    /// All.
    All,
    /// Those at these positions, as far as they are parked.
    At(Vec<Position>),
}

/// What becomes of parked events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkedAct {
    /// They are handed out again, with all their attempts before them.
    Redrive,
    /// They are given up.
    Discard,
}

/// How many parked events are moved with one change.
const PARKED_BATCH: usize = 250;

impl Feed {
    /// Says how the subscription is.
    ///
    /// # Errors
    /// See [`SubscriptionError`].
    pub async fn status(&self) -> Result<FeedStatus, SubscriptionError> {
        let inner = &*self.inner;
        let reading = self.reading();
        let position = match reading {
            Reading::Here(position) => position,
            Reading::Elsewhere => self.checkpoint().await?,
        };
        let queue = inner.state.queue(inner.queue.clone()).await?;
        let n_parked = inner.state.queue(inner.parked.clone()).await?.n_records;
        let number = |position: Option<Position>| position.map_or(0, Position::get);
        let unread = number(inner.engine.head()).saturating_sub(number(position));
        let oldest = match self.oldest_queued().await? {
            None if unread > 0 => self.recorded_after(position).await?,
            oldest => oldest,
        };
        let now = inner.engine.clock().now();
        Ok(FeedStatus {
            position,
            n_ready: queue.n_due,
            n_out: queue.n_claimed,
            n_waiting: queue.n_waiting,
            n_parked,
            lag_events: queue.n_records + unread,
            lag: oldest.map_or(Duration::ZERO, |oldest| since(oldest, now)),
            reads_here: matches!(reading, Reading::Here(_)),
        })
    }

    async fn oldest_queued(&self) -> Result<Option<Timestamp>, SubscriptionError> {
        let page = self.inner.state.scan(RecordScan {
            limit: 1,
            ..RecordScan::all(self.inner.queue.clone())
        });
        let first = page.await?.records.pop();
        let entry = first.and_then(|record| Entry::decode(&record.body));
        Ok(entry.map(|entry| entry.recorded_at))
    }

    async fn recorded_after(
        &self,
        position: Option<Position>,
    ) -> Result<Option<Timestamp>, SubscriptionError> {
        let page = self.inner.engine.store().read_log(LogRead {
            filter: Filter::default(),
            visibility: Visibility::Everything,
            after: position,
            limit: 1,
            ..LogRead::forwards()
        });
        Ok(page.await?.events.first().map(|event| event.recorded_at))
    }

    /// Lists parked events, the oldest first.
    ///
    /// # Errors
    /// See [`SubscriptionError`].
    pub async fn parked(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> Result<ParkedPage, SubscriptionError> {
        let limits = self.inner.state.limits();
        let page = self.inner.state.scan(RecordScan {
            after: after.map(key_of).transpose()?,
            direction: Direction::Forwards,
            limit: limit.clamp(1, limits.page_records_max),
            ..RecordScan::all(self.inner.parked.clone())
        });
        let page = page.await?;
        Ok(ParkedPage {
            events: page.records.into_iter().filter_map(parked).collect(),
            next: page.next.as_ref().and_then(position_of),
        })
    }

    /// Hands parked events out again, or gives them up. Returns how many.
    ///
    /// # Errors
    /// See [`SubscriptionError`]; what was done until then stays done.
    pub async fn decide(
        &self,
        choice: ParkedChoice,
        act: ParkedAct,
    ) -> Result<usize, SubscriptionError> {
        let keys = match choice {
            ParkedChoice::All => None,
            ParkedChoice::At(positions) => {
                let keys: Result<Vec<_>, StateError> = positions.into_iter().map(key_of).collect();
                Some(keys?)
            }
        };
        let mut n_decided = 0;
        let mut after: Option<RecordKey> = None;
        let mut asked = keys.map(|mut keys| {
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter()
        });
        loop {
            let records = match &mut asked {
                Some(keys) => {
                    let some: Vec<_> = keys.by_ref().take(PARKED_BATCH).collect();
                    if some.is_empty() {
                        return Ok(n_decided);
                    }
                    self.parked_records(some).await?
                }
                None => {
                    let page = self.inner.state.scan(RecordScan {
                        after,
                        limit: PARKED_BATCH,
                        ..RecordScan::all(self.inner.parked.clone())
                    });
                    let records = page.await?.records;
                    let Some(last) = records.last() else {
                        return Ok(n_decided);
                    };
                    after = Some(last.id.key.clone());
                    records
                }
            };
            n_decided += self.decide_on(records, act).await?;
        }
    }

    async fn parked_records(&self, keys: Vec<RecordKey>) -> Result<Vec<Record>, SubscriptionError> {
        let mut records = Vec::with_capacity(keys.len());
        for key in keys {
            let id = RecordId::new(self.inner.parked.clone(), key);
            records.extend(self.inner.state.record(id).await?);
        }
        Ok(records)
    }

    /// Decides on records, each on its own where somebody else decides on some at the same moment.
    async fn decide_on(
        &self,
        records: Vec<Record>,
        act: ParkedAct,
    ) -> Result<usize, SubscriptionError> {
        let mut parts = vec![records];
        let mut n_decided = 0;
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let changes = part.iter().flat_map(|record| self.changes(record, act));
            match self.inner.state.apply(Batch::of(changes.collect())).await {
                Ok(_) => n_decided += part.len(),
                Err(StateError::Conflict { .. }) if part.len() > 1 => {
                    let mut first = part;
                    let second = first.split_off(first.len() / 2);
                    parts.extend([second, first]);
                }
                Err(StateError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.wake_consumers();
        Ok(n_decided)
    }

    fn changes(&self, record: &Record, act: ParkedAct) -> Vec<Change> {
        let version = Precondition::Version(record.version);
        let delete = Change::delete(record.id.clone(), version);
        let again = match (act, Entry::decode(&record.body)) {
            (ParkedAct::Redrive, Some(entry)) => {
                let fresh = Entry { failed: 0, ..entry };
                let put = Put {
                    body: fresh.encode(),
                    due: Due::After(Duration::ZERO),
                    group: record.group.clone(),
                };
                let id = RecordId::new(self.inner.queue.clone(), record.id.key.clone());
                Some(Change::put(id, Precondition::Any, put))
            }
            (ParkedAct::Redrive, None) | (ParkedAct::Discard, _) => None,
        };
        std::iter::once(delete).chain(again).collect()
    }
}

fn parked(record: Record) -> Option<ParkedEvent> {
    let entry = Entry::decode(&record.body)?;
    Some(ParkedEvent {
        position: position_of(&record.id.key)?,
        event_id: entry.event_id,
        stream: record
            .group
            .map_or_else(String::new, |group| group.to_string()),
        recorded_at: entry.recorded_at,
        parked_at: record.written_at,
        attempts: entry.failed,
        cause: entry.cause,
    })
}
