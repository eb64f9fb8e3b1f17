//! The newest events, in memory, for those who read what was just written.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use factum_model::{Position, RecordedEvent};

/// What an event takes beside its texts, about.
const EVENT_BYTES: usize = 192;

/// A window onto the end of the log, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Recent {
    bytes_max: usize,
    window: RwLock<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// Contiguous positions.
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            window: RwLock::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Window> {
        self.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the next events of the log.
    pub(crate) fn push(&self, events: impl IntoIterator<Item = RecordedEvent>) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            window.bytes += EVENT_BYTES + event.text_bytes();
            window.events.push_back(event);
        }
        while window.bytes > self.bytes_max
            && let Some(oldest) = window.events.pop_front()
        {
            window.bytes -= EVENT_BYTES + oldest.text_bytes();
        }
    }

    /// Returns the event at a position, if it is among the newest.
    pub(crate) fn get(&self, position: Position) -> Option<RecordedEvent> {
        let window = self.read();
        let first = window.events.front()?.position.get();
        let index = usize::try_from(position.get().checked_sub(first)?).ok()?;
        window.events.get(index).cloned()
    }

    /// Returns at most so many events after a position, the oldest first; `None` when the window
    /// does not reach back that far.
    pub(crate) fn after(
        &self,
        after: Option<Position>,
        n_events_max: usize,
    ) -> Option<Vec<RecordedEvent>> {
        let window = self.read();
        let wanted = Position::after(after);
        let first = window.events.front()?.position;
        let skipped = wanted.get().checked_sub(first.get())?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let events = window.events.iter().skip(skipped).take(n_events_max);
        Some(events.cloned().collect())
    }
}
