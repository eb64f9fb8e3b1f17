//! The promise of a store.

use std::fmt;
use std::pin::Pin;

use factum_model::{AggregateId, AggregateType, EventId, Position, RecordedEvent, StreamId};
use tokio::sync::watch;

use crate::append::{AppendError, AppendReceipt, AppendRequest};
use crate::count::{CountRead, Counting, Counts};
use crate::cursor::Lineage;
use crate::health::{StoreHealth, StoreMetrics};
use crate::maintenance::Maintenance;
use crate::read::{LogPage, LogRead, ReadError, StreamInfo, StreamPage, StreamRead};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A view of the head that can be waited on. A hint: the truth is [`EventStore::head`].
pub type HeadWatch = watch::Receiver<Option<Position>>;

/// What a store can do beyond the common promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The name of the kind of store, for people.
    pub name: &'static str,
    /// Acknowledged events survive the process.
    pub durable: bool,
    /// Several processes may write at once.
    pub shared: bool,
}

/// A log of events.
///
/// Positions are dense and become visible in order: whoever has read up to position `p` will
/// never find a new event at or below `p`. What a reader can see is durable.
pub trait EventStore: Send + Sync + fmt::Debug + 'static {
    /// Says what the store can do.
    fn capability(&self) -> Capability;

    /// Returns the identity and history that cursors are checked against.
    fn lineage(&self) -> Lineage;

    /// Appends the events of a request: all, at contiguous positions, or none.
    ///
    /// The checks are made in this order, against everything appended before: events that are
    /// there already (same id, same content) answer with their original receipt and nothing else
    /// is checked; then ids that are taken; then the expected versions; then the condition.
    ///
    /// When the future resolves to `Ok`, the events are durable and visible to every reader.
    /// A future that is dropped before may or may not have appended; repeating the request with
    /// the same ids tells.
    ///
    /// # Errors
    /// See [`AppendError`]; after every error but `OutcomeUnknown` nothing was appended.
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>>;

    /// Reads a page of the log. Without a match in range the page is empty.
    ///
    /// # Errors
    /// See [`ReadError`]. A damaged range is an error when the read reaches it, never a gap.
    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>>;

    /// Counts the events that match, in all and by group. As given here it reads them; a store
    /// with an index has a better way.
    ///
    /// # Errors
    /// See [`ReadError`]. Reaching a bound of the request is no error: the answer says so.
    fn count(&self, request: CountRead) -> BoxFuture<'_, Result<Counts, ReadError>> {
        Box::pin(async move {
            let mut counting = Counting::new(&request);
            while let Some(read) = counting.next(&request) {
                counting.add(&request, &self.read_log(read).await?);
            }
            Ok(counting.finish(&request))
        })
    }

    /// Reads a page of one stream.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read_stream(&self, request: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>>;

    /// Returns the event with an id, or `None`.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>>;

    /// Returns what is known of a stream, or `None` when it has no events.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn stream_info(&self, stream: StreamId)
    -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>>;

    /// Returns the aggregate types under which an aggregate id has a stream, sorted.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn aggregate_types_of(
        &self,
        aggregate_id: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>>;

    /// Returns the position of the last event that readers can see; `None` when there is none.
    fn head(&self) -> Option<Position>;

    /// Returns a view of the head that can be waited on.
    fn watch_head(&self) -> HeadWatch;

    /// Says how the store is.
    fn health(&self) -> StoreHealth;

    /// Returns counters and sizes for the metrics page.
    fn metrics(&self) -> StoreMetrics;

    /// Returns the maintenance operations, where the store has any.
    fn maintenance(&self) -> Option<&dyn Maintenance> {
        None
    }

    /// Stops taking appends, finishes those in the queue and closes the store. Reads keep
    /// working until the last handle is dropped. Idempotent.
    fn close(&self) -> BoxFuture<'_, ()>;
}
