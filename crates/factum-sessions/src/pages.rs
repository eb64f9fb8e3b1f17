//! Pages of the events of an instance, by number and not by cursor, since that is how tools ask.

use std::sync::Arc;

use factum_model::RecordedEvent;
use factum_query::Filter;
use factum_store::{CountRead, Direction, LogRead, Visibility};

use crate::error::SessionError;
use crate::sessions::Sessions;

/// What a page is made of.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) filter: Filter,
    pub(crate) direction: Direction,
    pub(crate) offset: Option<u32>,
    pub(crate) limit: usize,
    /// The page ends after the event with which its texts reach this many bytes.
    pub(crate) bytes_max: Option<usize>,
}

/// A page of events.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) events: Vec<RecordedEvent>,
    /// How many events match.
    pub(crate) total_count: u64,
    pub(crate) has_more: bool,
}

impl Sessions {
    /// Returns a page, and how many events match in all.
    pub(crate) async fn page(&self, asked: Asked) -> Result<Page, SessionError> {
        let offset = usize::try_from(asked.offset.unwrap_or(0)).unwrap_or(usize::MAX);
        let offset_max = self.inner.options.offset_max;
        if offset > offset_max {
            let rule = format!("must be at most {offset_max}; narrow the filter instead");
            return Err(SessionError::invalid("offset", rule));
        }
        let filter = Arc::new(asked.filter);
        let until = self.inner.engine.head();
        let counted = self.inner.engine.count(CountRead {
            until,
            ..CountRead::all((*filter).clone())
        });
        let total_count = counted.await?.total;
        let base = match asked.direction {
            Direction::Forwards => LogRead {
                until,
                ..LogRead::forwards()
            },
            Direction::Backwards => LogRead {
                after: until.map(factum_model::Position::next),
                ..LogRead::backwards()
            },
        };
        let mut read = LogRead {
            filter: (*filter).clone(),
            visibility: Visibility::Application,
            ..base
        };
        let mut to_skip = offset;
        let mut events: Vec<RecordedEvent> = Vec::new();
        let mut bytes = 0_usize;
        let bytes_max = asked.bytes_max.unwrap_or(usize::MAX);
        loop {
            read.limit = to_skip.saturating_add(asked.limit - events.len()).min(1000);
            let page = self.inner.engine.read_log(read.clone()).await?;
            let skipped = to_skip.min(page.events.len());
            to_skip -= skipped;
            for event in page.events.into_iter().skip(skipped) {
                if bytes >= bytes_max || events.len() == asked.limit {
                    break;
                }
                bytes = bytes.saturating_add(event.text_bytes());
                events.push(event);
            }
            let full = bytes >= bytes_max || events.len() == asked.limit;
            let stuck = page.scanned_to == read.after;
            if full || !page.has_more || stuck {
                break;
            }
            read.after = page.scanned_to;
        }
        let seen = u64::try_from(offset.saturating_add(events.len())).unwrap_or(u64::MAX);
        Ok(Page {
            has_more: seen < total_count,
            events,
            total_count,
        })
    }
}
