//! Zeros ahead of the log, so that a small group only overwrites: that saves the file system a
//! journal entry for each sync.
//!
//! Zeros must never meet a group. The writer says up to where it writes, and the zeros go only
//! where it does not; where it catches up, it waits for the one chunk that is under way.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::disk::DiskFile;

/// How much is zeroed at once; also what the writer may have to wait for.
const CHUNK_BYTES: u64 = 256 << 10;

/// Keeps the zeros away from the writer, for one segment.
#[derive(Debug, Default)]
pub(crate) struct ZeroFence {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Below this the writer writes, or has written.
    writer_end: u64,
    /// Where zeros are being written; empty when none are.
    zeroing: (u64, u64),
    closed: bool,
}

impl ZeroFence {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the file up to `end` for the writer.
    pub(crate) fn claim(&self, end: u64) {
        let mut state = self.lock();
        state.writer_end = state.writer_end.max(end);
        while state.zeroing.0 < end && state.zeroing.1 > 0 {
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets no more zeros into the file.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        while state.zeroing.1 > 0 {
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Zeroes a range chunk by chunk, but for what the writer has claimed. The range is durable
    /// zeros, or the writer's, when this returns.
    pub(crate) fn zero(&self, file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let length = CHUNK_BYTES.min(to - at);
            {
                let mut state = self.lock();
                if state.closed {
                    return Ok(());
                }
                if at < state.writer_end {
                    at += length;
                    continue;
                }
                state.zeroing = (at, at + length);
            }
            let zeroed = file.zero(at, length);
            self.lock().zeroing = (0, 0);
            self.done.notify_all();
            zeroed?;
            at += length;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Disk as _, OsDisk, read_range};

    #[test]
    fn zeros_never_meet_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let file = OsDisk::open_or_create(directory.path())
            .unwrap()
            .create("a")
            .unwrap();
        let total = 8 << 20;
        file.reserve(0, total).unwrap();
        let fence = Arc::new(ZeroFence::default());
        let zeroer = {
            let (fence, file) = (Arc::clone(&fence), Arc::clone(&file));
            std::thread::spawn(move || fence.zero(&*file, 0, total).unwrap())
        };
        let mut at = 0;
        while at < total {
            fence.claim(at + 1000);
            file.write_at(&[7; 1000], at).unwrap();
            at += 1000;
        }
        fence.close();
        zeroer.join().unwrap();
        let bytes = read_range(&*file, 0, usize::try_from(total).unwrap()).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}
