//! Copies events, in batches, from a store to one that is being filled.

use std::time::Duration;

use factum_model::{ErrorCode, Position};
use factum_store::{
    EventStore, ImportError, ImportTarget, LogPage, LogRead, ReadError, Visibility,
};
use futures_util::future::join;
use thiserror::Error;

use crate::progress::{Meter, Progress, Stage};

/// The bounds of a copy: two batches are in memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions {
    /// The most events of a batch.
    pub batch_events_max: usize,
    /// A batch ends with the event with which its texts reach this many bytes.
    pub batch_bytes_max: usize,
    /// How long to wait for a batch to be read, about.
    pub read_time_max: Duration,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            batch_events_max: 4096,
            batch_bytes_max: 4 << 20,
            read_time_max: Duration::from_secs(60),
        }
    }
}

/// Why a copy did not come to its end.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The source cannot be read.
    #[error("the source cannot be read after position {}", .after.map_or(0, Position::get))]
    Source {
        /// The last position that was read.
        after: Option<Position>,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The source ends before its own head.
    #[error("the source has no event at position {position}, and events after it")]
    Missing {
        /// Where an event should stand.
        position: Position,
    },
    /// The target does not take the events, or cannot be read back.
    #[error(transparent)]
    Target(#[from] ImportError),
    /// The target has another event than the source.
    #[error("source and target differ at position {position}")]
    Differ {
        /// The first position at which they do.
        position: Position,
    },
}

impl CopyError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Source { source, .. } => source.code(),
            Self::Missing { .. } | Self::Differ { .. } => ErrorCode::Corrupt,
            Self::Target(error) => error.code(),
        }
    }
}

impl CopyOptions {
    /// Asks for a batch of everything that there is.
    pub(crate) fn batch(&self, after: Option<Position>, until: Position) -> LogRead {
        LogRead {
            visibility: Visibility::Everything,
            after,
            until: Some(until),
            limit: self.batch_events_max.max(1),
            page_bytes_max: self.batch_bytes_max,
            time_max: self.read_time_max,
            ..LogRead::forwards()
        }
    }

    /// Reads a batch of the source, which has at least one event.
    pub(crate) async fn read_source(
        &self,
        source: &dyn EventStore,
        after: Option<Position>,
        until: Position,
    ) -> Result<LogPage, CopyError> {
        let page = source.read_log(self.batch(after, until)).await;
        let page = page.map_err(|source| CopyError::Source { after, source })?;
        if page.events.is_empty() {
            let position = Position::after(after);
            return Err(CopyError::Missing { position });
        }
        Ok(page)
    }
}

/// Copies what the target does not have yet, up to a position of the source that is durable
/// there; the engine's own events too. While one batch is imported the next one is read.
///
/// The future may be dropped at any time: the target has a part of the source then, and copying
/// goes on where it ended.
///
/// # Errors
/// See [`CopyError`].
pub async fn copy(
    source: &dyn EventStore,
    target: &dyn ImportTarget,
    until: Option<Position>,
    options: &CopyOptions,
    progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<(), CopyError> {
    let Some(until) = until.filter(|until| target.head() < Some(*until)) else {
        return Ok(());
    };
    let mut meter = Meter::start(Stage::Copy, (target.head(), Some(until)), progress);
    let mut page = options.read_source(source, target.head(), until).await?;
    loop {
        let last = page.events.last().map(|event| event.position);
        let has_more = last < Some(until);
        let import = target.import(std::mem::take(&mut page.events));
        let next = async {
            if has_more {
                options.read_source(source, last, until).await.map(Some)
            } else {
                Ok(None)
            }
        };
        let (imported, next) = join(import, next).await;
        imported?;
        meter.done(target.head());
        match next? {
            Some(next) => page = next,
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, PoisonError};

    use factum_model::{JsonObject, NewEvent, RecordedEvent, StreamId, Timestamp};
    use factum_store::{AppendError, AppendRequest, BoxFuture, ImportCheck, MemoryStore};

    use super::*;
    use crate::compare::Comparison;

    /// A target that keeps what it is given in a list, and fails where it is told to.
    #[derive(Debug, Default)]
    pub(crate) struct List {
        pub(crate) events: Mutex<Vec<RecordedEvent>>,
        /// How many more batches are taken.
        pub(crate) patience: Option<Mutex<u32>>,
        pub(crate) falsify: Option<Position>,
    }

    impl List {
        fn events(&self) -> Vec<RecordedEvent> {
            let events = self.events.lock();
            events.unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl ImportTarget for List {
        fn head(&self) -> Option<Position> {
            self.events().last().map(|event| event.position)
        }

        fn import(&self, events: Vec<RecordedEvent>) -> BoxFuture<'_, Result<(), ImportError>> {
            Box::pin(async move {
                if let Some(patience) = &self.patience {
                    let mut patience = patience.lock().unwrap();
                    if *patience == 0 {
                        return Err(AppendError::StorageFull.into());
                    }
                    *patience -= 1;
                }
                let mut check = ImportCheck::after(self.head(), Timestamp::MIN);
                for event in &events {
                    check.next(event)?;
                }
                self.events.lock().unwrap().extend(events);
                Ok(())
            })
        }

        fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
            Box::pin(async move {
                let mut events = self.events();
                events.retain(|event| Some(event.position) > request.after);
                events.truncate(request.limit);
                events.retain(|event| Some(event.position) != self.falsify);
                Ok(LogPage {
                    scanned_to: events.last().map(|event| event.position),
                    has_more: true,
                    examined: 0,
                    events,
                })
            })
        }

        fn finish(&self) -> BoxFuture<'_, Result<(), ImportError>> {
            Box::pin(async { Ok(()) })
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    pub(crate) async fn source(n_events: u32) -> MemoryStore {
        let store = MemoryStore::new();
        add(&store, n_events).await;
        store
    }

    pub(crate) async fn add(store: &MemoryStore, n_events: u32) {
        for number in 0..n_events {
            let stream = StreamId::new(
                "a".parse().unwrap(),
                format!("{}", number % 3).parse().unwrap(),
            );
            let payload = JsonObject::parse(format!(r#"{{"n": {number}}}"#)).unwrap();
            let events = vec![NewEvent::new("a.b".parse().unwrap(), stream, payload)];
            let request = AppendRequest {
                events,
                ..AppendRequest::default()
            };
            store.append(request).await.unwrap();
        }
    }

    pub(crate) const SMALL: CopyOptions = CopyOptions {
        batch_events_max: 4,
        batch_bytes_max: 4 << 20,
        read_time_max: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn a_copy_goes_on_where_it_ended_and_is_the_same() {
        let source = source(10).await;
        let target = List {
            patience: Some(Mutex::new(1)),
            ..List::default()
        };
        let mut seen = Vec::new();
        let mut note = |progress: &Progress| seen.push((progress.n_done, progress.n_total));
        let until = source.head();
        let failed = copy(&source, &target, until, &SMALL, &mut note).await;
        assert_eq!(failed.unwrap_err().code(), ErrorCode::StorageFull);
        let target = List {
            patience: None,
            ..target
        };
        copy(&source, &target, until, &SMALL, &mut note)
            .await
            .unwrap();
        copy(&source, &target, until, &SMALL, &mut note)
            .await
            .unwrap();
        assert_eq!(seen, [(4, 10), (8, 10), (10, 10)]);
        let mut comparison = Comparison::new(SMALL);
        comparison
            .advance(&source, &target, until, &mut |_| {})
            .await
            .unwrap();
        // What is appended meanwhile is copied and compared without beginning anew.
        add(&source, 3).await;
        let until = source.head();
        copy(&source, &target, until, &SMALL, &mut |_| {})
            .await
            .unwrap();
        comparison
            .advance(&source, &target, until, &mut |_| {})
            .await
            .unwrap();
        assert_eq!(comparison.head(), until);
        let mut digest = crate::LogDigest::new();
        for event in &target.events() {
            digest.add(event);
        }
        assert_eq!(digest.n_events(), 13);
        assert_eq!(comparison.finish().unwrap(), digest.finish());
    }

    #[tokio::test]
    async fn a_source_that_lacks_an_event_is_refused() {
        let source = source(3).await;
        let beyond = Position::new(5);
        let failed = copy(&source, &List::default(), beyond, &SMALL, &mut |_| {}).await;
        match failed {
            Err(CopyError::Missing { position }) => assert_eq!(position.get(), 4),
            other => panic!("{other:?}"),
        }
    }
}
