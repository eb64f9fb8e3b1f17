//! An open file of the simulated disk.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use factum_store_embedded::DiskFile;

use super::state::{FileId, Operation, State};

/// A handle of a file; it stays valid when the file gets another name or none.
#[derive(Debug)]
pub(super) struct SimFile {
    state: Arc<Mutex<State>>,
    id: FileId,
}

impl SimFile {
    pub(super) fn handle(state: &Arc<Mutex<State>>, id: FileId) -> Arc<dyn DiskFile> {
        Arc::new(Self {
            state: Arc::clone(state),
            id,
        })
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock_state();
        state.begin_read()?;
        let bytes = state
            .files
            .get(&self.id)
            .map_or(&[][..], |file| &file.bytes);
        let rest = bytes.get(index(offset)?..).unwrap_or_default();
        let n_read = rest.len().min(buffer.len());
        buffer[..n_read].copy_from_slice(&rest[..n_read]);
        Ok(n_read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock_state();
        let offset = index(offset)?;
        state.begin(&Operation::Write {
            id: self.id,
            bytes: bytes.to_vec(),
            offset,
        })?;
        state.write(self.id, bytes, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin(&Operation::Sync { id: self.id })?;
        state.sync(self.id);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.lock_state();
        state.check_power()?;
        Ok(state
            .files
            .get(&self.id)
            .map_or(0, |file| file.bytes.len() as u64))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock_state();
        let length = index(length)?;
        state.begin(&Operation::SetLength {
            id: self.id,
            length,
        })?;
        state.set_length(self.id, length);
        Ok(())
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.lock_state();
        let end = index(offset + length)?;
        let present = state.files.get(&self.id).map_or(0, |file| file.bytes.len());
        let length = end.max(present);
        state.begin(&Operation::SetLength {
            id: self.id,
            length,
        })?;
        state.set_length(self.id, length);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.lock_state();
        let (offset, zeros) = (index(offset)?, vec![0; index(length)?]);
        state.begin(&Operation::Write {
            id: self.id,
            bytes: zeros.clone(),
            offset,
        })?;
        state.write(self.id, &zeros, offset);
        // Zeros are durable when this returns, and what else of the file is pending stays so:
        // a sync that also covers the rest would hide mistakes of the one who relies on it.
        state.make_durable(self.id, offset, zeros.len());
        Ok(())
    }
}
