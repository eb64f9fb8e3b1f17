//! Counting events, in all and by group.

use std::collections::HashMap;
use std::time::Duration;

use factum_model::{KnownMetadata, Position, RecordedEvent, Timestamp};
use factum_query::Filter;
use tokio::time::Instant;

use crate::read::{Direction, LogPage, LogRead, Visibility};

/// What events are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountBy {
    /// Their type.
    EventType,
    /// The type of their aggregate.
    AggregateType,
    /// Their stream, as `type/id`.
    Stream,
    /// The user who caused them; events without one are in no group.
    User,
    /// Their tags; an event is in the group of each of its tags.
    Tag,
    /// The day of their timestamp, in UTC, as `2026-11-21`.
    Day,
    /// The hour of their timestamp, in UTC, as `2026-11-21T14`.
    Hour,
}

impl CountBy {
    /// Calls `each` with the groups of an event. This is the definition.
    pub fn groups(self, event: &RecordedEvent, mut each: impl FnMut(&str)) {
        match self {
            Self::EventType => each(event.event_type()),
            Self::AggregateType => each(event.aggregate_type()),
            Self::Stream => each(&[event.aggregate_type(), "/", event.aggregate_id()].concat()),
            Self::User => {
                let known = KnownMetadata::read_stored(event.metadata());
                if let Some(user) = &known.user_id {
                    each(user);
                }
            }
            Self::Tag => {
                let mut tags = KnownMetadata::read_stored(event.metadata()).tags;
                tags.sort_unstable();
                tags.dedup();
                for tag in &tags {
                    each(tag);
                }
            }
            Self::Day | Self::Hour => each(&self.bucket(event.timestamp)),
        }
    }

    /// Returns the name of the span of time that an instant is in; empty where events are not
    /// counted by time.
    #[must_use]
    pub fn bucket(self, at: Timestamp) -> String {
        let n_bytes = match self {
            Self::Day => "2026-11-21".len(),
            Self::Hour => "2026-11-21T14".len(),
            Self::EventType | Self::AggregateType | Self::Stream | Self::User | Self::Tag => 0,
        };
        let mut text = at.to_string();
        text.truncate(n_bytes);
        text
    }
}

/// A request to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountRead {
    /// Which events.
    pub filter: Filter,
    /// Which events the reader may see.
    pub visibility: Visibility,
    /// The last position to count, inclusive; `None` counts up to the head.
    pub until: Option<Position>,
    /// What to count by.
    pub by: Option<CountBy>,
    /// The largest number of groups to return, those with the most events.
    pub groups_max: usize,
    /// The largest number of events to look at that the index alone does not answer for.
    pub examine_max: u64,
    /// How long to count.
    pub time_max: Duration,
}

impl CountRead {
    /// Counts everything that an application may see, within the default bounds.
    #[must_use]
    pub fn all(filter: Filter) -> Self {
        Self {
            filter,
            visibility: Visibility::default(),
            until: None,
            by: None,
            groups_max: 1000,
            examine_max: 10_000_000,
            time_max: Duration::from_secs(10),
        }
    }
}

/// How many events match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// How many events match; of those that were looked at, if the count is not complete.
    pub total: u64,
    /// Every event was accounted for; otherwise a bound of the request was reached first, or there
    /// are more groups than are kept.
    pub complete: bool,
    /// The groups: by time in order of time, others by number of events, the largest first.
    pub groups: Vec<Group>,
    /// How many groups there are, those that were left out included.
    pub n_groups: u64,
    /// The position of the first event that matches.
    pub first: Option<Position>,
    /// The position of the last event that matches.
    pub last: Option<Position>,
    /// How many events were read, because the index alone did not tell.
    pub examined: u64,
}

/// A group of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What the events have in common.
    pub key: String,
    /// How many there are.
    pub n_events: u64,
}

/// Counts page by page.
#[derive(Debug)]
pub(crate) struct Counting {
    tally: Tally,
    after: Option<Position>,
    /// Nothing more is there to read.
    ended: bool,
    deadline: Option<Instant>,
}

impl Counting {
    pub(crate) fn new(request: &CountRead) -> Self {
        Self {
            tally: Tally::default(),
            after: None,
            ended: false,
            deadline: Instant::now().checked_add(request.time_max),
        }
    }

    /// Returns the next read, until all is counted or a bound is reached.
    pub(crate) fn next(&self, request: &CountRead) -> Option<LogRead> {
        let in_time = self
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline);
        let wanted = !self.ended && self.tally.examined() < request.examine_max && in_time;
        wanted.then(|| LogRead {
            filter: request.filter.clone(),
            visibility: request.visibility,
            direction: Direction::Forwards,
            after: self.after,
            until: request.until,
            ..LogRead::forwards()
        })
    }

    /// Adds what was read.
    pub(crate) fn add(&mut self, request: &CountRead, page: &LogPage) {
        for event in &page.events {
            self.tally.add(request.by, event);
        }
        self.tally.examine(page.events.len() as u64);
        self.ended = !page.has_more || page.scanned_to == self.after;
        self.after = page.scanned_to;
    }

    pub(crate) fn finish(self, request: &CountRead) -> Counts {
        self.tally.finish(request, self.ended)
    }
}

/// How many groups are kept while events are counted; with more the counts are not complete.
const GROUPS_KEPT_MAX: usize = 100_000;

/// Puts counts together.
#[derive(Debug, Default)]
pub struct Tally {
    groups: HashMap<String, u64>,
    /// There are more groups than are kept.
    cut: bool,
    counts: Counts,
}

impl Tally {
    /// Counts an event that matches.
    pub fn add(&mut self, by: Option<CountBy>, event: &RecordedEvent) {
        self.add_many(1, event.position, event.position);
        if let Some(by) = by {
            by.groups(event, |key| self.add_to(key, 1));
        }
    }

    /// Counts events that match, without their groups.
    pub fn add_many(&mut self, n_events: u64, first: Position, last: Position) {
        self.counts.total += n_events;
        self.counts.first = Some(self.counts.first.map_or(first, |known| known.min(first)));
        self.counts.last = Some(self.counts.last.map_or(last, |known| known.max(last)));
    }

    /// Adds events to a group.
    pub fn add_to(&mut self, key: &str, n_events: u64) {
        if n_events == 0 {
            return;
        }
        let has_room = self.groups.len() < GROUPS_KEPT_MAX;
        match self.groups.get_mut(key) {
            Some(count) => *count += n_events,
            None if has_room => {
                self.groups.insert(key.to_owned(), n_events);
            }
            None => self.cut = true,
        }
    }

    /// Counts events that were read.
    pub fn examine(&mut self, n_events: u64) {
        self.counts.examined += n_events;
    }

    /// Returns how many events were read.
    #[must_use]
    pub const fn examined(&self) -> u64 {
        self.counts.examined
    }

    /// Returns the counts.
    #[must_use]
    pub fn finish(self, read: &CountRead, complete: bool) -> Counts {
        let mut counts = self.counts;
        counts.complete = complete && !self.cut;
        counts.n_groups = self.groups.len() as u64;
        let groups = self.groups.into_iter();
        counts.groups = groups
            .map(|(key, n_events)| Group { key, n_events })
            .collect();
        counts.groups.sort_unstable_by(|left, right| {
            (right.n_events, &left.key).cmp(&(left.n_events, &right.key))
        });
        counts.groups.truncate(read.groups_max);
        if matches!(read.by, Some(CountBy::Day | CountBy::Hour)) {
            counts
                .groups
                .sort_unstable_by(|left, right| left.key.cmp(&right.key));
        }
        counts
    }
}
