//! Catch-up, then live: the one iterator behind every reader that follows the log.
//!
//! A [`LiveReader`] holds a cursor and nothing else. What was appended before it was opened and
//! what is appended while it runs come from the same place, pages of the log after the cursor, so
//! there is no seam at which an event could be missed or repeated, and a slow reader costs nobody
//! anything: it reads later. Wake-ups ([`HeadSignal`]) only say that looking again is worth while.
//!
//! It must never buffer events between two reads, and never skip a damaged range.

mod signal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use factum_model::{Position, RecordedEvent};
use factum_query::Filter;
use factum_store::{Direction, EventStore, LogPage, LogRead, ReadError, Visibility};

pub use self::signal::HeadSignal;

/// Where a live reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiveStart {
    /// Before the first event of the log.
    Beginning,
    /// After this position. One past the head is allowed: the reader waits for what follows it.
    After(Position),
    /// After the head of the moment in which the reader is opened.
    #[default]
    End,
    /// Before the last so many matching events up to the head of that moment; fewer where there
    /// are fewer.
    Last(usize),
}

/// What a live reader is to deliver, and in which portions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRead {
    /// Which events.
    pub filter: Filter,
    /// Which events the reader may see.
    pub visibility: Visibility,
    /// Where to start.
    pub start: LiveStart,
    /// The largest number of events in a batch; at least 1.
    pub batch_events_max: usize,
    /// A batch ends after the event with which its texts reach this many bytes.
    pub batch_bytes_max: usize,
    /// The largest number of events that one step looks at without an index.
    pub scan_max: usize,
    /// The shortest time between two wake-ups of [`LiveReader::next`].
    pub coalesce: Duration,
}

impl Default for LiveRead {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            visibility: Visibility::default(),
            start: LiveStart::default(),
            batch_events_max: 256,
            batch_bytes_max: 256 << 10,
            scan_max: 16_384,
            coalesce: Duration::from_millis(1),
        }
    }
}

/// One step of a live reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveStep {
    /// The next matching events, in order; possibly none, when many were looked at in vain.
    Batch {
        /// The events.
        events: Vec<RecordedEvent>,
        /// Everything up to here has been looked at; going on after it misses and repeats nothing.
        /// `None` before the first event, and while the start is being looked for.
        through: Option<Position>,
    },
    /// The head was reached, for the first time.
    CaughtUp {
        /// The last position that was looked at.
        through: Option<Position>,
    },
}

/// How far a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Walking backwards to find where the last `wanted` matches begin; the ones found so far
    /// stand at or after `before`.
    Seeking { wanted: usize, before: Position },
    /// Reading forwards, not yet at the head.
    CatchingUp,
    /// The head was reached.
    Live,
}

/// Reads the log from a start on and follows it for ever.
#[derive(Debug)]
pub struct LiveReader {
    store: Arc<dyn EventStore>,
    read: LogRead,
    signal: HeadSignal,
    stage: Stage,
    /// Everything up to here has been delivered or did not match.
    cursor: Option<Position>,
    /// There is, or may be, another step without waiting.
    more: bool,
}

impl LiveReader {
    /// Opens a reader. The head that `End` and `Last` refer to is the one of this moment.
    #[must_use]
    pub fn open(store: Arc<dyn EventStore>, request: LiveRead) -> Self {
        let head = store.head();
        let (cursor, stage) = match request.start {
            LiveStart::Beginning => (None, Stage::CatchingUp),
            LiveStart::After(position) => (Some(position), Stage::CatchingUp),
            LiveStart::End | LiveStart::Last(0) => (head, Stage::CatchingUp),
            LiveStart::Last(wanted) => match head {
                None => (None, Stage::CatchingUp),
                Some(head) => {
                    let before = head.next();
                    (None, Stage::Seeking { wanted, before })
                }
            },
        };
        let signal = HeadSignal::new(store.watch_head(), request.coalesce);
        let read = LogRead {
            filter: request.filter,
            visibility: request.visibility,
            limit: request.batch_events_max.max(1),
            page_bytes_max: request.batch_bytes_max.max(1),
            scan_max: request.scan_max.max(1),
            ..LogRead::forwards()
        };
        Self {
            store,
            read,
            signal,
            stage,
            cursor,
            more: true,
        }
    }

    /// Returns the position up to which everything has been looked at, to go on after it; `None`
    /// before the first event. Not meaningful before [`LiveReader::is_placed`].
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.cursor
    }

    /// Tells whether the reader knows where it starts; not while it looks for the last matches.
    #[must_use]
    pub const fn is_placed(&self) -> bool {
        !matches!(self.stage, Stage::Seeking { .. })
    }

    /// Tells whether the head was reached once.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live)
    }

    /// Tells whether there is, or may be, another step without waiting for the head to move.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.more
    }

    /// Returns how many events of the log it has not looked at yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let number = |position: Option<Position>| position.map_or(0, Position::get);
        number(self.store.head()).saturating_sub(number(self.cursor))
    }

    /// Returns the next step if there is one now, `None` when the head has been reached and
    /// nothing follows. Reads at most one page. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`ReadError`]. A damaged range is an error each time, never skipped.
    pub async fn step(&mut self) -> Result<Option<LiveStep>, ReadError> {
        match self.stage {
            Stage::Seeking { wanted, before } => self.seek(wanted, before).await.map(Some),
            Stage::CatchingUp | Stage::Live => self.advance().await,
        }
    }

    /// Waits for the next step. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`LiveReader::step`]; [`ReadError::Closed`] when the store is gone.
    pub async fn next(&mut self) -> Result<LiveStep, ReadError> {
        loop {
            if !self.more {
                self.signal.moved().await?;
                self.more = true;
            }
            self.signal.mark_seen();
            if let Some(step) = self.step().await? {
                return Ok(step);
            }
        }
    }

    async fn seek(&mut self, wanted: usize, before: Position) -> Result<LiveStep, ReadError> {
        let request = LogRead {
            direction: Direction::Backwards,
            after: Some(before),
            limit: wanted.min(self.read.limit),
            ..self.read.clone()
        };
        let LogPage {
            events,
            scanned_to,
            has_more,
            examined: _,
        } = self.store.read_log(request).await?;
        let missing = wanted.saturating_sub(events.len());
        let reached = scanned_to.unwrap_or(before);
        self.stage = if missing == 0 {
            self.cursor = events.last().and_then(|first| first.position.previous());
            Stage::CatchingUp
        } else if has_more && reached < before {
            Stage::Seeking {
                wanted: missing,
                before: reached,
            }
        } else {
            Stage::CatchingUp
        };
        Ok(LiveStep::Batch {
            events: Vec::new(),
            through: None,
        })
    }

    async fn advance(&mut self) -> Result<Option<LiveStep>, ReadError> {
        if self.store.head() > self.cursor {
            let request = LogRead {
                after: self.cursor,
                ..self.read.clone()
            };
            let page = self.store.read_log(request).await?;
            if page.scanned_to > self.cursor {
                self.cursor = page.scanned_to;
                // What comes after this page is, from then on, for the next wake-up to tell.
                self.more = page.has_more || self.stage != Stage::Live;
                return Ok(Some(LiveStep::Batch {
                    events: page.events,
                    through: self.cursor,
                }));
            }
        }
        self.more = false;
        if self.stage == Stage::Live {
            return Ok(None);
        }
        self.stage = Stage::Live;
        Ok(Some(LiveStep::CaughtUp {
            through: self.cursor,
        }))
    }
}
