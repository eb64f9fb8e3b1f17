//! Events that are appended at a time: once, or again and again after a calendar.
//!
//! A scheduled event is a record of the bookkeeping that is due at its time. Whichever node claims
//! it appends the event under an id that follows from the name of the record and from the time, and
//! then writes what comes next. A crash in between makes it append again, under the same id, which
//! the log sees as a repeat. So each firing is one event, through crashes and on any number of
//! nodes, as long as they share the bookkeeping.
//!
//! Times are compared by the clock of the bookkeeping alone. It must never fire what is not due,
//! and never leaves out what is: what was missed fires late, and says for when it was.

mod calendar;
mod entry;
mod error;
mod fire;
mod meters;
mod record;

pub use self::calendar::{Calendar, Missed};
pub use self::entry::{
    Firing, NewScheduled, ScheduleId, SchedulePage, ScheduleScan, Scheduled, When,
};
pub use self::error::{InvalidScheduleId, ScheduleError};
pub use self::meters::{LATENESS_BOUNDS_MS, ScheduleMeters};

use std::sync::Arc;
use std::time::Duration;

use factum_model::{MonotonicIds, Timestamp};
use factum_store::{
    AppendRequest, Batch, Change, Due, OwnerName, Precondition, Put, Record, RecordId, RecordScan,
    StateError, StateStore,
};

use self::meters::Meters;
use self::record::Stored;
use crate::check;
use crate::engine::Engine;

/// The kind of the records.
const KIND: &str = "schedule";

/// What a schedule is run with.
#[derive(Debug, Clone)]
pub struct ScheduleOptions {
    /// Who this node is; a node that is started again has the name that it had.
    pub node: OwnerName,
    /// How many events may be scheduled.
    pub entries_max: usize,
    /// How long to wait before looking again for what other nodes scheduled.
    pub poll_interval: Duration,
    /// How long one node may take for a firing before another may try.
    pub claim_time: Duration,
    /// How many events are fired at once.
    pub batch_max: usize,
    /// From how late on a firing is told of.
    pub late_after: Duration,
}

impl ScheduleOptions {
    /// Returns what is usual, for a node.
    #[must_use]
    pub const fn of(node: OwnerName) -> Self {
        Self {
            node,
            entries_max: 100_000,
            poll_interval: Duration::from_millis(500),
            claim_time: Duration::from_secs(30),
            batch_max: 64,
            late_after: Duration::from_secs(5),
        }
    }
}

/// The scheduled events of a log. Cloning is cheap and gives another handle to the same ones.
#[derive(Debug, Clone)]
pub struct Schedule {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    state: Arc<dyn StateStore>,
    options: ScheduleOptions,
    meters: Meters,
}

impl Schedule {
    /// Makes a handle to the scheduled events of a log. They fire while [`Schedule::run`] does.
    ///
    /// # Errors
    /// [`ScheduleError::NoBookkeeping`].
    pub fn new(engine: Engine, options: ScheduleOptions) -> Result<Self, ScheduleError> {
        let state = engine.state().ok_or(ScheduleError::NoBookkeeping)?;
        let state = Arc::clone(state);
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                state,
                options,
                meters: Meters::default(),
            }),
        })
    }

    /// Schedules an event. It is durable when this returns. One whose time has passed fires at
    /// once.
    ///
    /// With an id of the caller's this may be repeated: the same again changes nothing, also
    /// after the event fired, since it would fire under the same event id.
    ///
    /// # Errors
    /// [`ScheduleError`]; `already_exists` when the id stands for something else.
    pub async fn add(&self, new: NewScheduled, by: &str) -> Result<Scheduled, ScheduleError> {
        self.check_event(&new)?;
        let now = self.shared.state.now().await?;
        let id = match new.id {
            Some(id) => id,
            None => ScheduleId::fresh(&MonotonicIds::new(random), now)?,
        };
        let is_exact = matches!(new.when, When::At(_));
        let calendar = match &new.when {
            When::At(_) | When::After(_) => None,
            When::Calendar(calendar) => Some(calendar.clone()),
        };
        let due = match new.when {
            When::At(at) => at,
            When::After(delay) => after(now, delay),
            When::Calendar(calendar) => calendar.next(now).ok_or(ScheduleError::Never)?,
        };
        let stored = Stored::new(&new.event, calendar.as_ref(), due, (now, by));
        self.check_room().await?;
        let put = Put::new(stored.encode()?).due(Due::At(due));
        let record = id.record()?;
        let change = Change::put(record.clone(), Precondition::Absent, put);
        match self.shared.state.apply(Batch::of(vec![change])).await {
            Ok(_) => Ok(stored.show(id)?),
            Err(StateError::Conflict { .. }) => {
                let there = self.find(&id).await?;
                let same = there.filter(|(_, there)| {
                    there.says_the_same_as(&stored) && (!is_exact || there.due() == due)
                });
                match same {
                    Some((_, there)) => Ok(there.show(id)?),
                    None => Err(ScheduleError::Exists { id }),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lists what is scheduled, by id.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn list(&self, scan: ScheduleScan) -> Result<SchedulePage, ScheduleError> {
        let after = scan.after.map(|id| id.as_str().parse()).transpose()?;
        let page = self.shared.state.scan(RecordScan {
            after,
            limit: scan.limit.clamp(1, 1000),
            ..RecordScan::all(KIND.parse()?)
        });
        let page = page.await?;
        let show = |record: &Record| decode(record)?.show(record.id.key.as_str().parse()?);
        let items: Result<Vec<Scheduled>, ScheduleError> = page.records.iter().map(show).collect();
        Ok(SchedulePage {
            items: items?,
            has_more: page.next.is_some(),
        })
    }

    /// Returns one scheduled event.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`] also for one that fired, unless it fires again.
    pub async fn get(&self, id: &ScheduleId) -> Result<Scheduled, ScheduleError> {
        match self.find(id).await? {
            Some((_, stored)) => stored.show(id.clone()),
            None => Err(ScheduleError::NotFound { id: id.clone() }),
        }
    }

    /// Cancels a scheduled event, and returns it. A firing that has begun is not called back.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`].
    pub async fn cancel(&self, id: &ScheduleId) -> Result<Scheduled, ScheduleError> {
        loop {
            let Some((record, stored)) = self.find(id).await? else {
                return Err(ScheduleError::NotFound { id: id.clone() });
            };
            let change = Change::delete(record.id, Precondition::Version(record.version));
            match self.shared.state.apply(Batch::of(vec![change])).await {
                Ok(_) => return stored.show(id.clone()),
                // It fired in between; what it is now is cancelled.
                Err(StateError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns what was counted on this node, and how many events wait.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn meters(&self) -> Result<ScheduleMeters, ScheduleError> {
        let queue = self.shared.state.queue(KIND.parse()?).await?;
        Ok(ScheduleMeters {
            entries: queue.n_records,
            entries_max: self.shared.options.entries_max as u64,
            due: queue.n_due + queue.n_claimed,
            ..self.shared.meters.counted()
        })
    }

    async fn find(&self, id: &ScheduleId) -> Result<Option<(Record, Stored)>, ScheduleError> {
        let record = self.shared.state.record(id.record()?).await?;
        record
            .map(|record| decode(&record).map(|stored| (record, stored)))
            .transpose()
    }

    /// Checks what is going to be appended as if it were now, so that it is refused here and not
    /// when nobody looks.
    fn check_event(&self, new: &NewScheduled) -> Result<(), ScheduleError> {
        if new.event.id.is_some() || new.event.timestamp.is_some() {
            return Err(ScheduleError::Assigned);
        }
        let fired = record::fired(&new.event, "x", Timestamp::MAX)?;
        let request = AppendRequest {
            events: vec![fired],
            ..AppendRequest::default()
        };
        let options = self.shared.engine.options();
        check::request(&request, options)?;
        check::names(&request)?;
        check::instances(&request)?;
        if options.strict_catalogue {
            check::types(&request)?;
        }
        Ok(())
    }

    async fn check_room(&self) -> Result<(), ScheduleError> {
        let limit = self.shared.options.entries_max;
        let queue = self.shared.state.queue(KIND.parse()?).await?;
        if usize::try_from(queue.n_records).is_ok_and(|count| count < limit) {
            Ok(())
        } else {
            self.shared.meters.refused();
            tracing::warn!(
                limit,
                "as many events are scheduled as may be; another one is refused"
            );
            Err(ScheduleError::TooMany { limit })
        }
    }
}

fn decode(record: &Record) -> Result<Stored, ScheduleError> {
    Stored::decode(&record.body).map_err(|source| ScheduleError::Record {
        id: record.id.key.as_str().to_owned(),
        source,
    })
}

fn after(now: Timestamp, delay: Duration) -> Timestamp {
    now.saturating_add_micros(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

/// Fills bytes at random, well enough for names.
fn random(bytes: &mut [u8]) {
    use std::hash::{BuildHasher as _, Hasher as _};
    for part in bytes.chunks_mut(8) {
        let random = std::hash::RandomState::new().build_hasher().finish();
        part.copy_from_slice(random.to_be_bytes().get(..part.len()).unwrap_or_default());
    }
}

impl ScheduleId {
    fn record(&self) -> Result<RecordId, ScheduleError> {
        Ok(RecordId::new(KIND.parse()?, self.as_str().parse()?))
    }
}
