//! Two stores, one random history: whatever one answers, the other must.

use std::sync::Arc;

use factum_model::{ExpectedVersion, NewEvent, Position, RecordedEvent, SequenceNumber, StreamId};
use factum_query::Filter;
use factum_store::conformance::fixtures::{filters, id, stream, varied};
use factum_store::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, Direction, EventStore, LogRead,
    PartialRepeat, StreamExpectation, StreamRead, Visibility,
};

use crate::random::Random;

/// Applies a random history that follows from the seed to two empty stores, and compares each
/// answer: receipts, error codes, pages and every field and byte of the events. Only what clocks
/// and id sources chose is left out, so every event carries its own id and times of recording are
/// not compared.
///
/// # Panics
/// At the first difference, with the seed and the step.
pub async fn run(
    seed: u64,
    n_steps: u64,
    model: &Arc<dyn EventStore>,
    subject: &Arc<dyn EventStore>,
) {
    let mut history = History::new(seed);
    history.go(n_steps, model, subject).await;
}

/// A history that can be stopped, for example to close and open the subject again, and gone on.
#[derive(Debug)]
pub struct History {
    seed: u64,
    step: u64,
    random: Random,
    sent: Vec<AppendRequest>,
    next_id: u64,
    filters: Vec<Filter>,
}

impl History {
    /// Begins a history.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let timed = |filter: &Filter| {
            !filter.recorded_at.is_open()
                || filter
                    .any_of
                    .iter()
                    .any(|inner| !inner.recorded_at.is_open())
        };
        Self {
            seed,
            step: 0,
            random: Random::seeded(seed),
            sent: Vec::new(),
            next_id: 1,
            // Times of recording are each store's own.
            filters: filters()
                .into_iter()
                .filter(|filter| !timed(filter))
                .collect(),
        }
    }

    /// Takes some more steps.
    ///
    /// # Panics
    /// At the first difference, with the seed and the step.
    pub async fn go(
        &mut self,
        n_steps: u64,
        model: &Arc<dyn EventStore>,
        subject: &Arc<dyn EventStore>,
    ) {
        for _ in 0..n_steps {
            self.step += 1;
            match self.random.below(20) {
                0..9 => self.append(model, subject).await,
                9..14 => self.read_log(model, subject).await,
                14..17 => self.read_stream(model, subject).await,
                _ => self.look_up(model, subject).await,
            }
            self.compare("head", &model.head(), &subject.head());
        }
        self.compare_whole(model, subject).await;
    }

    fn compare<T: PartialEq + std::fmt::Debug>(
        &self,
        what: impl std::fmt::Debug,
        model: &T,
        subject: &T,
    ) {
        assert!(
            model == subject,
            "seed {} step {}: {what:?}\n  model:   {model:?}\n  subject: {subject:?}",
            self.seed,
            self.step
        );
    }

    async fn append(&mut self, model: &Arc<dyn EventStore>, subject: &Arc<dyn EventStore>) {
        let request = self.request(model.head());
        let ours = model.append(request.clone()).await;
        let theirs = subject.append(request.clone()).await;
        self.compare(&request, &outcome(&ours), &outcome(&theirs));
        self.sent.push(request);
    }

    /// Makes a request: new events, events that were sent before, or both.
    fn request(&mut self, head: Option<Position>) -> AppendRequest {
        if !self.sent.is_empty() && self.random.one_in(6) {
            // The very same again.
            return self.random.pick(&self.sent).clone();
        }
        let n_events = if self.random.one_in(10) {
            40
        } else {
            self.random.below(4) + 1
        };
        let mut events: Vec<_> = (0..n_events).map(|_| self.event()).collect();
        if !self.sent.is_empty() && self.random.one_in(6) {
            let again = self.random.pick(&self.sent).events.clone();
            // Something new that an event caused which may be there already.
            let caused = NewEvent {
                causation_id: self.random.pick(&again).id,
                correlation_id: None,
                ..self.event()
            };
            events.extend(again);
            events.push(caused);
            if self.random.one_in(2) {
                self.random.shuffle(&mut events);
            }
        }
        let condition = self.random.one_in(5).then(|| AppendCondition {
            filter: self.random.pick(&self.filters).clone(),
            after: self.near(head),
        });
        let mut expected: Vec<StreamExpectation> = Vec::new();
        for event in &events {
            let stands = expected.iter().any(|other| other.stream == event.stream);
            if !stands && self.random.one_in(6) {
                expected.push(self.expectation(event.stream.clone()));
            }
        }
        let partial_repeat = if self.random.one_in(2) {
            PartialRepeat::Skip
        } else {
            PartialRepeat::Refuse
        };
        AppendRequest {
            events,
            expected,
            condition,
            partial_repeat,
        }
    }

    fn expectation(&mut self, stream: StreamId) -> StreamExpectation {
        let version = match self.random.below(4) {
            0 => ExpectedVersion::NoStream,
            1 => ExpectedVersion::Exists,
            2 => ExpectedVersion::Any,
            _ => match SequenceNumber::new(self.random.below(20)) {
                Some(version) => ExpectedVersion::Exact(version),
                None => ExpectedVersion::NoStream,
            },
        };
        StreamExpectation { stream, version }
    }

    fn event(&mut self) -> NewEvent {
        self.next_id += 1;
        let number = self.next_id;
        if self.random.one_in(3) {
            // Many streams, some of them with one event only.
            let of = format!("bulk/{}", self.random.below(200));
            return NewEvent {
                stream: stream(&of),
                timestamp: Some(factum_model::Timestamp::MIN),
                ..varied(number)
            };
        }
        let cause = self.random.below(number + 2);
        let taken = self.random.one_in(40);
        NewEvent {
            // Now and then an id that is taken by another event.
            id: Some(if taken { id(cause + 1) } else { id(number) }),
            causation_id: self.random.one_in(2).then(|| id(cause)),
            correlation_id: self
                .random
                .one_in(3)
                .then(|| format!("case {}", number % 3).parse().unwrap()),
            // A time that the store assigns differs between the stores.
            timestamp: Some(
                factum_model::Timestamp::from_micros(
                    i64::try_from(self.random.below(86_400_000_000)).unwrap(),
                )
                .unwrap(),
            ),
            ..varied(number)
        }
    }

    /// Returns a position up to a little past the head, or none.
    fn near(&mut self, head: Option<Position>) -> Option<Position> {
        let head = head.map_or(0, Position::get);
        if self.random.one_in(3) {
            return None;
        }
        Position::new(self.random.below(head + 3))
    }

    fn direction(&mut self) -> Direction {
        if self.random.one_in(2) {
            Direction::Forwards
        } else {
            Direction::Backwards
        }
    }

    async fn read_log(&mut self, model: &Arc<dyn EventStore>, subject: &Arc<dyn EventStore>) {
        let head = model.head();
        let filter = match self.random.below(4) {
            0 => Filter::default(),
            1 => Filter {
                any_of: vec![
                    self.random.pick(&self.filters).clone(),
                    self.random.pick(&self.filters).clone(),
                ],
                ..self.random.pick(&self.filters).clone()
            },
            _ => self.random.pick(&self.filters).clone(),
        };
        let read = LogRead {
            filter,
            visibility: if self.random.one_in(3) {
                Visibility::Application
            } else {
                Visibility::Everything
            },
            direction: self.direction(),
            after: self.near(head),
            until: self.near(head),
            limit: *self.random.pick(&[1, 2, 10, 1000]),
            page_bytes_max: *self.random.pick(&[1, 500, 1 << 20]),
            scan_max: usize::MAX,
            ..LogRead::forwards()
        };
        let ours = model.read_log(read.clone()).await.unwrap();
        let theirs = subject.read_log(read.clone()).await.unwrap();
        self.compare(&read, &ours.has_more, &theirs.has_more);
        self.compare(&read, &fields(&ours.events), &fields(&theirs.events));
        // Without more, a store may say that it looked anywhere up to the bound.
        if ours.has_more {
            self.compare(&read, &ours.scanned_to, &theirs.scanned_to);
        }
    }

    async fn read_stream(&mut self, model: &Arc<dyn EventStore>, subject: &Arc<dyn EventStore>) {
        let read = StreamRead {
            stream: self.stream(),
            direction: self.direction(),
            from: SequenceNumber::new(self.random.below(12)),
            to: SequenceNumber::new(self.random.below(40)),
            limit: *self.random.pick(&[1, 3, 1000]),
            page_bytes_max: *self.random.pick(&[1, 500, 1 << 20]),
        };
        let ours = model.read_stream(read.clone()).await.unwrap();
        let theirs = subject.read_stream(read.clone()).await.unwrap();
        self.compare(
            &read,
            &(ours.has_more, ours.version),
            &(theirs.has_more, theirs.version),
        );
        self.compare(&read, &fields(&ours.events), &fields(&theirs.events));
    }

    fn stream(&mut self) -> StreamId {
        match self.random.below(3) {
            0 => stream(&format!("bulk/{}", self.random.below(210))),
            _ => {
                let number = self.random.below(100);
                varied(number).stream
            }
        }
    }

    async fn look_up(&mut self, model: &Arc<dyn EventStore>, subject: &Arc<dyn EventStore>) {
        let wanted = id(self.random.below(self.next_id + 2));
        let ours = model.event(wanted).await.unwrap();
        let theirs = subject.event(wanted).await.unwrap();
        self.compare(
            wanted,
            &ours.as_ref().map(own_fields),
            &theirs.as_ref().map(own_fields),
        );
        let stream = self.stream();
        let ours = model.stream_info(stream.clone()).await.unwrap();
        let theirs = subject.stream_info(stream.clone()).await.unwrap();
        self.compare(&stream, &ours, &theirs);
        let ours = model
            .aggregate_types_of(stream.aggregate_id.clone())
            .await
            .unwrap();
        let theirs = subject
            .aggregate_types_of(stream.aggregate_id.clone())
            .await
            .unwrap();
        self.compare(stream.aggregate_id, &ours, &theirs);
    }

    /// Compares everything that is stored.
    ///
    /// # Panics
    /// At the first difference, with the seed and the step.
    pub async fn compare_whole(&self, model: &Arc<dyn EventStore>, subject: &Arc<dyn EventStore>) {
        let ours = factum_store::conformance::fixtures::everything(model).await;
        let theirs = factum_store::conformance::fixtures::everything(subject).await;
        self.compare("number of events", &ours.len(), &theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            self.compare("event", &own_fields(ours), &own_fields(theirs));
        }
    }
}

/// Everything of an answer that two stores must agree on.
fn outcome(result: &Result<AppendReceipt, AppendError>) -> Result<Vec<String>, String> {
    match result {
        Ok(receipt) => Ok(receipt
            .events
            .iter()
            .map(|event| {
                let (id, position, number) = (event.id, event.position, event.sequence_number);
                format!("{id} {position} {number} {}", event.deduplicated)
            })
            .collect()),
        Err(error) => Err(format!("{}: {error}", error.code())),
    }
}

/// Everything of an event but when it was recorded.
fn own_fields(event: &RecordedEvent) -> RecordedEvent {
    let mut event = event.clone();
    event.recorded_at = factum_model::Timestamp::MIN;
    event
}

fn fields(events: &[RecordedEvent]) -> Vec<RecordedEvent> {
    events.iter().map(own_fields).collect()
}

#[cfg(test)]
mod tests {
    use factum_store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_store_is_like_itself() {
        for seed in 0..5 {
            let model: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
            let subject: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
            run(seed, 200, &model, &subject).await;
            assert!(model.head() > Position::new(100));
        }
    }

    #[tokio::test]
    async fn a_difference_is_found() {
        let model: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let subject: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let other = factum_store::conformance::fixtures::request(vec![varied(9999)]);
        subject.append(other).await.unwrap();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move { run(1, 50, &model, &subject).await });
        assert!(task.join_next().await.unwrap().unwrap_err().is_panic());
    }
}
