//! Repairs a damaged store, offline, in the way that an operator chose. Nothing is ever repaired
//! without being asked, and no file is changed before a copy of it was kept.

use std::io;
use std::path::Path;
use std::sync::Arc;

use factum_model::Position;
use factum_store::LineageId;

use crate::disk::{Disk, DiskFile, LockError, OsDisk, read_range};
use crate::manifest::{Manifest, SegmentEntry};
use crate::open::{OpenError, open, open_log};
use crate::options::{Options, random_bytes};
use crate::store::{LOCK, holder};
use crate::walk::{Step, Walk};

/// What to do about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairChoice {
    /// Keep every intact event; the damaged ones are given up. Their positions stay empty, are
    /// listed in the store's health, and readers pass over them.
    Quarantine,
    /// Keep the log up to the first damage only. What came after is given up.
    Truncate,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// The positions that were given up, first and last. Empty when nothing was damaged.
    pub lost: Vec<(Position, Position)>,
    /// The last position of the repaired store.
    pub head: Option<Position>,
    /// Copies of the files as they were.
    pub kept: Vec<String>,
}

/// Why a repair was not done.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The store is in use.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// There is no store, or its manifest or a segment file is gone: restore a backup.
    #[error("this cannot be repaired in place; restore a backup")]
    Beyond(#[from] OpenError),
    /// The operating system could not read or write.
    #[error("reading or writing a file failed")]
    Io(#[from] io::Error),
}

/// Repairs the store in a directory. A store without damage is left as it is.
///
/// A repaired store starts a new lineage, so that cursors into what was given up are refused. The
/// result is durable when this returns; a crash in between leaves the store as it was, or
/// repaired.
///
/// # Errors
/// See [`RepairError`].
pub fn repair(directory: &Path, choice: RepairChoice) -> Result<RepairReport, RepairError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open_or_create(directory)?);
    let _lock = disk.lock(LOCK, &holder())?;
    let read_only = Options {
        read_only: true,
        ..Options::at(directory)
    };
    let before = open(&disk, &read_only)?;
    let mut manifest = before.manifest;
    let damage = find_damage(&*disk, &manifest)?;
    if damage.is_empty() {
        let head = before.next.previous();
        return Ok(RepairReport {
            lost: Vec::new(),
            head,
            kept: Vec::new(),
        });
    }
    let mut kept = Vec::new();
    let old = manifest.lineage.current;
    let end = before.next.previous();
    let (lost, shared_up_to) = match choice {
        RepairChoice::Quarantine => {
            for piece in &damage {
                kept.push(keep(&*disk, &piece.entry.log_name())?);
                quarantine(&*disk, &mut manifest, piece)?;
            }
            (
                damage
                    .iter()
                    .map(|piece| (piece.first, piece.last))
                    .collect(),
                kept_up_to(&damage, end),
            )
        }
        RepairChoice::Truncate => match damage.into_iter().next() {
            Some(first) => truncate(&*disk, &mut manifest, &first, end, &mut kept)?,
            None => (Vec::new(), end),
        },
    };
    manifest.clean = None;
    manifest.lineage.earlier.push((old, shared_up_to));
    manifest.lineage.current = LineageId(u64::from_le_bytes(random_bytes()));
    manifest.store(&*disk).map_err(io::Error::from)?;
    let after = open(&disk, &Options::at(directory))?;
    Ok(RepairReport {
        lost,
        head: after.next.previous(),
        kept,
    })
}

/// Returns the last position that stands for the same event as before. Where the end of the open
/// log is gone, its positions are given out again.
fn kept_up_to(damage: &[Damage], end: Option<Position>) -> Option<Position> {
    let open_end = damage
        .iter()
        .find(|piece| piece.to_the_end && piece.entry.closed.is_none());
    open_end.map_or(end, |piece| piece.first.previous())
}

/// A damaged stretch of one segment.
struct Damage {
    entry: SegmentEntry,
    offset: u64,
    first: Position,
    last: Position,
    /// The damage reaches to the end of the segment.
    to_the_end: bool,
}

fn find_damage(disk: &dyn Disk, manifest: &Manifest) -> Result<Vec<Damage>, RepairError> {
    let mut damage = Vec::new();
    for entry in &manifest.segments {
        let file = open_log(disk, manifest, entry)?;
        let mut walk = Walk::new(file, entry)?;
        loop {
            let (offset, first) = (walk.end().offset, walk.next_position());
            match walk.step()? {
                Step::Group(_) => {}
                Step::Corrupt(corruption) => {
                    let last = corruption.resume.header.first.previous().unwrap_or(first);
                    if !manifest.quarantined.contains(&(first, last)) {
                        let entry = *entry;
                        damage.push(Damage {
                            entry,
                            offset,
                            first,
                            last,
                            to_the_end: false,
                        });
                    }
                    walk.resume(&corruption.resume);
                }
                Step::End | Step::Torn => {
                    let known_end = entry
                        .closed
                        .map(|closed| closed.end)
                        .or_else(|| manifest.clean.map(|clean| clean.end));
                    let n_events = entry.closed.map(|closed| u64::from(closed.n_events));
                    let clean_head = manifest.clean.and_then(|clean| clean.head);
                    let last = n_events
                        .and_then(|n| Position::new(entry.base.get() + n - 1))
                        .or(clean_head);
                    if known_end.is_some_and(|end| end != walk.end()) {
                        let last = last.unwrap_or(first);
                        let entry = *entry;
                        damage.push(Damage {
                            entry,
                            offset,
                            first,
                            last,
                            to_the_end: true,
                        });
                    }
                    break;
                }
            }
        }
    }
    Ok(damage)
}

/// Keeps a copy of a file, and returns its name.
fn keep(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let source = disk.open(name)?;
    let copy_name = format!("{name}.damaged");
    match disk.remove(&copy_name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let copy = disk.create(&copy_name)?;
    let (mut at, end) = (0, source.length()?);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 20);
        copy.write_at(&read_range(&*source, at, length)?, at)?;
        at += length as u64;
    }
    copy.sync_data()?;
    disk.sync_dir()?;
    Ok(copy_name)
}

/// Gives up the events of a stretch, in place.
fn quarantine(
    disk: &dyn Disk,
    manifest: &mut Manifest,
    damage: &Damage,
) -> Result<(), RepairError> {
    let base = damage.entry.base;
    let Some(entry) = manifest
        .segments
        .iter_mut()
        .find(|entry| entry.base == base)
    else {
        return Ok(());
    };
    // Only damage that took events with it leaves empty positions; a seal has none.
    if damage.first <= damage.last && (!damage.to_the_end || entry.closed.is_some()) {
        manifest.quarantined.push((damage.first, damage.last));
    }
    if let Some(closed) = &mut entry.closed {
        // The index still names the lost events.
        closed.index = None;
    } else if damage.to_the_end {
        let file = disk.open(&entry.log_name())?;
        cut(&*file, damage.offset)?;
    }
    Ok(())
}

/// What was given up, and the last position that was not.
type Truncated = (Vec<(Position, Position)>, Option<Position>);

/// Gives up everything from a place on; the segment with the damage becomes the last.
fn truncate(
    disk: &dyn Disk,
    manifest: &mut Manifest,
    damage: &Damage,
    end: Option<Position>,
    kept: &mut Vec<String>,
) -> Result<Truncated, RepairError> {
    let base = damage.entry.base;
    for entry in &manifest.segments {
        if entry.base >= base {
            kept.push(keep(disk, &entry.log_name())?);
        }
    }
    manifest.segments.retain(|entry| entry.base <= base);
    if let Some(last) = manifest.segments.last_mut() {
        last.closed = None;
    }
    manifest
        .quarantined
        .retain(|(_, last)| *last < damage.first);
    // The manifest comes first: with it the files behind are nobody's, and they still have a copy.
    manifest.clean = None;
    let file = disk.open(&damage.entry.log_name())?;
    cut(&*file, damage.offset)?;
    let leftovers: Vec<_> = kept.iter().skip(1).cloned().collect();
    for name in leftovers {
        disk.remove(name.trim_end_matches(".damaged"))?;
    }
    let lost = end
        .filter(|end| damage.first <= *end)
        .map(|end| (damage.first, end));
    Ok((lost.into_iter().collect(), damage.first.previous()))
}

fn cut(file: &dyn DiskFile, offset: u64) -> io::Result<()> {
    file.set_len(offset)?;
    file.sync_data()
}
