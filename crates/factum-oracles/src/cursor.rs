//! Cursors.

use factum_store::{Cursor, Lineage};

pub(crate) const SEEDS: &[&str] = &[
    "AYgVWYyxOYVWhPVgqnejByKASGWY6LiZsAAAAAAAAAAEy0o",
    "AQ",
    "-_",
];

/// A text that is a cursor is the only text of that cursor, and is resolved in its own store.
///
/// # Panics
/// When not.
pub fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(cursor) = text.parse::<Cursor>() else {
        return;
    };
    assert_eq!(cursor.to_string(), text);
    let lineage = Lineage {
        store_id: cursor.store_id,
        current: cursor.lineage,
        earlier: Vec::new(),
    };
    assert_eq!(lineage.resolve(cursor), Ok(cursor.position));
}
