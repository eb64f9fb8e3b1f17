//! A live reader over a store that does all that a store may do: pages that end early for no
//! visible reason, pages without a match, wake-ups for nothing, appends at any moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

use factum_model::{
    AggregateId, AggregateType, EventId, EventOrigin, RecordedFields, SchemaVersion,
    SequenceNumber, StreamId, Timestamp,
};
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Capability, HeadWatch, Lineage,
    LineageId, StoreHealth, StoreId, StoreMetrics, StreamInfo, StreamPage, StreamRead, WriteState,
};
use proptest::prelude::*;
use tokio::sync::watch;

use super::*;

/// A log in a vector. Every page looks at a number of events that changes from page to page.
#[derive(Debug)]
struct RestlessStore {
    log: Mutex<Vec<RecordedEvent>>,
    head: watch::Sender<Option<Position>>,
    steps: Vec<usize>,
    n_reads: AtomicUsize,
    damaged: Option<Position>,
}

impl RestlessStore {
    fn new(steps: Vec<usize>) -> Self {
        Self {
            log: Mutex::default(),
            head: watch::Sender::new(None),
            steps,
            n_reads: AtomicUsize::new(0),
            damaged: None,
        }
    }

    fn log(&self) -> MutexGuard<'_, Vec<RecordedEvent>> {
        self.log.lock().unwrap()
    }

    /// Appends one event of each type.
    fn push(&self, event_types: &[&str]) {
        let mut log = self.log();
        for event_type in event_types {
            let number = log.len() as u64 + 1;
            log.push(event(number, event_type));
        }
        let head = log.last().map(|event| event.position);
        drop(log);
        self.head.send_replace(head);
    }

    fn page(&self, request: &LogRead) -> Result<LogPage, ReadError> {
        let turn = self.n_reads.fetch_add(1, Ordering::Relaxed);
        let look_at = self.steps[turn % self.steps.len()].min(request.scan_max);
        let log = self.log();
        let number = |at: Option<Position>| at.map(Position::get);
        let candidates: Vec<&RecordedEvent> = match request.direction {
            Direction::Forwards => {
                let after = number(request.after).unwrap_or(0);
                log.iter().filter(|e| e.position.get() > after).collect()
            }
            Direction::Backwards => {
                let before = number(request.after).unwrap_or(u64::MAX);
                let earlier = log.iter().rev();
                earlier.filter(|e| e.position.get() < before).collect()
            }
        };
        let mut page = LogPage {
            examined: 0,
            events: Vec::new(),
            scanned_to: request.after,
            has_more: false,
        };
        let mut bytes = 0;
        for (index, event) in candidates.into_iter().enumerate() {
            let full = page.events.len() == request.limit || bytes >= request.page_bytes_max;
            if index == look_at || full {
                page.has_more = true;
                break;
            }
            if self.damaged == Some(event.position) {
                if index > 0 {
                    page.has_more = true;
                    break;
                }
                return Err(ReadError::Corrupt {
                    first: event.position,
                    last: event.position,
                    detail: String::new(),
                });
            }
            page.scanned_to = Some(event.position);
            if request.filter.matches(event) && request.visibility.includes(event) {
                bytes += event.text_bytes();
                page.events.push(event.clone());
            }
        }
        Ok(page)
    }
}

fn event(number: u64, event_type: &str) -> RecordedEvent {
    let at = Timestamp::from_micros(1).unwrap();
    let aggregate_type = event_type.split('.').next().unwrap();
    RecordedEvent::new(RecordedFields {
        id: EventId::from_bytes(u128::from(number).to_be_bytes()),
        position: Position::new(number).unwrap(),
        sequence_number: SequenceNumber::new(number).unwrap(),
        recorded_at: at,
        timestamp: at,
        schema_version: SchemaVersion::FIRST,
        origin: EventOrigin::default(),
        causation_id: None,
        event_type,
        aggregate_type,
        aggregate_id: "x",
        correlation_id: None,
        metadata: "{}",
        payload: "{}",
    })
}

fn unsupported<T>() -> Result<T, ReadError> {
    Err(ReadError::Closed)
}

impl EventStore for RestlessStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "restless",
            durable: false,
            shared: false,
        }
    }

    fn lineage(&self) -> Lineage {
        Lineage {
            store_id: StoreId([1; 16]),
            current: LineageId(1),
            earlier: Vec::new(),
        }
    }

    fn append(&self, _: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async { Err(AppendError::ReadOnly) })
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        Box::pin(async move {
            // A read gives way first, so that appends come between the question and the answer.
            tokio::task::yield_now().await;
            self.page(&request)
        })
    }

    fn read_stream(&self, _: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>> {
        Box::pin(async { unsupported() })
    }

    fn event(&self, _: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>> {
        Box::pin(async { unsupported() })
    }

    fn stream_info(&self, _: StreamId) -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>> {
        Box::pin(async { unsupported() })
    }

    fn aggregate_types_of(
        &self,
        _: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>> {
        Box::pin(async { unsupported() })
    }

    fn head(&self) -> Option<Position> {
        self.log().last().map(|event| event.position)
    }

    fn watch_head(&self) -> HeadWatch {
        self.head.subscribe()
    }

    fn health(&self) -> StoreHealth {
        StoreHealth {
            writes: WriteState::ReadOnly,
            head: self.head(),
            damaged: Vec::new(),
        }
    }

    fn metrics(&self) -> StoreMetrics {
        StoreMetrics::default()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn filter(pattern: &str) -> Filter {
    Filter {
        event_types: vec![pattern.parse().unwrap()],
        ..Filter::default()
    }
}

fn request(pattern: &str, start: LiveStart) -> LiveRead {
    LiveRead {
        filter: filter(pattern),
        start,
        ..LiveRead::default()
    }
}

fn numbers(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position.get()).collect()
}

/// Takes steps until the reader waits; returns the positions and how often it said caught up.
async fn drain(reader: &mut LiveReader) -> (Vec<u64>, usize) {
    let (mut positions, mut n_caught_up) = (Vec::new(), 0);
    while let Some(step) = reader.step().await.unwrap() {
        match step {
            LiveStep::Batch { events, .. } => positions.extend(numbers(&events)),
            LiveStep::CaughtUp { through } => {
                assert_eq!(through, reader.position());
                n_caught_up += 1;
            }
        }
    }
    (positions, n_caught_up)
}

#[tokio::test]
async fn each_start_delivers_what_it_names() {
    let check = async |start, expected: &[u64]| {
        let store = Arc::new(RestlessStore::new(vec![2, 1, 5]));
        store.push(&["a.x", "b.x", "a.y", "factum.key", "a.z"]);
        let mut reader = LiveReader::open(store.clone(), request("a.*", start));
        let (mut positions, n_caught_up) = drain(&mut reader).await;
        assert_eq!(n_caught_up, 1, "{start:?}");
        store.push(&["b.x", "a.x"]);
        let (later, n_caught_up) = drain(&mut reader).await;
        assert_eq!(n_caught_up, 0, "{start:?}");
        positions.extend(later);
        assert_eq!(positions, expected, "{start:?}");
    };
    let after = |number| LiveStart::After(Position::new(number).unwrap());
    check(LiveStart::Beginning, &[1, 3, 5, 7]).await;
    check(after(1), &[3, 5, 7]).await;
    check(after(6), &[7]).await;
    check(after(7), &[]).await;
    check(LiveStart::End, &[7]).await;
    check(LiveStart::Last(0), &[7]).await;
    check(LiveStart::Last(1), &[5, 7]).await;
    check(LiveStart::Last(2), &[3, 5, 7]).await;
    check(LiveStart::Last(99), &[1, 3, 5, 7]).await;
}

#[tokio::test]
async fn an_empty_log_is_caught_up_at_once() {
    for start in [LiveStart::Beginning, LiveStart::End, LiveStart::Last(3)] {
        let store = Arc::new(RestlessStore::new(vec![1]));
        let mut reader = LiveReader::open(store.clone(), request(">", start));
        assert_eq!(drain(&mut reader).await, (vec![], 1));
        assert!(reader.is_live() && reader.is_placed() && !reader.has_more());
        store.push(&["a"]);
        assert_eq!(drain(&mut reader).await, (vec![1], 0));
    }
}

#[tokio::test]
async fn the_position_moves_on_without_a_match() {
    let store = Arc::new(RestlessStore::new(vec![3]));
    let mut reader = LiveReader::open(store.clone(), request("never", LiveStart::End));
    drain(&mut reader).await;
    store.push(&["a"; 10]);
    assert_eq!(reader.lag(), 10);
    drain(&mut reader).await;
    assert_eq!((reader.position(), reader.lag()), (Position::new(10), 0));
}

#[tokio::test]
async fn the_engines_own_events_are_for_those_who_may_see_them() {
    let store = Arc::new(RestlessStore::new(vec![9]));
    store.push(&["factum.key", "a"]);
    let everything = LiveRead {
        visibility: Visibility::Everything,
        ..request(">", LiveStart::Beginning)
    };
    let mut reader = LiveReader::open(store.clone(), everything);
    assert_eq!(drain(&mut reader).await.0, [1, 2]);
    let mut reader = LiveReader::open(store, request(">", LiveStart::Beginning));
    assert_eq!(drain(&mut reader).await.0, [2]);
}

#[tokio::test]
async fn a_damaged_range_is_an_error_each_time_and_never_skipped() {
    let store = RestlessStore {
        damaged: Position::new(3),
        ..RestlessStore::new(vec![9])
    };
    let store = Arc::new(store);
    store.push(&["a"; 5]);
    let mut reader = LiveReader::open(store, request(">", LiveStart::Beginning));
    let LiveStep::Batch { events, .. } = reader.next().await.unwrap() else {
        panic!("a batch comes first");
    };
    assert_eq!(numbers(&events), [1, 2]);
    for _ in 0..3 {
        assert!(matches!(
            reader.next().await,
            Err(ReadError::Corrupt { .. })
        ));
    }
    assert_eq!(reader.position(), Position::new(2));
}

#[tokio::test(start_paused = true)]
async fn a_lone_event_wakes_at_once_and_a_storm_is_coalesced() {
    let store = Arc::new(RestlessStore::new(vec![1000]));
    let coalesce = Duration::from_millis(50);
    let mut reader = LiveReader::open(
        store.clone(),
        LiveRead {
            coalesce,
            ..request(">", LiveStart::End)
        },
    );
    assert!(matches!(
        reader.next().await.unwrap(),
        LiveStep::CaughtUp { .. }
    ));
    let start = tokio::time::Instant::now();
    store.push(&["a"]);
    reader.next().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    // What comes within the next fifty milliseconds comes together.
    store.push(&["a"]);
    let writer = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.push(&["a", "a"]);
    };
    let (step, ()) = tokio::join!(reader.next(), writer);
    let LiveStep::Batch { events, .. } = step.unwrap() else {
        panic!("events come");
    };
    assert_eq!(numbers(&events), [2, 3, 4]);
    assert_eq!(start.elapsed(), coalesce);
}

#[tokio::test]
async fn a_closed_store_ends_the_wait() {
    let (head, watch) = watch::channel(None);
    let mut signal = HeadSignal::new(watch, Duration::ZERO);
    head.send_replace(Position::new(1));
    drop(head);
    assert!(signal.moved().await.is_ok());
    assert!(matches!(signal.moved().await, Err(ReadError::Closed)));
}

const TYPES: [&str; 4] = ["a.x", "a.y", "b.x", "factum.key"];

fn starts() -> impl Strategy<Value = LiveStart> {
    prop_oneof![
        Just(LiveStart::Beginning),
        Just(LiveStart::End),
        (1..40_u64).prop_map(|number| LiveStart::After(Position::new(number).unwrap())),
        (0..40_usize).prop_map(LiveStart::Last),
    ]
}

/// What a reader must deliver, worked out the plain way from the whole log.
fn expected(log: &[RecordedEvent], head: u64, request: &LiveRead) -> Vec<u64> {
    let seen = |event: &&RecordedEvent| {
        request.filter.matches(event) && request.visibility.includes(event)
    };
    let matching: Vec<u64> = log
        .iter()
        .filter(seen)
        .map(|event| event.position.get())
        .collect();
    let n_before = matching.partition_point(|number| *number <= head);
    let skip = match request.start {
        LiveStart::Beginning => 0,
        LiveStart::After(position) => matching.partition_point(|number| *number <= position.get()),
        LiveStart::End => n_before,
        LiveStart::Last(wanted) => n_before.saturating_sub(wanted),
    };
    matching[skip..].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A reader that is cut off at any await, while a writer appends, delivers each matching
    /// event once and in order.
    #[test]
    fn nothing_is_missed_or_repeated(
        history in prop::collection::vec(0..TYPES.len(), 0..40),
        appends in prop::collection::vec(prop::collection::vec(0..TYPES.len(), 1..6), 0..20),
        steps in prop::collection::vec(1..9_usize, 1..6),
        pattern in prop::sample::select(vec![">", "a.*", "b.x", "factum.>"]),
        start in starts(),
        visibility in prop::sample::select(vec![Visibility::Application, Visibility::Everything]),
        batch_events_max in 1..9_usize,
        batch_bytes_max in prop::sample::select(vec![1_usize, 60, 1 << 20]),
        scan_max in 1..9_usize,
        patience in prop::collection::vec(2..6_usize, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let request = LiveRead {
            visibility, batch_events_max, batch_bytes_max, scan_max, ..request(pattern, start)
        };
        let (delivered, expected) = runtime.block_on(race(
            Arc::new(RestlessStore::new(steps)), &history, appends, request, &patience,
        ));
        prop_assert_eq!(delivered, expected);
    }
}

fn named(types: &[usize]) -> Vec<&'static str> {
    types.iter().map(|index| TYPES[*index]).collect()
}

/// Polls a future so many times and drops it, finished or not.
async fn impatient<T>(future: impl Future<Output = T>, mut polls: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        polls -= 1;
        if polls == 0 {
            return Poll::Ready(None);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Runs a reader against a writer; returns what was delivered and what should have been.
async fn race(
    store: Arc<RestlessStore>,
    history: &[usize],
    appends: Vec<Vec<usize>>,
    request: LiveRead,
    patience: &[usize],
) -> (Vec<u64>, Vec<u64>) {
    store.push(&named(history));
    let head = history.len() as u64;
    let mut reader = LiveReader::open(store.clone(), request.clone());
    let writer = async {
        for types in &appends {
            store.push(&named(types));
            tokio::time::sleep(Duration::from_micros(700)).await;
        }
    };
    let n_total: usize = history.len() + appends.iter().map(Vec::len).sum::<usize>();
    let follower = async {
        let mut delivered = Vec::new();
        let (mut n_caught_up, mut n_idle) = (0, 0);
        for turn in 0_usize.. {
            match impatient(reader.next(), patience[turn % patience.len()]).await {
                Some(Ok(LiveStep::Batch { events, .. })) => {
                    assert!(events.len() <= request.batch_events_max);
                    delivered.extend(numbers(&events));
                }
                Some(Ok(LiveStep::CaughtUp { .. })) => n_caught_up += 1,
                Some(Err(error)) => panic!("{error}"),
                None if n_idle == 20 => break,
                None => {
                    n_idle += usize::from(store.log().len() == n_total);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        assert_eq!(n_caught_up, 1);
        assert_eq!(reader.lag(), 0);
        delivered
    };
    let ((), delivered) = tokio::join!(writer, follower);
    let expected = expected(&store.log(), head, &request);
    (delivered, expected)
}
