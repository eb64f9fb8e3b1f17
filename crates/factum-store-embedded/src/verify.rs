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
use crate::open::open_log;
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
    /// The last sequence number of each stream.
    versions: HashMap<u128, u64>,
    report: &'a mut VerifyReport,
}

impl Verification<'_> {
    fn segment(&mut self, entry: &SegmentEntry, durable_end: Option<u64>) -> io::Result<()> {
        let name = entry.log_name();
        let file = match open_log(self.disk, self.manifest, entry) {
            Ok(file) => file,
            Err(error) => {
                let last = entry.closed.map(|closed| last_of(entry, &closed));
                self.report.findings.push(Finding {
                    positions: last.map(|last| (entry.base, last)),
                    ..file_finding(&name, &error.to_string())
                });
                return Ok(());
            }
        };
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
                        self.damaged(&name, damage, error, FindingKind::Checksum);
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
                    self.cut(entry, &walk);
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
            self.index(entry, closed, &tail)?;
            self.documents(entry, closed)?;
        }
        Ok(())
    }

    fn streams(&mut self, file: &str, records: &[(u64, RecordedEvent)]) {
        for (offset, event) in records {
            self.report.n_events += 1;
            let Ok(stream) = event.stream() else { continue };
            let key = self.manifest.term_key.stream_key(&stream);
            let version = self.versions.entry(key).or_default();
            let expected = *version + 1;
            let actual = event.sequence_number.get();
            *version = actual;
            let after_loss = self
                .report
                .findings
                .iter()
                .any(|finding| finding.positions.is_some())
                || !self.manifest.quarantined.is_empty();
            if actual != expected && !(after_loss && actual > expected) {
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

    fn corrupt(&mut self, file: &str, corruption: &Corruption) {
        let first = corruption.first;
        let last = corruption.resume.header.first.previous().unwrap_or(first);
        if self.manifest.quarantined.contains(&(first, last)) {
            return;
        }
        let damage = (corruption.offset, (first, last.max(first)));
        self.damaged(file, damage, corruption.error, FindingKind::Checksum);
    }

    fn damaged(
        &mut self,
        file: &str,
        (offset, positions): (u64, (Position, Position)),
        error: FrameError,
        kind: FindingKind,
    ) {
        self.report.findings.push(Finding {
            kind,
            file: file.to_owned(),
            offset: Some(offset),
            positions: Some(positions),
            detail: error.to_string(),
        });
    }

    /// Bytes at the end that are no group: torn where the log may end, else damage.
    fn cut(&mut self, entry: &SegmentEntry, walk: &Walk) {
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
            return;
        }
        self.report.findings.push(Finding {
            kind: FindingKind::TornTail,
            offset: Some(walk.end().offset),
            ..file_finding(
                &entry.log_name(),
                "the last write was torn before it was acknowledged",
            )
        });
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
        let last = entry.closed.map_or(first, |closed| last_of(entry, &closed));
        self.report.findings.push(Finding {
            kind: FindingKind::Checksum,
            file: entry.log_name(),
            offset: Some(walk.end().offset),
            positions: Some((first, last.max(first))),
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

fn last_of(entry: &SegmentEntry, closed: &ClosedSegment) -> Position {
    let last = (entry.base.get() + u64::from(closed.n_events)).saturating_sub(1);
    Position::new(last).unwrap_or(entry.base)
}
