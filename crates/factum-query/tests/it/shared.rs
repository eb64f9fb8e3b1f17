//! Where the data is.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use factum_model::{
    EventId, EventOrigin, Position, RecordedEvent, RecordedFields, SchemaVersion, SequenceNumber,
    Timestamp,
};
use flate2::read::GzDecoder;
use serde_json::Value;

/// Returns the lines of a compressed file, or `None` where it is not at hand.
pub(crate) fn lines(path: &Path) -> Option<Vec<String>> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

/// The files of real data where they are at hand, and the sample of the repository otherwise, each
/// with what was counted in it.
pub(crate) fn real_files() -> Vec<(Vec<String>, Value)> {
    let shared = std::env::var_os("FACTUM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let data = shared.unwrap_or(beside).join("data");
    let names = ["permits", "github-webhooks", "agent-sessions"];
    let read = |events: PathBuf, counts: PathBuf| {
        let counted = std::fs::read(counts).ok()?;
        Some((lines(&events)?, serde_json::from_slice(&counted).unwrap()))
    };
    let of_name = |name: &str| {
        let events = data.join(format!("{name}.jsonl.gz"));
        read(events, data.join(format!("{name}.expected.json")))
    };
    let found: Vec<_> = names.into_iter().filter_map(of_name).collect();
    if found.is_empty() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let events = own.join("../factum/tests/data/sample.jsonl.gz");
        return vec![read(events, own.join("tests/data/sample.expected.json")).unwrap()];
    }
    found
}

/// Returns an event with a payload and metadata.
pub(crate) fn event(payload: &str, metadata: &str) -> RecordedEvent {
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
        metadata,
        payload,
    })
}

/// Returns the payload and the metadata of a line, byte for byte.
pub(crate) fn parts(line: &str) -> (&str, &str) {
    let mut parts = ("{}", "{}");
    for (key, value) in factum_model::members(line) {
        match &*key {
            "payload" => parts.0 = value,
            "metadata" => parts.1 = value,
            _ => {}
        }
    }
    parts
}
