//! Reads everything that is stored and checks it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use factum_model::{Position, RecordedEvent};
use factum_store::{Finding, FindingKind, VerifyReport};
use hashbrown::HashMap;

use crate::disk::{Disk, DiskFile, read_range};
use crate::frame::FrameError;
use crate::index::build::{IndexIdentity, IndexKind, encode};
use crate::index::{IndexError, SealedIndex, TailIndex};
use crate::indexer::documents_identity;
use crate::manifest::{ClosedSegment, MANIFEST, Manifest, SegmentEntry};
use crate::open::{LogFile, OpenError, open_log};
use crate::segment::{lose, push_group};
use crate::walk::{Corruption, Step, Walk};

/// Checks a directory. `end_of` says up to where a segment is durable, while the store is open.
///
/// # Errors
/// Only when a file cannot be read; damage is a finding.
pub(crate) fn verify(
    disk: &dyn Disk,
    end_of: &dyn Fn(Position) -> Option<u64>,
) -> io::Result<VerifyReport> {
    let mut report = VerifyReport::default();
    match Manifest::load(disk)? {
        None => report
            .findings
            .push(file_finding(MANIFEST, "it is missing")),
        Some(Err(error)) => report.findings.push(Finding {
            kind: FindingKind::Checksum,
            ..file_finding(MANIFEST, &error.to_string())
        }),
        Some(Ok(manifest)) => {
            report.n_files += 1;
            let mut verification = Verification {
                disk,
                manifest: &manifest,
                versions: HashMap::new(),
                lost: manifest.quarantined.clone(),
                report: &mut report,
            };
            for entry in &manifest.segments {
                verification.segment(entry, end_of(entry.base))?;
            }
            let n_streams = verification.versions.len();
            report.n_streams = n_streams as u64;
        }
    }
    Ok(report)
}

fn file_finding(file: &str, detail: &str) -> Finding {
    Finding {
        kind: FindingKind::File,
        file: file.to_owned(),
        offset: None,
        positions: None,
        detail: detail.to_owned(),
    }
}

struct Verification<'a> {
    disk: &'a dyn Disk,
    manifest: &'a Manifest,
    /// The last sequence number of each stream, and the position of the event that has it.
    versions: HashMap<u128, (u64, u64)>,
    /// Positions that are lost, given up or just found to be.
    lost: Vec<(Position, Position)>,
    report: &'a mut VerifyReport,
}

impl Verification<'_> {
    fn segment(&mut self, entry: &SegmentEntry, durable_end: Option<u64>) -> io::Result<()> {
        let name = entry.log_name();
        let Some(file) = self.log_file(entry)? else {
            return Ok(());
        };
        if let Some(damage) = self.disk.damage(&name)? {
            self.report.findings.push(file_finding(&name, &damage));
        }
        self.report.n_files += 1;
        let file_end = file.length()?;
        let end = entry
            .closed
            .map(|closed| closed.end.offset)
            .or(durable_end)
            .unwrap_or(file_end);
        let mut walk = Walk::new(Arc::clone(&file), entry)?.up_to(end);
        let mut tail = TailIndex::default();
        loop {
            match walk.step()? {
                Step::Group(group) => match group.records() {
                    Ok(records) => {
                        self.streams(&name, &records);
                        push_group(&mut tail, &self.manifest.term_key, &records);
                    }
                    Err(error) => {
                        let first = group.header.first;
                        let last = walk.next_position().previous().unwrap_or(first);
                        let damage = (group.offset, (first, last));
                        self.damaged(&name, damage, error);
                        lose(&mut tail, first, walk.next_position());
                    }
                },
                Step::Corrupt(corruption) => {
                    self.corrupt(&name, &corruption);
                    lose(&mut tail, corruption.first, corruption.resume.header.first);
                    walk.resume(&corruption.resume);
                }
                Step::End => break,
                Step::Torn => {
                    self.cut(entry, &walk)?;
                    break;
                }
            }
        }
        self.end(entry, &walk);
        // While the store is open, the writer is at work behind the durable end.
        if durable_end.is_none() {
            self.unused(&*file, &name, end..file_end)?;
        }
        self.report.n_bytes += walk.end().offset;
        if let Some(closed) = &entry.closed {
            // Events that are lost at the end have their places in the index.
            while tail.n_events() < closed.n_events {
                tail.push_lost();
            }
            self.index(entry, closed, &tail)?;
            self.documents(entry, closed)?;
        }
        Ok(())
    }

    /// Opens the log of a segment, if it can be, and reports what is wrong with its header.
    fn log_file(&mut self, entry: &SegmentEntry) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let name = entry.log_name();
        match open_log(self.disk, self.manifest, entry) {
            Ok(LogFile { file, header }) => {
                if let Err(error) = header {
                    let detail = format!("header: {error}; a repair writes it again");
                    self.report.findings.push(Finding {
                        kind: FindingKind::Checksum,
                        offset: Some(0),
                        ..file_finding(&name, &detail)
                    });
                }
                Ok(Some(file))
            }
            Err(OpenError::Io(error)) => Err(error),
            Err(error) => {
                let positions = entry
                    .closed
                    .map(|closed| (entry.base, closed.last(entry.base)));
                self.lost.extend(positions);
                self.report.findings.push(Finding {
                    positions,
                    ..file_finding(&name, &error.to_string())
                });
                Ok(None)
            }
        }
    }

    fn streams(&mut self, file: &str, records: &[(u64, RecordedEvent)]) {
        for (offset, event) in records {
            self.report.n_events += 1;
            let Ok(stream) = event.stream() else { continue };
            let key = self.manifest.term_key.stream_key(&stream);
            let position = event.position.get();
            let actual = event.sequence_number.get();
            let (version, last) = self
                .versions
                .insert(key, (actual, position))
                .unwrap_or_default();
            let expected = version + 1;
            // Only what stood between the two can be missing between them.
            let n_missing = actual.checked_sub(expected);
            if n_missing.is_none_or(|n_missing| n_missing > self.n_lost(last, position)) {
                self.report.findings.push(Finding {
                    kind: FindingKind::Gap,
                    file: file.to_owned(),
                    offset: Some(*offset),
                    positions: Some((event.position, event.position)),
                    detail: format!("stream {stream} goes on with {actual}, expected {expected}"),
                });
            }
        }
    }

    /// Returns how many events are lost between two positions.
    fn n_lost(&self, after: u64, before: u64) -> u64 {
        let between = |(first, last): &(Position, Position)| {
            let (first, end) = (first.get().max(after + 1), (last.get() + 1).min(before));
            end.saturating_sub(first)
        };
        self.lost.iter().map(between).sum()
    }

    fn corrupt(&mut self, file: &str, corruption: &Corruption) {
        let first = corruption.first;
        let last = corruption.resume.header.first.previous().unwrap_or(first);
        if self.manifest.quarantined.contains(&(first, last)) {
            return;
        }
        let damage = (corruption.offset, (first, last.max(first)));
        self.damaged(file, damage, corruption.error);
    }

    fn damaged(
        &mut self,
        file: &str,
        (offset, positions): (u64, (Position, Position)),
        error: FrameError,
    ) {
        self.lost.push(positions);
        self.report.findings.push(Finding {
            kind: FindingKind::Checksum,
            file: file.to_owned(),
            offset: Some(offset),
            positions: Some(positions),
            detail: error.to_string(),
        });
    }

    /// Bytes at the end that are no group: torn where the log may end, else damage.
    fn cut(&mut self, entry: &SegmentEntry, walk: &Walk) -> io::Result<()> {
        let known_end = entry
            .closed
            .map(|closed| closed.end)
            .or_else(|| self.manifest.clean.map(|clean| clean.end));
        if let Some(known_end) = known_end {
            if known_end == walk.end() {
                self.report.findings.push(Finding {
                    offset: Some(known_end.offset),
                    ..file_finding(
                        &entry.log_name(),
                        "bytes behind the end of the log are not zero",
                    )
                });
            }
            return Ok(());
        }
        if walk.has_later_group()? {
            let first = walk.next_position();
            let damage = (walk.end().offset, (first, first));
            self.damaged(
                &entry.log_name(),
                damage,
                FrameError::Content("position of a group"),
            );
            return Ok(());
        }
        self.report.findings.push(Finding {
            kind: FindingKind::TornTail,
            offset: Some(walk.end().offset),
            ..file_finding(
                &entry.log_name(),
                "the last write was torn before it was acknowledged",
            )
        });
        Ok(())
    }

    /// The log of a segment must end where the manifest says.
    fn end(&mut self, entry: &SegmentEntry, walk: &Walk) {
        let known_end = entry
            .closed
            .map(|closed| closed.end)
            .or_else(|| self.manifest.clean.map(|clean| clean.end));
        let Some(known_end) = known_end.filter(|end| *end != walk.end()) else {
            return;
        };
        let first = walk.next_position();
        let last = entry.closed.map_or(first, |closed| closed.last(entry.base));
        if self.manifest.quarantined.contains(&(first, last)) {
            return;
        }
        let positions = (first, last.max(first));
        self.lost.push(positions);
        self.report.findings.push(Finding {
            kind: FindingKind::Checksum,
            file: entry.log_name(),
            offset: Some(walk.end().offset),
            positions: Some(positions),
            detail: format!("the log goes on to byte {}", known_end.offset),
        });
    }

    /// What lies behind the log must be zero.
    fn unused(
        &mut self,
        file: &dyn DiskFile,
        name: &str,
        Range {
            start: mut at,
            end: file_end,
        }: Range<u64>,
    ) -> io::Result<()> {
        if self
            .report
            .findings
            .iter()
            .any(|finding| finding.file == name)
        {
            return Ok(());
        }
        while at < file_end {
            let length = usize::try_from(file_end - at)
                .unwrap_or(usize::MAX)
                .min(1 << 20);
            let bytes = read_range(file, at, length)?;
            if let Some(dirty) = bytes.iter().position(|&byte| byte != 0) {
                self.report.findings.push(Finding {
                    offset: Some(at + dirty as u64),
                    ..file_finding(name, "bytes behind the end of the log are not zero")
                });
                return Ok(());
            }
            at += length as u64;
        }
        Ok(())
    }

    /// The index of the documents, where there is one, must be whole and of these events.
    fn documents(&mut self, entry: &SegmentEntry, closed: &ClosedSegment) -> io::Result<()> {
        let name = entry.documents_name();
        let file = match self.disk.open(&name) {
            // It is made behind the writer, so it may not be there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        self.report.n_files += 1;
        self.report.n_bytes += file.length()?;
        let store_id = self.manifest.lineage.store_id;
        let identity = documents_identity(store_id, entry, closed.n_events, closed.end.chain);
        match SealedIndex::open(file, &identity).and_then(|index| index.verify()) {
            Ok(()) => Ok(()),
            Err(IndexError::Io(error)) => Err(error),
            Err(IndexError::Damaged(damage) | IndexError::Documents(damage)) => {
                let detail =
                    format!("{damage}; it is made again when it is asked, or at the next open");
                self.report.findings.push(Finding {
                    kind: FindingKind::Index,
                    ..file_finding(&name, &detail)
                });
                Ok(())
            }
        }
    }

    /// The index must be the one that the log gives.
    fn index(
        &mut self,
        entry: &SegmentEntry,
        closed: &ClosedSegment,
        tail: &TailIndex,
    ) -> io::Result<()> {
        let Some(generation) = closed.index else {
            return Ok(());
        };
        let name = entry.index_name(generation);
        let file = match self.disk.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.report.findings.push(Finding {
                    kind: FindingKind::Index,
                    ..file_finding(&name, "it is missing, and is rebuilt at the next open")
                });
                return Ok(());
            }
            file => file?,
        };
        self.report.n_files += 1;
        let length = file.length()?;
        self.report.n_bytes += length;
        let identity = IndexIdentity {
            kind: IndexKind::Fields,
            store_id: self.manifest.lineage.store_id,
            base: entry.base,
            generation,
            n_events: closed.n_events,
            log_end: closed.end.offset,
        };
        let expected = encode(&identity, tail)?;
        let actual = read_range(&*file, 0, usize::try_from(length).unwrap_or(usize::MAX))?;
        if actual != expected {
            let same = actual
                .iter()
                .zip(&expected)
                .take_while(|(left, right)| left == right);
            self.report.findings.push(Finding {
                kind: FindingKind::Index,
                offset: Some(same.count() as u64),
                ..file_finding(
                    &name,
                    "it does not say what the log says; it can be rebuilt",
                )
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use factum_model::{EventId, JsonObject, NewEvent, SequenceNumber, StreamId, Timestamp};

    use super::*;
    use crate::disk::OsDisk;
    use crate::frame::{GROUP_HEADER_BYTES, GroupBuilder, RecordFields, decode_record};
    use crate::options::Options;
    use crate::store::EmbeddedStore;

    /// Makes an event of the stream with an id, at a position and with a sequence number.
    fn event(id: &str, position: u64, sequence_number: u64) -> (u64, RecordedEvent) {
        let stream = StreamId::new("form".parse().unwrap(), id.parse().unwrap());
        let event_type = "form.opened".parse().unwrap();
        let event = NewEvent::new(event_type, stream, JsonObject::parse("{}").unwrap());
        let mut builder = GroupBuilder::new(Position::FIRST, 0);
        builder.push(&RecordFields {
            event: &event,
            id: EventId::from_bytes([7; 16]),
            position: Position::new(position).unwrap(),
            sequence_number: SequenceNumber::new(sequence_number).unwrap(),
            recorded_at: Timestamp::from_micros(1).unwrap(),
            inherited_correlation: None,
            last_of_request: true,
        });
        let (bytes, _) = builder.finish(1, 2, 3);
        (position, decode_record(&bytes, GROUP_HEADER_BYTES).unwrap())
    }

    fn manifest(directory: &Path) -> Manifest {
        drop(EmbeddedStore::open(Options::at(directory)).unwrap());
        let disk = OsDisk::open_read_only(directory).unwrap();
        Manifest::load(&disk).unwrap().unwrap().unwrap()
    }

    /// Once anything was given up, a gap in any stream was taken for its consequence.
    #[test]
    fn a_gap_is_excused_only_by_events_that_are_lost_between() {
        let root = tempfile::tempdir().unwrap();
        let (disk, manifest) = (
            OsDisk::open_read_only(root.path()).unwrap(),
            manifest(root.path()),
        );
        let check = |records: &[(u64, RecordedEvent)], n_gaps| {
            let mut report = VerifyReport::default();
            let mut verification = Verification {
                disk: &disk,
                manifest: &manifest,
                versions: HashMap::new(),
                lost: [(4, 5), (9, 9)]
                    .map(|(first, last)| {
                        (Position::new(first).unwrap(), Position::new(last).unwrap())
                    })
                    .to_vec(),
                report: &mut report,
            };
            verification.streams("log", records);
            assert_eq!(report.findings.len(), n_gaps, "{:?}", report.findings);
        };
        check(&[event("a", 1, 1), event("b", 2, 1), event("a", 3, 2)], 0);
        check(&[event("a", 1, 1), event("a", 6, 4)], 0);
        check(&[event("a", 1, 1), event("a", 10, 5)], 0);
        check(&[event("a", 6, 3)], 0);
        // More than can have been lost.
        check(&[event("a", 1, 1), event("a", 6, 5)], 1);
        // Nothing was lost in between.
        check(&[event("a", 6, 3), event("a", 7, 5)], 1);
        check(&[event("a", 6, 1), event("a", 8, 3)], 1);
        check(&[event("a", 1, 2)], 1);
        // Backwards, or twice.
        check(&[event("a", 6, 3), event("a", 10, 3)], 1);
    }
}
