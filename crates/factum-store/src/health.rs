//! How a store is doing.

use factum_model::Position;

/// Whether a store takes appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteState {
    /// It does.
    Open,
    /// The disk is full; it will again when there is space.
    Full,
    /// A write or sync failed; it will not until it is opened again.
    Failed {
        /// What failed, in words.
        cause: String,
    },
    /// It was opened for reading only.
    ReadOnly,
    /// It is closed or being closed.
    Closed,
}

/// How a store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// Whether it takes appends.
    pub writes: WriteState,
    /// The position of the last event that readers can see.
    pub head: Option<Position>,
    /// Stored ranges known to be damaged, as first and last position.
    pub damaged: Vec<(Position, Position)>,
}

/// Counters since the store was opened and present sizes. Counters only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreMetrics {
    /// Names and values; each name is unique, snake_case, with its unit last, and without the
    /// `factum_` prefix. Counters end in `_total`.
    pub values: Vec<(&'static str, u64)>,
}
