//! Files that the manifest does not name: what a crash or a repair left over, and what must not be
//! there. A file is removed only if nothing in it can be the only copy of an event.

use std::io;

use crate::disk::{Disk, DiskFile, read_range};
use crate::frame::{FrameError, SEGMENT_HEADER_BYTES};
use crate::manifest::{Manifest, SegmentEntry};
use crate::open::OpenError;

/// How much is read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// The ends of the names of files that can be made again, or are not whole yet.
const DERIVED: [&str; 6] = [
    ".idx",
    ".idx.new",
    ".doc",
    ".doc.new",
    ".log.new",
    ".damaged.new",
];

/// Tells whether a file is the log of a segment.
pub(crate) fn is_log(name: &str) -> bool {
    name.starts_with("seg-") && name.ends_with(".log")
}

fn is_derived(name: &str) -> bool {
    name.starts_with("seg-") && DERIVED.iter().any(|end| name.ends_with(end))
}

/// Returns the name under which a repair keeps a copy of a file.
pub(crate) fn kept_name(name: &str, number: u32) -> String {
    format!("{name}.{number}.damaged")
}

/// Looks at the files that the manifest does not name, and unless it is for reading only removes
/// them.
pub(crate) fn check_leftovers(
    disk: &dyn Disk,
    manifest: &Manifest,
    read_only: bool,
) -> Result<(), OpenError> {
    let mut named: Vec<String> = Vec::new();
    for entry in &manifest.segments {
        named.push(entry.log_name());
        if entry.closed.is_some() {
            named.push(entry.documents_name());
        }
        let index = entry.closed.and_then(|closed| closed.index);
        named.extend(index.map(|generation| entry.index_name(generation)));
    }
    let names = disk.list()?;
    for name in &names {
        if named.contains(name) || !(is_log(name) || is_derived(name)) {
            continue;
        }
        if is_log(name)
            && has_content(disk, name)?
            && !is_kept(disk, name, &names)?
            && !is_replacement(disk, manifest, name)?
        {
            let error = FrameError::Content("entry: the manifest does not name this segment");
            let file = name.clone();
            return Err(OpenError::Damaged { file, error });
        }
        if !read_only {
            tracing::info!(file = %name, "removing a file that a crash or a repair left over");
            disk.remove(name)?;
        }
    }
    Ok(())
}

/// Tells whether a log that nobody names may have events in it: whether there is anything but
/// zeros behind its header. The header itself does not matter, for it may be damaged.
pub(crate) fn has_content(disk: &dyn Disk, name: &str) -> io::Result<bool> {
    let file = disk.open(name)?;
    let end = file.length()?;
    let mut at = SEGMENT_HEADER_BYTES as u64;
    while at < end {
        let bytes = chunk(&*file, at, end)?;
        if bytes.iter().any(|&byte| byte != 0) {
            return Ok(true);
        }
        at += bytes.len() as u64;
    }
    Ok(false)
}

/// Tells whether a repair has kept a copy of a log: it has replaced it, and was interrupted before
/// it could remove it.
fn is_kept(disk: &dyn Disk, name: &str, names: &[String]) -> io::Result<bool> {
    let start = format!("{name}.");
    let is_copy = |other: &&String| other.starts_with(&start) && other.ends_with(".damaged");
    let file = disk.open(name)?;
    for copy in names.iter().filter(is_copy) {
        let copy = disk.open(copy)?;
        if copy.length()? == file.length()? && starts_like(&*copy, &*file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells whether a log is the beginning of a segment that the manifest names, in a later
/// generation: a repair has made it, and was interrupted before the manifest named it.
fn is_replacement(disk: &dyn Disk, manifest: &Manifest, name: &str) -> io::Result<bool> {
    let replaces = |entry: &&SegmentEntry| {
        let base = format!("seg-{:020}.", entry.base.get());
        let rest = name.strip_prefix(&base);
        let generation = rest.and_then(|rest| rest.strip_suffix(".log")?.parse::<u32>().ok());
        generation.is_some_and(|generation| generation > entry.generation)
    };
    let Some(entry) = manifest.segments.iter().find(replaces) else {
        return Ok(false);
    };
    starts_like(&*disk.open(&entry.log_name())?, &*disk.open(name)?)
}

/// Tells whether the events of the second log are those that the first one begins with.
fn starts_like(whole: &dyn DiskFile, part: &dyn DiskFile) -> io::Result<bool> {
    let (whole_end, end) = (whole.length()?, part.length()?);
    if whole_end < end {
        return Ok(false);
    }
    let mut at = SEGMENT_HEADER_BYTES as u64;
    while at < end {
        let bytes = chunk(part, at, end)?;
        if bytes != read_range(whole, at, bytes.len())? {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}

fn chunk(file: &dyn DiskFile, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = (end - at).min(CHUNK_BYTES);
    read_range(file, at, usize::try_from(length).unwrap_or_default())
}
