//! Which leaf of the events table has which positions, as far as this node knows.

use std::sync::{PoisonError, RwLock};

use tokio::time::Instant;
use tokio_postgres::types::Type;

use crate::error::Failure;
use crate::pool::Pool;
use crate::statements::Statements;

/// The leaves that were opened, each with its first position. Where a leaf begins never changes,
/// so whatever is known stays right; what is not known yet is looked for in all that come after.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    opened: RwLock<Vec<(i32, i64)>>,
}

impl Leaves {
    /// Looks up the leaves again.
    pub(crate) async fn refresh(
        &self,
        pool: &Pool,
        statements: &Statements,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let log = &[(&statements.log as _, Type::INT4)];
        let rows = pool.read_one(&statements.leaves, log, deadline).await?;
        let mut opened = Vec::with_capacity(rows.len());
        for row in rows {
            opened.push((row.try_get(0)?, row.try_get(1)?));
        }
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(())
    }

    /// Returns the first and the last leaf that can have positions of a range.
    pub(crate) fn range(&self, first: i64, last: i64) -> (i32, i32) {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let before = opened.partition_point(|(_, begins)| *begins <= first);
        let lowest = before.checked_sub(1).and_then(|index| opened.get(index));
        let behind = opened.partition_point(|(_, begins)| *begins <= last);
        // Only a leaf that is known to begin later tells that none after it has the range.
        let highest = opened.get(behind).and_then(|_| behind.checked_sub(1));
        let highest = highest.and_then(|index| opened.get(index));
        (
            lowest.map_or(0, |(leaf, _)| *leaf),
            highest.map_or(i32::MAX, |(leaf, _)| *leaf),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_elsewhere_is_left_out() {
        let leaves = Leaves {
            opened: RwLock::new(vec![(3, 1), (5, 11), (6, 21)]),
        };
        assert_eq!(leaves.range(1, 10), (3, 3));
        assert_eq!(leaves.range(1, 11), (3, 5));
        assert_eq!(leaves.range(12, 20), (5, 5));
        assert_eq!(leaves.range(12, 21), (5, i32::MAX));
        assert_eq!(leaves.range(30, i64::MAX), (6, i32::MAX));
        assert_eq!(Leaves::default().range(5, 6), (0, i32::MAX));
    }
}
