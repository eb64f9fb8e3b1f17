//! What the parts of a store share.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use factum_model::Position;
use factum_store::WriteState;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::counters::Counters;
use crate::leaves::Leaves;
use crate::options::Options;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::standby::Standby;
use crate::statements::Statements;

/// What the parts of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) statements: Statements,
    /// The connections of reads.
    pub(crate) pool: Pool,
    /// The connections of what this node does by itself.
    pub(crate) own: Pool,
    /// Where readers are sent first.
    pub(crate) standby: Option<Standby>,
    pub(crate) leaves: Leaves,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    pub(crate) state: RwLock<WriteState>,
    /// The head as far as this node knows.
    pub(crate) head: watch::Sender<Option<Position>>,
    /// As of when that is known: no append that was acknowledged before is missing.
    pub(crate) head_known_at: Mutex<Instant>,
    /// This node has appended, and others are to be told.
    pub(crate) appended: Notify,
}

impl Shared {
    pub(crate) fn state(&self) -> WriteState {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the state. A store that is closed stays closed.
    pub(crate) fn set_state(&self, state: WriteState) {
        let mut now = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if *now != WriteState::Closed {
            *now = state;
        }
    }

    /// Takes note that everything is known that was appended before a moment.
    pub(crate) fn knows_all_before(&self, moment: Instant) {
        let mut known_at = self
            .head_known_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known_at = moment.max(*known_at);
    }

    /// Returns for how long others may have appended without this node knowing of it.
    pub(crate) fn head_age(&self) -> Duration {
        let known_at = self
            .head_known_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known_at.elapsed()
    }

    /// Moves the head that this node knows of forward, never back.
    pub(crate) fn advance(&self, head: Option<Position>) {
        self.head.send_if_modified(|known| {
            let moves = head > *known;
            if moves {
                *known = head;
            }
            moves
        });
    }
}
