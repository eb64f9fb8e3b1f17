//! The events of an instance, by type, time and words.

use factum_model::{SequenceNumber, Timestamp};
use factum_query::{Filter, TextQuery, TimeRange, TypePattern};
use factum_store::{Direction, StreamRead, Visibility};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::id::{InstanceId, excerpt};
use crate::input::{self, instant};
use crate::pages::Asked;
use crate::sessions::{Sessions, stream_of};
use crate::view::EventView;

/// The most events in one answer.
const PAGE_MAX: usize = 1000;
/// The most event types in one filter.
const TYPES_MAX: usize = 100;

/// One event type or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EventTypes {
    /// One.
    One(String),
    /// Several, of which an event has one.
    Several(Vec<String>),
}

impl EventTypes {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Which events of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventFilters {
    /// Those of this type, or of one of these.
    pub event_type: Option<EventTypes>,
    /// Those from this time on, RFC 3339.
    pub start_date: Option<String>,
    /// Those up to this time, RFC 3339, inclusive.
    pub end_date: Option<String>,
    /// Those with all of these words in their data, in any letter case.
    pub keyword: Option<String>,
}

/// A question about the events of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryEvents {
    /// The instance.
    pub instance_id: String,
    /// Which events; all by default.
    pub filters: Option<EventFilters>,
    /// How many, at most 1,000; 100 by default.
    pub limit: Option<u32>,
    /// How many to pass over.
    pub offset: Option<u32>,
    /// A page ends after the event with which its texts reach this many bytes; for doors that
    /// have a budget.
    #[serde(skip)]
    #[schema(ignore)]
    pub bytes_max: Option<usize>,
}

/// Which of the newest events.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LatestEvents {
    /// The instance.
    pub instance_id: String,
    /// How many, at most 100; 10 by default.
    pub limit: Option<u32>,
}

/// Events of an instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventList {
    /// The events.
    pub events: Vec<EventView>,
    /// How many match, whether or not they are in this page.
    pub total_count: u64,
    /// There are more after this page.
    pub has_more: bool,
}

impl Sessions {
    /// Returns the events of an instance that match, the oldest first.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::InvalidEvent`] for a filter or a limit that breaks a rule,
    /// [`SessionError::EventStore`].
    pub async fn query_events(&self, input: QueryEvents) -> Result<EventList, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let limit = input::limit(input.limit, 100, PAGE_MAX)?;
        let filter = filter(&id, &input.filters.unwrap_or_default())?;
        let version = self.look(&id, |state, _| state.sequence_num).await?;
        let plain = Filter {
            streams: filter.streams.clone(),
            ..Filter::default()
        };
        if filter == plain && input.bytes_max.is_none() {
            return self
                .slice(&id, version, input.offset.unwrap_or(0), limit)
                .await;
        }
        let asked = Asked {
            filter,
            direction: Direction::Forwards,
            offset: input.offset,
            limit,
            bytes_max: input.bytes_max,
        };
        let page = self.page(asked).await?;
        Ok(EventList {
            events: EventView::all(&page.events),
            total_count: page.total_count,
            has_more: page.has_more,
        })
    }

    /// Returns so many events after the first `offset`: numbers without gaps need no index.
    async fn slice(
        &self,
        id: &InstanceId,
        version: u64,
        offset: u32,
        limit: usize,
    ) -> Result<EventList, SessionError> {
        let read = StreamRead {
            from: SequenceNumber::new(u64::from(offset) + 1),
            limit,
            page_bytes_max: usize::MAX,
            ..StreamRead::forwards(stream_of(id)?)
        };
        let page = self.inner.engine.read_stream(read, Visibility::Application);
        let page = page.await?;
        Ok(EventList {
            events: EventView::all(&page.events),
            total_count: page.version.map_or(version, SequenceNumber::get),
            has_more: page.has_more,
        })
    }

    /// Returns the newest events of an instance, the newest first.
    ///
    /// # Errors
    /// As [`Sessions::query_events`].
    pub async fn latest_events(&self, input: LatestEvents) -> Result<EventList, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let limit = input::limit(input.limit, 10, 100)?;
        self.look(&id, |_, _| ()).await?;
        let read = StreamRead {
            direction: Direction::Backwards,
            limit,
            page_bytes_max: usize::MAX,
            ..StreamRead::forwards(stream_of(&id)?)
        };
        let page = self.inner.engine.read_stream(read, Visibility::Application);
        let page = page.await?;
        Ok(EventList {
            events: EventView::all(&page.events),
            total_count: page.version.map_or(0, SequenceNumber::get),
            has_more: page.has_more,
        })
    }
}

fn filter(id: &InstanceId, filters: &EventFilters) -> Result<Filter, SessionError> {
    let names = filters
        .event_type
        .as_ref()
        .map_or(&[][..], EventTypes::as_slice);
    if names.len() > TYPES_MAX {
        let rule = format!("must be at most {TYPES_MAX} types");
        return Err(SessionError::invalid("event_type", rule));
    }
    let mut event_types: Vec<TypePattern> = Vec::new();
    for name in names {
        // A question for a type that cannot be is more likely a slip than a question.
        let known = Sessions::catalogue().entry(name).is_some();
        let pattern = name.parse().ok().filter(|_| known);
        event_types.push(pattern.ok_or_else(|| SessionError::UnknownEventType {
            event_type: excerpt(name),
        })?);
    }
    let text = filters.keyword.as_deref().map(TextQuery::words).transpose();
    let text = text.map_err(|error| SessionError::invalid("keyword", error.to_string()))?;
    Ok(Filter {
        streams: vec![stream_of(id)?],
        event_types,
        recorded_at: times(
            ("start_date", filters.start_date.as_deref()),
            ("end_date", filters.end_date.as_deref()),
        )?,
        text,
        ..Filter::default()
    })
}

/// Reads a span of time, both ends inclusive.
pub(super) fn times(
    (from_name, from): (&str, Option<&str>),
    (to_name, to): (&str, Option<&str>),
) -> Result<TimeRange, SessionError> {
    let from = instant(from_name, from)?;
    let to = instant(to_name, to)?;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        let rule = format!("must not be before {from_name}");
        return Err(SessionError::invalid(to_name, rule));
    }
    let after = |at: Timestamp| at.saturating_add_micros(1);
    Ok(TimeRange {
        from,
        to: to.map(after),
    })
}
