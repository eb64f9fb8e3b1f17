//! Cursors: opaque tokens that name a store, a history and a position.
//!
//! A cursor means "after this position, in reading direction". It works on any store that holds
//! the same history, also after a move from one store to another, and is refused, not misread,
//! when the history behind it was cut off by a restore or a repair.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use factum_model::{ErrorCode, Position};
use thiserror::Error;

/// The identity of a store; a copy made by backup or migration keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

/// The identity of one history. A restored or repaired store starts a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineageId(pub u64);

/// The identity of a store, the history it writes now, and the earlier ones it goes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The store.
    pub store_id: StoreId,
    /// The history that is being written.
    pub current: LineageId,
    /// Earlier histories, oldest first, each with the last position of it that was part of the
    /// history after it; `None` when nothing of it was. What a later one lost, all before it have
    /// lost too.
    pub earlier: Vec<(LineageId, Option<Position>)>,
}

/// A place in the log of one store, as clients carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The store.
    pub store_id: StoreId,
    /// The history.
    pub lineage: LineageId,
    /// The position; `None` stands before the first event.
    pub position: Option<Position>,
}

/// Why a cursor cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CursorError {
    /// The text is not a cursor.
    #[error("{text:?} is not a cursor")]
    Invalid {
        /// The text as it came, cut to 64 characters.
        text: String,
    },
    /// The cursor is of another store.
    #[error("the cursor is of another store")]
    Foreign,
    /// The cursor points behind the point at which its history was cut off.
    #[error("the history that the cursor points into was cut off after position {}", .resume_at.map_or(0, Position::get))]
    LostHistory {
        /// The last position that this store shares with that history.
        resume_at: Option<Position>,
    },
}

impl CursorError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::InvalidCursor,
            Self::Foreign => ErrorCode::ForeignCursor,
            Self::LostHistory { .. } => ErrorCode::LostHistory,
        }
    }
}

impl Lineage {
    /// Makes a cursor to a position of the present history.
    #[must_use]
    pub const fn cursor(&self, position: Option<Position>) -> Cursor {
        Cursor {
            store_id: self.store_id,
            lineage: self.current,
            position,
        }
    }

    /// Returns the position that a cursor stands for in this store.
    ///
    /// # Errors
    /// [`CursorError::Foreign`] for another store, [`CursorError::LostHistory`] for a position
    /// that is not part of this store's history.
    pub fn resolve(&self, cursor: Cursor) -> Result<Option<Position>, CursorError> {
        if cursor.store_id != self.store_id {
            return Err(CursorError::Foreign);
        }
        if cursor.lineage == self.current {
            return Ok(cursor.position);
        }
        let known = self
            .earlier
            .iter()
            .position(|(lineage, _)| *lineage == cursor.lineage);
        let later = known.and_then(|at| self.earlier.get(at..));
        // `None` is the least: nothing is shared with a history of which nothing is left.
        let last = later.and_then(|later| later.iter().map(|(_, last)| *last).min());
        match last {
            Some(last) if cursor.position <= last => Ok(cursor.position),
            // A history that this store never knew of branched off from one that it does know.
            last => Err(CursorError::LostHistory {
                resume_at: last.flatten(),
            }),
        }
    }
}

const FORMAT: u8 = 1;
/// Format, store, lineage, position and a check byte for each of two sums.
const CURSOR_BYTES: usize = 1 + 16 + 8 + 8 + 2;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.store_id.0);
        bytes.extend_from_slice(&self.lineage.0.to_be_bytes());
        bytes.extend_from_slice(&self.position.map_or(0, Position::get).to_be_bytes());
        let check = fletcher_16(&bytes);
        bytes.extend_from_slice(&check);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let invalid = || CursorError::Invalid {
            text: text.chars().take(64).collect(),
        };
        if text.len() > 64 {
            return Err(invalid());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let bytes: [u8; CURSOR_BYTES] = bytes.try_into().map_err(|_| invalid())?;
        let (body, check) = bytes.split_at(CURSOR_BYTES - 2);
        if fletcher_16(body) != check || body.first() != Some(&FORMAT) {
            return Err(invalid());
        }
        let part = |from: usize| -> [u8; 8] {
            let mut part = [0; 8];
            part.copy_from_slice(&body[from..from + 8]);
            part
        };
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&body[1..17]);
        Ok(Self {
            store_id: StoreId(store_id),
            lineage: LineageId(u64::from_be_bytes(part(17))),
            position: Position::new(u64::from_be_bytes(part(25))),
        })
    }
}

/// Fletcher's checksum: enough to tell a mistyped cursor from a foreign one.
fn fletcher_16(bytes: &[u8]) -> [u8; 2] {
    let (mut first, mut second) = (0_u32, 0_u32);
    for &byte in bytes {
        first = (first + u32::from(byte)) % 255;
        second = (second + first) % 255;
    }
    // Both sums are below 255.
    [
        u8::try_from(first).unwrap_or_default(),
        u8::try_from(second).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage() -> Lineage {
        Lineage {
            store_id: StoreId([7; 16]),
            current: LineageId(3),
            earlier: vec![
                (LineageId(1), Position::new(20)),
                (LineageId(2), Position::new(10)),
                (LineageId(4), Position::new(15)),
            ],
        }
    }

    #[test]
    fn text_and_cursor_agree() {
        for position in [None, Position::new(1), Position::new(u64::MAX)] {
            let cursor = lineage().cursor(position);
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        let text = lineage().cursor(None).to_string();
        for wrong in [
            "",
            "x",
            &text[1..],
            &format!("{text}A"),
            &text.replace('B', "C"),
        ] {
            assert!(
                matches!(wrong.parse::<Cursor>(), Err(CursorError::Invalid { .. })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn cursors_of_lost_history_are_refused() {
        let at = |lineage, position| Cursor {
            store_id: StoreId([7; 16]),
            lineage: LineageId(lineage),
            position: Position::new(position),
        };
        let check = |cursor, expected| assert_eq!(lineage().resolve(cursor), expected);
        let lost = |last| {
            Err(CursorError::LostHistory {
                resume_at: Position::new(last),
            })
        };
        check(at(3, 99), Ok(Position::new(99)));
        check(at(4, 15), Ok(Position::new(15)));
        check(at(4, 16), lost(15));
        check(at(2, 10), Ok(Position::new(10)));
        check(at(2, 11), lost(10));
        // The second history ended before the end of the first, so the first one did as well:
        // what stands there now is of another history.
        check(at(1, 10), Ok(Position::new(10)));
        check(at(1, 11), lost(10));
        check(at(9, 1), lost(0));
        let mut nothing_left = lineage();
        nothing_left.earlier.push((LineageId(5), None));
        assert_eq!(nothing_left.resolve(at(1, 1)), lost(0));
        check(
            Cursor {
                store_id: StoreId([8; 16]),
                ..at(3, 1)
            },
            Err(CursorError::Foreign),
        );
    }
}
