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

/// The files of real data with what was counted in them, where they are at hand.
pub(crate) fn real_files() -> Vec<(Vec<String>, Value)> {
    let shared = std::env::var_os("FACTUM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let data = shared.unwrap_or(beside).join("data");
    let names = ["permits", "github-webhooks", "agent-sessions"];
    let read = |name: &str| {
        let lines = lines(&data.join(format!("{name}.jsonl.gz")))?;
        let expected = std::fs::read(data.join(format!("{name}.expected.json"))).ok()?;
        Some((lines, serde_json::from_slice(&expected).unwrap()))
    };
    names.into_iter().filter_map(read).collect()
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
