//! Begins segments.

use std::io;
use std::sync::Arc;

use factum_model::Position;
use factum_store::StoreId;

use crate::background::Task;
use crate::disk::{Disk, DiskFile};
use crate::frame::SEGMENT_HEADER_BYTES;
use crate::index::{Index, TailIndex};
use crate::manifest::{ClosedSegment, LogEnd, ManifestError, SegmentEntry};
use crate::options::random_bytes;
use crate::segment::Segment;
use crate::writer::Writer;

/// Makes the file of a new segment, durable with its name.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    store_id: StoreId,
    base: Position,
    end: LogEnd,
) -> io::Result<(SegmentEntry, Arc<dyn DiskFile>)> {
    let entry = SegmentEntry {
        base,
        generation: 0,
        salt: u64::from_le_bytes(random_bytes()),
        first_group: end.group + 1,
        first_chain: end.chain,
        closed: None,
    };
    // A file of that name can only be left over from a crash before it was used.
    match disk.remove(&entry.log_name()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(&entry.log_name())?;
    file.write_at(&entry.header(store_id).encode(), 0)?;
    file.sync_data()?;
    disk.sync_dir()?;
    Ok((entry, file))
}

/// Closes the active segment and begins the next one.
///
/// # Errors
/// [`ManifestError::NotStored`] when nothing has changed but that a file may be left over, which
/// no manifest names: the next attempt may make it again. After [`ManifestError::Unknown`] nobody
/// may append: the next start may take the active segment for closed, or the next one for missing.
pub(crate) fn roll(writer: &mut Writer) -> Result<(), ManifestError> {
    let shared = Arc::clone(&writer.shared);
    let store_id = shared
        .manifest
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .lineage
        .store_id;
    let names = shared.alone_with_names();
    let (entry, file) = create_segment(&*shared.disk, store_id, writer.next, writer.end)
        .map_err(ManifestError::NotStored)?;
    let closed = ClosedSegment {
        n_events: writer.active.ordinal(writer.next),
        end: writer.end,
        index: None,
    };
    shared.change_manifest(&names, |manifest| {
        if let Some(last) = manifest.segments.last_mut() {
            last.closed = Some(closed);
        }
        manifest.segments.push(entry);
    })?;
    drop(names);
    writer.active.close(closed);
    writer.active.zero_fence.close();
    // What was reserved and not used goes back to the disk. If it does not, it is only space.
    if let Err(error) = writer.active.file().set_len(writer.end.offset) {
        tracing::warn!(%error, "space behind a closed segment was not given back");
    }
    writer.background.submit(Task::Seal {
        segment: Arc::clone(&writer.active),
        closed,
    });
    let end = SEGMENT_HEADER_BYTES as u64;
    let index = Index::Tail(TailIndex::default());
    let segment = Arc::new(Segment::new(entry, file, shared.log.key, index, end));
    shared.log.add_segment(Arc::clone(&segment));
    writer.active = segment;
    writer.end.offset = end;
    writer.reserved_to = end;
    writer.unsealed = false;
    Ok(())
}
