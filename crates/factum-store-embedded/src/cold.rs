//! Compresses the logs of old segments, behind everything else.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::counters::add;
use crate::disk::cold::{ColdDisk, rest};
use crate::indexer::{Doorbell, lower_priority};
use crate::segment::Segment;
use crate::writer::Shared;

/// How often the thread looks whether a segment is old enough.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it waits before it tries again what failed.
const RETRY_DELAY: Duration = Duration::from_secs(30);

/// Starts the thread.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    disk: Arc<ColdDisk>,
    bell: Arc<Doorbell>,
) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("factum-cold".to_owned())
        .spawn(move || {
            lower_priority();
            run(&shared, &disk, &bell);
        })
}

fn run(shared: &Shared, disk: &ColdDisk, bell: &Doorbell) {
    loop {
        let pause = match step(shared, disk, bell) {
            Ok(true) => Duration::ZERO,
            Ok(false) => LOOK_EVERY,
            Err(error) => {
                tracing::error!(%error, "a log cannot be compressed; trying again");
                RETRY_DELAY
            }
        };
        if !bell.rest(pause) {
            return;
        }
    }
}

/// Compresses one log, if there is one that is old enough; returns whether there may be more.
fn step(shared: &Shared, disk: &ColdDisk, bell: &Doorbell) -> io::Result<bool> {
    let Some(n_warm) = shared.options.cold_after_segments else {
        return Ok(false);
    };
    let segments = shared.log.segments();
    // The last one is written; of the others the newest stay as they are.
    let n_old = segments.len().saturating_sub(n_warm.saturating_add(1));
    for segment in segments.iter().take(n_old) {
        if segment.is_cold() || !segment.is_sealed() {
            continue;
        }
        if disk.is_raw(&segment.entry.log_name())? {
            return compress(shared, disk, bell, segment);
        }
        segment.set_cold();
    }
    Ok(false)
}

fn compress(
    shared: &Shared,
    disk: &ColdDisk,
    bell: &Doorbell,
    segment: &Segment,
) -> io::Result<bool> {
    let per_second = shared.options.cold_bytes_per_second;
    let name = segment.entry.log_name();
    let compressed = disk.compress(
        &name,
        |n_bytes| bell.rest(rest(n_bytes, per_second)),
        || shared.alone_with_names(),
    )?;
    let Some(file) = compressed else {
        return Ok(false);
    };
    segment.use_cold(file);
    add(&shared.counters.segments_compressed, 1);
    Ok(true)
}
