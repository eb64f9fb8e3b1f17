//! Repairs a damaged store, offline, in the way that an operator chose. Nothing is ever repaired
//! without being asked, and no file is changed before a copy of it was kept.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use factum_model::Position;
use factum_store::LineageId;

use crate::disk::cold::{ColdDisk, cold_name};
use crate::disk::{Disk, DiskFile, LockError, OsDisk, read_range};
use crate::leftovers::kept_name;
use crate::manifest::{Manifest, SegmentEntry};
use crate::open::{LogFile, OpenError, open, open_log};
use crate::options::{Options, random_bytes};
use crate::store::{LOCK, holder};
use crate::walk::{Step, Walk};

/// How much is copied at once.
const COPY_BYTES: u64 = 1 << 20;

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
/// A store that gave up events starts a new lineage, so that cursors into what was given up are
/// refused; one of which only headers were damaged has given up none. The result is durable when
/// this returns. A crash in between leaves the store damaged, and it may be repaired again, or
/// repaired; what the crash left over is removed when the store is opened, but for copies, which
/// are never removed.
///
/// # Errors
/// See [`RepairError`].
pub fn repair(directory: &Path, choice: RepairChoice) -> Result<RepairReport, RepairError> {
    let disk = Arc::new(OsDisk::open_or_create(directory)?);
    let disk: Arc<dyn Disk> = Arc::new(ColdDisk::new(disk));
    repair_disk(&disk, choice)
}

/// Repairs the store on a disk; see [`repair`].
///
/// # Errors
/// See [`RepairError`].
pub fn repair_disk(
    disk: &Arc<dyn Disk>,
    choice: RepairChoice,
) -> Result<RepairReport, RepairError> {
    let _lock = disk.lock(LOCK, &holder())?;
    let options = Options::at("");
    let read_only = Options {
        read_only: true,
        ..options.clone()
    };
    let before = open(disk, &read_only)?;
    let end = before.next.previous();
    let mut repair = Repair {
        disk: &**disk,
        manifest: before.manifest,
        kept: Vec::new(),
    };
    let found = repair.find_damage()?;
    if found.stretches.is_empty() && found.files.is_empty() {
        return Ok(RepairReport {
            lost: Vec::new(),
            head: end,
            kept: Vec::new(),
        });
    }
    for entry in &found.files {
        repair.write_again(entry)?;
    }
    let lost = match found.stretches.split_first() {
        None => Vec::new(),
        Some((first, _)) => {
            let (lost, shared_up_to) = match choice {
                RepairChoice::Quarantine => repair.quarantine(&found.stretches, end)?,
                RepairChoice::Truncate => repair.truncate(first, end)?,
            };
            repair.begin_lineage(shared_up_to)?;
            lost
        }
    };
    let kept = repair.kept;
    // Opens it as it will be used, which also removes the files that were replaced.
    let after = open(disk, &options)?;
    Ok(RepairReport {
        lost,
        head: after.next.previous(),
        kept: kept.into_iter().map(|(_, copy)| copy).collect(),
    })
}

/// What is damaged.
#[derive(Default)]
struct Found {
    /// Segments whose file is damaged in what stands around the log: the header, of which the
    /// manifest has all that it says, or the form that it is compressed in.
    files: Vec<SegmentEntry>,
    stretches: Vec<Damage>,
}

/// A damaged stretch of one segment.
struct Damage {
    entry: SegmentEntry,
    offset: u64,
    first: Position,
    /// Before `first` where no event was lost.
    last: Position,
    /// The damage reaches to the end of the segment.
    to_the_end: bool,
}

impl Damage {
    fn range(&self) -> (Position, Position) {
        (self.first, self.last)
    }
}

/// The ranges that were given up, and the last position that stands for the same event as before.
type GivenUp = (Vec<(Position, Position)>, Option<Position>);

struct Repair<'a> {
    disk: &'a dyn Disk,
    /// As it will be.
    manifest: Manifest,
    /// Files of which copies were kept, and the copies.
    kept: Vec<(String, String)>,
}

impl Repair<'_> {
    fn find_damage(&self) -> Result<Found, RepairError> {
        let mut found = Found::default();
        for entry in &self.manifest.segments {
            let LogFile { file, header } = open_log(self.disk, &self.manifest, entry)?;
            if header.is_err() || self.disk.damage(&entry.log_name())?.is_some() {
                found.files.push(*entry);
            }
            let walk = Walk::new(file, entry)?;
            self.find_in_segment(entry, walk, &mut found.stretches)?;
        }
        let quarantined = &self.manifest.quarantined;
        let known = |damage: &Damage| quarantined.contains(&damage.range());
        found.stretches.retain(|damage| !known(damage));
        Ok(found)
    }

    fn find_in_segment(
        &self,
        entry: &SegmentEntry,
        mut walk: Walk,
        stretches: &mut Vec<Damage>,
    ) -> io::Result<()> {
        let damage = |walk: &Walk, last, to_the_end| Damage {
            entry: *entry,
            offset: walk.end().offset,
            first: walk.next_position(),
            last,
            to_the_end,
        };
        let nothing = |walk: &Walk| walk.next_position().previous();
        let torn = loop {
            match walk.step()? {
                Step::Group(_) => {}
                Step::Corrupt(corruption) => {
                    let last = corruption.resume.header.first.previous();
                    let last = last.unwrap_or(corruption.first);
                    stretches.push(damage(&walk, last, false));
                    walk.resume(&corruption.resume);
                }
                Step::End => break false,
                Step::Torn => break true,
            }
        };
        let clean = self.manifest.clean;
        let (known_end, last) = match entry.closed {
            Some(closed) => (Some(closed.end), Some(closed.last(entry.base))),
            None => (
                clean.map(|clean| clean.end),
                clean.and_then(|clean| clean.head),
            ),
        };
        let cut = match known_end {
            Some(end) => end != walk.end(),
            // A group that cannot stand there is proof of a log, but not a way on.
            None => torn && walk.has_later_group()?,
        };
        if cut {
            let last = last.or_else(|| nothing(&walk));
            let last = last.unwrap_or_else(|| walk.next_position());
            stretches.push(damage(&walk, last, true));
        }
        Ok(())
    }

    /// Keeps a copy of a file, once, under a name that no file has. The copy is whole and durable
    /// under its name, or not there.
    fn keep(&mut self, name: &str) -> io::Result<()> {
        if self.kept.iter().any(|(kept, _)| kept == name) {
            return Ok(());
        }
        let cold = cold_name(name).unwrap_or_default();
        let names = self.disk.list()?;
        let is_taken = |number| {
            names.contains(&kept_name(name, number)) || names.contains(&kept_name(&cold, number))
        };
        let mut number = 1;
        while is_taken(number) {
            number += 1;
        }
        // Where a compressed log is damaged it reads as zeros; its own bytes may tell more.
        for name in [name, &cold] {
            let file = match self.disk.open(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let copy = kept_name(name, number);
            self.write_whole(&copy, &*file, 0..file.length()?, &[])?;
            self.kept.push((name.to_owned(), copy));
        }
        Ok(())
    }

    /// Writes a file that begins with `head` and goes on with a part of another. It gets its name
    /// when it is durable.
    fn write_whole(
        &self,
        name: &str,
        source: &dyn DiskFile,
        part: Range<u64>,
        head: &[u8],
    ) -> io::Result<()> {
        let new_name = format!("{name}.new");
        match self.disk.remove(&new_name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = self.disk.create(&new_name)?;
        file.write_at(head, 0)?;
        let (mut at, mut to) = (part.start, head.len() as u64);
        while at < part.end {
            let length = (part.end - at).min(COPY_BYTES);
            let length = usize::try_from(length).unwrap_or_default();
            file.write_at(&read_range(source, at, length)?, to)?;
            at += length as u64;
            to += length as u64;
        }
        file.sync_data()?;
        self.disk.rename(&new_name, name)?;
        self.disk.sync_dir()
    }

    /// Puts a file with a whole header and the same log, not compressed, in the place of a segment.
    fn write_again(&mut self, entry: &SegmentEntry) -> io::Result<()> {
        let name = entry.log_name();
        self.keep(&name)?;
        let file = self.disk.open(&name)?;
        let header = entry.header(self.manifest.lineage.store_id).encode();
        let part = header.len() as u64..file.length()?;
        self.write_whole(&name, &*file, part, &header)
    }

    /// Gives up damaged stretches, and nothing else. Only the manifest says so: the files stay as
    /// they are, but that the open segment ends where its damaged end began.
    fn quarantine(&mut self, stretches: &[Damage], end: Option<Position>) -> io::Result<GivenUp> {
        let mut shared_up_to = end;
        for damage in stretches {
            self.keep(&damage.entry.log_name())?;
            if damage.to_the_end && damage.entry.closed.is_none() {
                // Its positions are given out again.
                self.cut_at(damage)?;
                shared_up_to = damage.first.previous();
                continue;
            }
            self.manifest.quarantined.push(damage.range());
            let base = damage.entry.base;
            let mut entries = self.manifest.segments.iter_mut();
            let entry = entries.find(|entry| entry.base == base);
            if let Some(closed) = entry.and_then(|entry| entry.closed.as_mut()) {
                // The index still names the lost events.
                closed.index = None;
            }
        }
        let lost = stretches.iter().map(Damage::range);
        let lost = lost.filter(|(first, last)| first <= last).collect();
        Ok((lost, shared_up_to))
    }

    /// Gives up everything from a place on; the segment with the damage becomes the last.
    fn truncate(&mut self, damage: &Damage, end: Option<Position>) -> io::Result<GivenUp> {
        let base = damage.entry.base;
        let segments = self.manifest.segments.clone();
        for entry in segments.iter().filter(|entry| entry.base >= base) {
            self.keep(&entry.log_name())?;
        }
        self.manifest.segments.retain(|entry| entry.base <= base);
        let quarantined = &mut self.manifest.quarantined;
        quarantined.retain(|(_, last)| *last < damage.first);
        self.cut_at(damage)?;
        let lost = end.filter(|end| damage.first <= *end);
        let lost = lost.map(|end| (damage.first, end));
        Ok((lost.into_iter().collect(), damage.first.previous()))
    }

    /// Makes the log of the last segment end where its damage begins: in a file of its own, so
    /// that the present one stays whole until the manifest names the other.
    fn cut_at(&mut self, damage: &Damage) -> io::Result<()> {
        let file = self.disk.open(&damage.entry.log_name())?;
        let entry = SegmentEntry {
            generation: damage.entry.generation + 1,
            closed: None,
            ..damage.entry
        };
        let header = entry.header(self.manifest.lineage.store_id).encode();
        let part = header.len() as u64..damage.offset;
        self.write_whole(&entry.log_name(), &*file, part, &header)?;
        if let Some(last) = self.manifest.segments.last_mut() {
            *last = entry;
        }
        Ok(())
    }

    /// Stores the manifest under a new lineage. From here on the store is repaired.
    fn begin_lineage(&mut self, shared_up_to: Option<Position>) -> io::Result<()> {
        let lineage = &mut self.manifest.lineage;
        lineage.earlier.push((lineage.current, shared_up_to));
        lineage.current = LineageId(u64::from_le_bytes(random_bytes()));
        self.manifest.clean = None;
        Ok(self.manifest.store(self.disk)?)
    }
}

#[cfg(test)]
mod tests {
    use factum_model::{JsonObject, NewEvent, StreamId};
    use factum_store::{AppendRequest, FindingKind, LogRead};

    use super::*;
    use crate::frame::{FrameError, GroupBuilder};
    use crate::store::{EmbeddedStore, verify_directory};

    fn append(store: &EmbeddedStore) {
        let stream = StreamId::new("form".parse().unwrap(), "f-1".parse().unwrap());
        let payload = JsonObject::parse("{}").unwrap();
        let event = NewEvent::new("form.opened".parse().unwrap(), stream, payload);
        let request = AppendRequest {
            events: vec![event],
            ..AppendRequest::default()
        };
        store.append_blocking(request).unwrap();
    }

    /// A group stands behind the log whose position leaves no room for the events before it. It
    /// was taken for a failure of the disk, and nothing helped against that.
    #[test]
    fn a_group_at_an_impossible_position_is_damage_that_can_be_repaired() {
        for choice in [RepairChoice::Quarantine, RepairChoice::Truncate] {
            let root = tempfile::tempdir().unwrap();
            let options = || Options::at(root.path());
            let store = EmbeddedStore::open(options()).unwrap();
            append(&store);
            append(&store);
            drop(store);
            let disk = OsDisk::open_or_create(root.path()).unwrap();
            let mut manifest = Manifest::load(&disk).unwrap().unwrap().unwrap();
            let (clean, entry) = (manifest.clean.take().unwrap(), manifest.segments[0]);
            manifest.store(&disk).unwrap();
            let impossible = GroupBuilder::new(Position::new(1_000_000).unwrap(), 0);
            let number = clean.end.group + 2;
            let (group, _) = impossible.finish(number, entry.salt, clean.end.chain);
            let file = disk.open(&entry.log_name()).unwrap();
            file.write_at(&group, clean.end.offset + 64).unwrap();

            let report = verify_directory(root.path()).unwrap();
            assert_eq!(report.findings[0].kind, FindingKind::Checksum);
            let refused = EmbeddedStore::open(options()).map(drop);
            let expected = FrameError::Content("position of a group");
            assert!(
                matches!(refused, Err(OpenError::Damaged { error, .. }) if error == expected),
                "{refused:?}"
            );
            let report = repair(root.path(), choice).unwrap();
            assert_eq!((report.lost, report.kept.len()), (Vec::new(), 1));
            let store = EmbeddedStore::open(options()).unwrap();
            append(&store);
            let page = store.read_log_blocking(&LogRead::forwards()).unwrap();
            assert_eq!(page.events.len(), 3);
            drop(store);
            assert_eq!(verify_directory(root.path()).unwrap().findings, []);
        }
    }

    /// Returns where the first seal of the last segment is.
    fn seal(disk: &dyn Disk) -> Option<u64> {
        let manifest = Manifest::load(disk).unwrap().unwrap().unwrap();
        let entry = manifest.segments.last().unwrap();
        let mut walk = Walk::new(disk.open(&entry.log_name()).unwrap(), entry).unwrap();
        loop {
            match walk.step().unwrap() {
                Step::Group(group) if group.header.seal => return Some(group.offset),
                Step::Group(_) => {}
                Step::Corrupt(_) | Step::End | Step::Torn => return None,
            }
        }
    }

    /// A damaged seal takes no events with it, so there was no range to quarantine, and the store
    /// went on refusing to open.
    #[test]
    fn a_damaged_seal_is_quarantined_though_no_event_is_lost() {
        let root = tempfile::tempdir().unwrap();
        let options = || Options {
            seal_delay: std::time::Duration::from_millis(1),
            ..Options::at(root.path())
        };
        let store = EmbeddedStore::open(options()).unwrap();
        append(&store);
        let disk = OsDisk::open_or_create(root.path()).unwrap();
        let offset = loop {
            match seal(&disk) {
                Some(offset) => break offset,
                None => std::thread::yield_now(),
            }
        };
        append(&store);
        drop(store);
        let name = Manifest::load(&disk).unwrap().unwrap().unwrap().segments[0].log_name();
        let file = disk.open(&name).unwrap();
        file.write_at(&[0xff; 4], offset + 20).unwrap();
        let refused = EmbeddedStore::open(options()).map(drop);
        assert!(
            matches!(refused, Err(OpenError::Corrupt { .. })),
            "{refused:?}"
        );
        let report = repair(root.path(), RepairChoice::Quarantine).unwrap();
        assert_eq!(report.lost, []);
        let store = EmbeddedStore::open(options()).unwrap();
        append(&store);
        let page = store.read_log_blocking(&LogRead::forwards()).unwrap();
        assert_eq!(page.events.len(), 3);
        drop(store);
        assert_eq!(verify_directory(root.path()).unwrap().findings, []);
        assert_eq!(
            repair(root.path(), RepairChoice::Quarantine).unwrap().kept,
            Vec::<String>::new()
        );
    }
}
