//! The wake-up: the head has moved, and the last wake-up was not a moment ago.

use std::time::Duration;

use factum_store::{HeadWatch, ReadError};
use tokio::time::Instant;

/// Tells readers at the head when to look again.
///
/// The first event after a pause wakes at once; while events keep coming, wake-ups are `coalesce`
/// apart, so that a hundred readers of a busy log read, render and write a handful of events at a
/// time instead of one.
#[derive(Debug)]
pub struct HeadSignal {
    head: HeadWatch,
    coalesce: Duration,
    /// The head has moved, and the wake-up for it is still to come.
    pending: bool,
    /// When the last wake-up was.
    woken: Option<Instant>,
}

impl HeadSignal {
    /// Makes a signal that wakes at most once per `coalesce`.
    #[must_use]
    pub const fn new(head: HeadWatch, coalesce: Duration) -> Self {
        Self {
            head,
            coalesce,
            pending: false,
            woken: None,
        }
    }

    /// Says that the reader is about to look: [`HeadSignal::moved`] then waits for what comes
    /// after this moment. Without it a wake-up may be one too many, never one too few.
    pub fn mark_seen(&mut self) {
        self.head.mark_unchanged();
        self.pending = false;
    }

    /// Waits until the head has moved since [`HeadSignal::mark_seen`]. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the store is gone and nothing can follow.
    pub async fn moved(&mut self) -> Result<(), ReadError> {
        if !self.pending {
            self.head.changed().await.map_err(|_| ReadError::Closed)?;
            self.pending = true;
        }
        if let Some(woken) = self.woken {
            tokio::time::sleep_until(woken + self.coalesce).await;
        }
        self.pending = false;
        self.woken = Some(Instant::now());
        Ok(())
    }
}
