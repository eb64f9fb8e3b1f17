//! What the terms of an event cost, and what a query on payload costs the plain evaluator.
//!
//! Reads `permits.jsonl.gz` of the real data: `FACTUM_SHARED`, or `../shared` beside the
//! repository.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark says by panicking what is wrong"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use factum_model::{
    EventId, EventOrigin, Position, RecordedEvent, RecordedFields, SchemaVersion, SequenceNumber,
    Timestamp, members,
};
use factum_query::{
    Filter, JsonQuery, Part, TermHasher, TermLimits, TermSink, TextQuery, document_terms,
};
use flate2::read::GzDecoder;

#[derive(Default)]
struct Sum(u64);

impl TermSink for Sum {
    fn path_term(&mut self, term: u64) {
        self.0 ^= term;
    }

    fn word_term(&mut self, term: u64) {
        self.0 ^= term;
    }
}

fn events(name: &str) -> Vec<RecordedEvent> {
    let shared = std::env::var_os("FACTUM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = shared.unwrap_or(beside).join("data").join(name);
    let mut text = String::new();
    let file = File::open(path).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(event).collect()
}

fn event(line: &str) -> RecordedEvent {
    let part = |name: &str| {
        let found = members(line).find_map(|(key, value)| (key == name).then_some(value));
        found.unwrap()
    };
    RecordedEvent::new(RecordedFields {
        id: EventId::from_bytes([1; 16]),
        position: Position::FIRST,
        sequence_number: SequenceNumber::FIRST,
        recorded_at: Timestamp::from_micros(20).unwrap(),
        timestamp: Timestamp::from_micros(10).unwrap(),
        schema_version: SchemaVersion::FIRST,
        origin: EventOrigin::default(),
        causation_id: None,
        event_type: "form.opened",
        aggregate_type: "form",
        aggregate_id: "f-1",
        correlation_id: None,
        metadata: part("metadata"),
        payload: part("payload"),
    })
}

fn terms(criterion: &mut Criterion) {
    let hasher = TermHasher::new([7; 16]);
    let limits = TermLimits::default();
    for name in ["permits", "github-webhooks", "agent-sessions"] {
        let events = events(&format!("{name}.jsonl.gz"));
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(events.len() as u64));
        group.bench_function("document_terms", |bencher| {
            bencher.iter(|| {
                let mut sum = Sum::default();
                for event in &events {
                    let payload = event.payload();
                    let metadata = event.metadata();
                    let coverage =
                        document_terms(&hasher, Part::Payload, payload, &limits, &mut sum).and(
                            document_terms(&hasher, Part::Metadata, metadata, &limits, &mut sum),
                        );
                    black_box(coverage.is_complete());
                }
                sum.0
            });
        });
        let equals = Filter {
            payload: Some(JsonQuery::equals("$.activity", "Confirmation of receipt").unwrap()),
            ..Filter::default()
        };
        let text = Filter {
            text: Some(TextQuery::parse("group complete").unwrap()),
            ..Filter::default()
        };
        for (what, filter) in [("matches_equals", equals), ("matches_text", text)] {
            group.bench_function(what, |bencher| {
                bencher.iter(|| events.iter().filter(|event| filter.matches(event)).count());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, terms);
criterion_main!(benches);
