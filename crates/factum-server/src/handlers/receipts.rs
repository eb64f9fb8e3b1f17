//! Receipts, written by hand: an append answers with little and often.

use factum_api::write_string;
use factum_model::{StreamId, Timestamp};
use factum_store::{AppendReceipt, Cursor, EventReceipt};

/// Writes the receipt of one event as the whole answer.
pub(crate) fn single(stream: &StreamId, receipt: &EventReceipt, cursor: &Cursor) -> Vec<u8> {
    let mut out = Vec::with_capacity(384);
    write(&mut out, stream, receipt);
    out.extend_from_slice(format!(",\"cursor\":\"{cursor}\"}}").as_bytes());
    out
}

/// Writes the receipts of many events.
pub(crate) fn many(streams: &[StreamId], receipt: &AppendReceipt, cursor: &Cursor) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 * streams.len() + 96);
    out.extend_from_slice(b"{\"events\":[");
    for (index, (stream, event)) in streams.iter().zip(&receipt.events).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(&mut out, stream, event);
        out.push(b'}');
    }
    out.extend_from_slice(format!("],\"cursor\":\"{cursor}\"}}").as_bytes());
    out
}

/// Writes a receipt without its closing brace.
fn write(out: &mut Vec<u8>, stream: &StreamId, receipt: &EventReceipt) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(receipt.id.encode(&mut [0; 36]).as_bytes());
    out.extend_from_slice(b"\",\"aggregateType\":");
    write_string(out, stream.aggregate_type.as_str());
    out.extend_from_slice(b",\"aggregateId\":");
    write_string(out, stream.aggregate_id.as_str());
    let places = format!(
        ",\"sequenceNumber\":{},\"position\":{},\"recordedAt\":\"",
        receipt.sequence_number, receipt.position
    );
    out.extend_from_slice(places.as_bytes());
    let mut buffer = [0; Timestamp::TEXT_BYTES];
    out.extend_from_slice(receipt.recorded_at.encode(&mut buffer).as_bytes());
    out.push(b'"');
    if receipt.deduplicated {
        out.extend_from_slice(b",\"deduplicated\":true");
    }
}
