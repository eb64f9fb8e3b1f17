//! Reads of the whole log: by windows of positions, each narrowed by the server as far as it can,
//! and every event looked at here.

use std::time::Duration;

use factum_model::{Position, RecordedEvent, SYSTEM_AGGREGATE_TYPE};
use factum_query::{Answer, Filter, Leaf, Narrowing, narrowing};
use factum_store::{Direction, LogPage, LogRead, Visibility};
use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};

use crate::error::Failure;
use crate::facts::head_of;
use crate::pool::Query;
use crate::pushdown::{Condition, condition};
use crate::shared::Shared;
use crate::source::Asking;
use crate::values::{EVENT_COLUMNS, bigint, event, position, position_bigint};

/// How many parameters a window has besides those of the condition.
const N_PARAMETERS: usize = 7;
/// How many positions are looked at by one statement, at first; a server that is quick gets more.
pub(crate) const WINDOW_EVENTS: i64 = 100_000;
/// A statement that took less than this may look at more the next time.
const QUICK: Duration = Duration::from_millis(200);
/// How many events one statement returns at most, and at least.
const CHUNK_EVENTS: (usize, usize) = (64, 1000);
/// How many bytes of documents one statement returns, about.
const CHUNK_BYTES: i64 = 4 << 20;
/// What an event takes besides its documents, about.
const EVENT_BYTES: i64 = 512;

/// What a statement looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) direction: Direction,
    pub(crate) events_max: usize,
    pub(crate) bytes_max: i64,
}

/// Events in reading direction.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) events: Vec<RecordedEvent>,
    /// The window has, or may have, more.
    pub(crate) is_cut: bool,
    /// Where the head is, if it was asked for.
    pub(crate) head: Option<Position>,
}

/// Whether a statement also asks where the head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithHead {
    Yes,
    No,
}

impl Shared {
    /// Reads a page; see `EventStore::read_log`.
    pub(crate) async fn read_log(&self, read: &LogRead) -> Result<LogPage, Failure> {
        let mut page = PageBuilder::new(read);
        if read.limit == 0 {
            return Ok(page.finish(read.after));
        }
        let deadline = page.started + read.time_max.saturating_add(self.options.read_timeout);
        let asking = Asking::for_reader(deadline);
        let condition = self.condition(&read.filter, read.visibility, N_PARAMETERS);
        match read.direction {
            Direction::Forwards => self.forwards(page, &condition, asking).await,
            Direction::Backwards => {
                let head = self.fetch_head(asking).await?;
                let last = match read.after {
                    Some(after) => after.previous().min(head),
                    None => head,
                };
                let first = position_bigint(Some(read.until.unwrap_or(Position::FIRST)));
                let (mut last, mut window) = (position_bigint(last), WINDOW_EVENTS);
                if last < first {
                    return Ok(page.finish(read.after));
                }
                while last >= first {
                    let range = (first.max(last.saturating_sub(window - 1)), last);
                    if page.is_exhausted(range) {
                        break;
                    }
                    let asked = Instant::now();
                    let chunk = self
                        .window(page.window(range), &condition, WithHead::No, asking)
                        .await?;
                    let lowest = chunk.events.last().map(|event| event.position);
                    last = match lowest.filter(|_| chunk.is_cut) {
                        Some(lowest) => position_bigint(Some(lowest)) - 1,
                        None => range.0 - 1,
                    };
                    if page.look_at_all(chunk.events) {
                        break;
                    }
                    window = next_window(window, asked);
                }
                Ok(page.finish(position(first)))
            }
        }
    }

    async fn forwards(
        &self,
        mut page: PageBuilder<'_>,
        condition: &Condition,
        asking: Asking<'_>,
    ) -> Result<LogPage, Failure> {
        let read = page.read;
        let until = read.until.map_or(i64::MAX, |until| bigint(until.get()));
        let (mut first, mut last) = (position_bigint(read.after).saturating_add(1), until);
        let (mut window, mut head) = (WINDOW_EVENTS, None);
        if first > last {
            return Ok(page.finish(read.after));
        }
        loop {
            let range = (first, last.min(first.saturating_add(window - 1)));
            let with_head = if head.is_none() {
                WithHead::Yes
            } else {
                WithHead::No
            };
            if first > last || page.is_exhausted(range) {
                break;
            }
            let asked = Instant::now();
            let chunk = self
                .window(page.window(range), condition, with_head, asking)
                .await?;
            if with_head == WithHead::Yes {
                // The page ends at the head of the first look, whatever is appended meanwhile.
                head = Some(chunk.head);
                last = until.min(position_bigint(chunk.head));
                if first > last {
                    return Ok(page.finish(read.after));
                }
            }
            let highest = chunk.events.last().map(|event| event.position);
            first = match highest.filter(|_| chunk.is_cut) {
                Some(highest) => position_bigint(Some(highest)) + 1,
                None => range.1.saturating_add(1),
            };
            if page.look_at_all(chunk.events) {
                break;
            }
            window = next_window(window, asked);
        }
        Ok(page.finish(position(last)))
    }

    /// Returns the first event that matches among some positions. Looks at no more than
    /// `examine_max` events; `None` in the error's place when that is not enough.
    pub(crate) async fn first_match(
        &self,
        filter: &Filter,
        (first, last): (i64, i64),
        examine_max: usize,
        asking: Asking<'_>,
    ) -> Result<Result<Option<RecordedEvent>, TooMany>, Failure> {
        let condition = self.condition(filter, Visibility::Everything, N_PARAMETERS);
        let (mut first, mut window, mut examined) = (first, WINDOW_EVENTS, 0);
        while first <= last {
            let range = Window {
                first,
                last: last.min(first.saturating_add(window - 1)),
                direction: Direction::Forwards,
                events_max: if condition.is_exact {
                    1
                } else {
                    CHUNK_EVENTS.1
                },
                bytes_max: CHUNK_BYTES,
            };
            let asked = Instant::now();
            let chunk = self.window(range, &condition, WithHead::No, asking).await?;
            let highest = chunk.events.last().map(|event| event.position);
            first = match highest.filter(|_| chunk.is_cut) {
                Some(highest) => position_bigint(Some(highest)) + 1,
                None => range.last.saturating_add(1),
            };
            examined += chunk.events.len();
            let mut events = chunk.events.into_iter();
            if let Some(event) = events.find(|event| filter.matches(event)) {
                return Ok(Ok(Some(event)));
            }
            if examined > examine_max {
                return Ok(Err(TooMany));
            }
            window = next_window(window, asked);
        }
        Ok(Ok(None))
    }

    /// Says in SQL what can be said of a filter and of what the reader may see.
    /// Its parameters come behind so many others.
    pub(crate) fn condition(
        &self,
        filter: &Filter,
        visibility: Visibility,
        n_before: usize,
    ) -> Condition {
        let narrowing = visible(narrowing(filter), visibility);
        condition(&narrowing, &self.statements.schema, n_before + 1)
    }

    /// Reads the events of a window that the server cannot tell not to match.
    pub(crate) async fn window(
        &self,
        window: Window,
        condition: &Condition,
        with_head: WithHead,
        asking: Asking<'_>,
    ) -> Result<Chunk, Failure> {
        let (schema, log) = (&self.statements.schema, self.statements.log);
        let order = match window.direction {
            Direction::Forwards => "",
            Direction::Backwards => " DESC",
        };
        let size = format!("(octet_length(e.metadata) + octet_length(e.payload) + {EVENT_BYTES})");
        let narrowed = &condition.sql;
        let sql = format!(
            "SELECT {EVENT_COLUMNS}, e.total FROM (SELECT e.*, sum({size}) \
             OVER (ORDER BY e.position{order} ROWS UNBOUNDED PRECEDING) AS total \
             FROM {schema}.events e WHERE e.log_id = $1 AND e.leaf BETWEEN $2 AND $3 \
             AND e.position BETWEEN $4 AND $5{narrowed} ORDER BY e.position{order} LIMIT $6) e \
             WHERE e.total - {size} < $7 ORDER BY e.position{order}"
        );
        let (low_leaf, high_leaf) = self.leaves.range(window.first, window.last);
        let limit = bigint(window.events_max as u64);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&log, Type::INT4),
            (&low_leaf, Type::INT4),
            (&high_leaf, Type::INT4),
            (&window.first, Type::INT8),
            (&window.last, Type::INT8),
            (&limit, Type::INT8),
            (&window.bytes_max, Type::INT8),
        ];
        for (value, kind) in &condition.values {
            parameters.push((&**value as &(dyn ToSql + Sync), kind.clone()));
        }
        let of_log: &[(&(dyn ToSql + Sync), Type)] = &[(&log, Type::INT4)];
        let mut queries = vec![Query {
            sql: &sql,
            parameters: &parameters,
        }];
        if with_head == WithHead::Yes {
            queries.push(Query {
                sql: &self.statements.head,
                parameters: of_log,
            });
        }
        let answers = self.ask(asking, &queries).await?;
        let rows = answers.first().map(Vec::as_slice).unwrap_or_default();
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            events.push(event(row)?);
        }
        let total: i64 = rows.last().map_or(Ok(0), |row| row.try_get(14))?;
        let head = match answers.get(1).and_then(|rows| rows.first()) {
            Some(row) => head_of(row)?.position,
            None => None,
        };
        if with_head == WithHead::Yes {
            self.advance(head);
        }
        Ok(Chunk {
            is_cut: events.len() >= window.events_max || total >= window.bytes_max,
            events,
            head,
        })
    }

    /// Asks where the head is.
    pub(crate) async fn fetch_head(&self, asking: Asking<'_>) -> Result<Option<Position>, Failure> {
        let log = &[(&self.statements.log as _, Type::INT4)];
        let rows = self.ask_one(asking, &self.statements.head, log).await?;
        let head = rows.first().map(head_of).transpose()?;
        let head = head.and_then(|head| head.position);
        self.advance(head);
        Ok(head)
    }
}

/// More events would have to be looked at than is allowed.
#[derive(Debug)]
pub(crate) struct TooMany;

/// Adds to a narrowing what the reader may see.
fn visible(filter: Narrowing, visibility: Visibility) -> Narrowing {
    let Ok(system) = SYSTEM_AGGREGATE_TYPE.parse() else {
        return filter;
    };
    match visibility {
        Visibility::Everything => filter,
        Visibility::Application => {
            let own = Narrowing::Leaf {
                leaf: Leaf::AggregateTypes(vec![system]),
                answer: Answer::Exact,
            };
            Narrowing::And(vec![filter, Narrowing::Not(Box::new(own))])
        }
    }
}

/// Returns how many positions to look at after a window.
pub(crate) fn next_window(window: i64, asked: Instant) -> i64 {
    if asked.elapsed() < QUICK {
        window.saturating_mul(8)
    } else {
        window
    }
}

struct PageBuilder<'a> {
    read: &'a LogRead,
    started: Instant,
    events: Vec<RecordedEvent>,
    bytes: usize,
    /// How many events were looked at that did not match.
    scanned: usize,
    has_looked: bool,
    /// There is another match behind the page, or the page ended for another reason.
    stopped: bool,
    scanned_to: Option<Position>,
}

impl<'a> PageBuilder<'a> {
    fn new(read: &'a LogRead) -> Self {
        Self {
            read,
            started: Instant::now(),
            events: Vec::new(),
            bytes: 0,
            scanned: 0,
            has_looked: false,
            stopped: false,
            scanned_to: read.after,
        }
    }

    /// Returns what to ask for: one event behind the page tells that it is not the last.
    fn window(&self, (first, last): (i64, i64)) -> Window {
        let left = self.read.limit.saturating_sub(self.events.len());
        let (least, most) = CHUNK_EVENTS;
        let bytes_left = self.read.page_bytes_max.saturating_sub(self.bytes);
        Window {
            first,
            last,
            direction: self.read.direction,
            events_max: left.saturating_add(1).clamp(least, most + 1),
            bytes_max: bigint(bytes_left as u64).saturating_add(1).min(CHUNK_BYTES),
        }
    }

    fn is_late(&self) -> bool {
        self.started.elapsed() >= self.read.time_max
    }

    /// Tells whether enough was looked at in vain, and ends the page before a range then. One
    /// range is looked at in any case.
    fn is_exhausted(&mut self, (first, last): (i64, i64)) -> bool {
        let late = self.scanned >= self.read.scan_max || self.is_late();
        let exhausted = self.has_looked && late;
        self.has_looked = true;
        if exhausted {
            self.stopped = true;
            self.scanned_to = match self.read.direction {
                Direction::Forwards => position(first - 1),
                Direction::Backwards => position(last.saturating_add(1)),
            };
        }
        exhausted
    }

    /// A page has at least one event, however large it is.
    fn is_full(&self) -> bool {
        let bytes_full = !self.events.is_empty() && self.bytes >= self.read.page_bytes_max;
        self.events.len() >= self.read.limit || bytes_full
    }

    fn wants(&self, event: &RecordedEvent) -> bool {
        self.read.visibility.includes(event) && self.read.filter.matches(event)
    }

    /// Takes the events that match; tells whether the page has ended.
    fn look_at_all(&mut self, events: Vec<RecordedEvent>) -> bool {
        for event in events {
            if !self.wants(&event) {
                self.scanned += 1;
                if self.is_late() || self.scanned >= self.read.scan_max.max(1) {
                    self.stopped = true;
                    self.scanned_to = Some(event.position);
                    return true;
                }
                continue;
            }
            if self.is_full() {
                self.stopped = true;
                self.scanned_to = self.events.last().map(|event| event.position);
                return true;
            }
            self.bytes += event.text_bytes();
            self.events.push(event);
        }
        false
    }

    fn finish(self, far_end: Option<Position>) -> LogPage {
        let scanned_to = if self.stopped {
            self.scanned_to
        } else {
            far_end
        };
        LogPage {
            examined: (self.events.len() + self.scanned) as u64,
            events: self.events,
            scanned_to,
            has_more: self.stopped,
        }
    }
}
