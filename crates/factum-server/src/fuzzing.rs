//! Doors for fuzzing to decoders that are private. Not part of the interface.

use axum::body::Body;
use bytes::Bytes;
use factum_store::{Lineage, LineageId, StoreId};
use futures_util::stream;

use crate::live::LiveOptions;

/// Reads what a WebSocket client says.
///
/// # Errors
/// The words in which it is refused.
pub fn client_message(text: &str) -> Result<(), String> {
    let lineage = Lineage {
        store_id: StoreId([1; 16]),
        current: LineageId(1),
        earlier: Vec::new(),
    };
    crate::live::parse_client_message(text, &lineage, &LiveOptions::default())
}

/// Splits the body of a bulk append, which comes in pieces, into its lines.
///
/// # Errors
/// The words in which it is refused.
pub async fn bulk_lines(pieces: Vec<Bytes>, encoding: &str) -> Result<Vec<Bytes>, String> {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    crate::handlers::bulk::lines_of(Body::from_stream(stream::iter(pieces)), encoding).await
}
