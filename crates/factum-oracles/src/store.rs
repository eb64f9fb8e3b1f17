//! The files of the embedded store.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use factum_model::{EventId, JsonObject, NewEvent, Position, RecordedEvent, StreamId};
use factum_store::{
    AppendRequest, EventStore as _, LogRead, Maintenance as _, ReadError, StreamRead, Visibility,
};
use factum_store_embedded::{Disk as _, EmbeddedStore, Options};
use factum_testkit::SimDisk;

/// The files of a store, and what is in it.
struct Original {
    files: BTreeMap<String, Vec<u8>>,
    events: BTreeMap<Position, RecordedEvent>,
}

fn options(disk: &SimDisk, read_only: bool) -> Options {
    Options {
        disk: Some(Arc::new(disk.clone())),
        read_only,
        segment_bytes_max: 4 << 10,
        reserve_bytes: 4 << 10,
        recent_bytes_max: 0,
        // No thread may write while the files are looked at.
        seal_delay: Duration::from_secs(3600),
        ..Options::at("in memory")
    }
}

fn event(number: u64) -> NewEvent {
    let aggregate_id = format!("f-{}", number % 3).parse().unwrap();
    let stream = StreamId::new("form".parse().unwrap(), aggregate_id);
    let payload = JsonObject::parse(format!(r#"{{"number":{number}}}"#)).unwrap();
    let metadata = format!(r#"{{"tags":["t{}"],"userId":"u"}}"#, number % 2);
    NewEvent {
        metadata: JsonObject::parse(metadata).unwrap(),
        correlation_id: number.is_multiple_of(4).then(|| "c".parse().unwrap()),
        ..NewEvent::new("form.changed".parse().unwrap(), stream, payload)
    }
}

/// Makes a store once: as it is after a clean close, or as a process leaves it that is killed.
fn original(clean: bool) -> &'static Original {
    static STORES: [OnceLock<Original>; 2] = [OnceLock::new(), OnceLock::new()];
    STORES[usize::from(clean)].get_or_init(|| {
        let disk = SimDisk::new(1);
        let store = EmbeddedStore::open(options(&disk, false)).unwrap();
        for number in 0..30 {
            let events = (0..=number % 3).map(|part| event(number * 10 + part));
            let request = AppendRequest {
                events: events.collect(),
                ..AppendRequest::default()
            };
            store.append_blocking(request).unwrap();
        }
        let events = wait(read_all(&store));
        let files = |disk: &SimDisk| {
            let names = disk.list().unwrap().into_iter();
            // The index of a closed segment may be given its name just now.
            names
                .filter(|name| name != "LOCK")
                .filter_map(|name| disk.bytes_of(&name).map(|bytes| (name, bytes)))
                .collect()
        };
        let killed = files(&disk);
        drop(store);
        let files = if clean { files(&disk) } else { killed };
        Original { files, events }
    })
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// Reads all that can be read; a damaged range must lead on.
async fn read_all(store: &EmbeddedStore) -> BTreeMap<Position, RecordedEvent> {
    let mut events = BTreeMap::new();
    let (mut after, mut limit) = (None, 1000);
    loop {
        let request = LogRead {
            after,
            limit,
            visibility: Visibility::Everything,
            ..LogRead::forwards()
        };
        match store.read_log(request).await {
            Ok(page) => {
                after = page.scanned_to;
                events.extend(page.events.into_iter().map(|event| (event.position, event)));
                if !page.has_more {
                    return events;
                }
            }
            // A page has to end before the damage, so the way up to it is walked in small steps.
            Err(ReadError::Corrupt { .. }) if limit > 1 => limit = 1,
            Err(ReadError::Corrupt { last, .. }) => {
                assert!(Some(last) > after, "a read stands still at {last}");
                after = Some(last);
            }
            Err(ReadError::Io(_) | ReadError::Unavailable(_) | ReadError::Closed) => return events,
        }
    }
}

/// Bytes of the files are changed, and the checksums made right again if the input says so. The
/// store opens or says why not, every read ends, and as long as the checksums are left alone
/// no event is given out that was not appended.
///
/// # Panics
/// When not.
pub fn store(data: &[u8]) {
    let [how, file, changes @ ..] = data else {
        return;
    };
    let original = original(how & 1 == 0);
    let mut files = original.files.clone();
    let index = usize::from(*file) % files.len();
    let name = files.keys().nth(index).unwrap().clone();
    let bytes = files.get_mut(&name).unwrap();
    for change in changes.chunks_exact(4) {
        let [low, high, kind, value] = *change else {
            return;
        };
        let at = usize::from(u16::from_le_bytes([low, high])) % bytes.len().max(1);
        // A file that was just made may be empty.
        let byte = bytes.get_mut(at);
        match kind % 4 {
            0 | 1 => {
                byte.into_iter().for_each(|byte| *byte ^= value);
            }
            2 => {
                byte.into_iter().for_each(|byte| *byte = value);
            }
            _ if value == 255 => bytes.truncate(at.max(1)),
            _ => bytes.resize(bytes.len() + usize::from(value), value),
        }
    }
    let made_right = how & 2 == 2;
    if made_right {
        if name == "MANIFEST" {
            keep_the_end(bytes, &original.files[&name]);
        }
        checksums::make_right(&name, bytes);
    }
    let trusted = !made_right;
    for read_only in [true, false] {
        let disk = SimDisk::new(2);
        for (name, bytes) in &files {
            let file = disk.create(name).unwrap();
            file.write_at(bytes, 0).unwrap();
        }
        let Ok(store) = EmbeddedStore::open(options(&disk, read_only)) else {
            continue;
        };
        wait(ask(&store, trusted.then_some(&original.events)));
        if !read_only {
            let request = AppendRequest {
                events: vec![event(7)],
                ..AppendRequest::default()
            };
            if let Ok(receipt) = store.append_blocking(request) {
                let id = receipt.events[0].id;
                let found = wait(store.event(id)).unwrap();
                assert_eq!(found.map(|event| event.id), Some(id));
            }
        }
    }
}

/// Puts the end of the log back as it was. No damage makes it another one under a right checksum,
/// and a reader walks up to it position by position, however far that is.
fn keep_the_end(bytes: &mut [u8], original: &[u8]) {
    let n_bytes = 32.min(original.len());
    if bytes.len() == original.len() {
        let at = bytes.len() - n_bytes;
        bytes[at..].copy_from_slice(&original[at..]);
    }
}

async fn ask(store: &EmbeddedStore, expected: Option<&BTreeMap<Position, RecordedEvent>>) {
    let events = read_all(store).await;
    if let Some(expected) = expected {
        for (position, event) in &events {
            assert_eq!(Some(event), expected.get(position));
        }
    }
    for number in 0..3 {
        let stream = event(number).stream;
        if let Ok(page) = store
            .read_stream(StreamRead::forwards(stream.clone()))
            .await
            && let Some(expected) = expected
        {
            for event in &page.events {
                assert_eq!(Some(event), expected.get(&event.position));
            }
        }
        drop(store.stream_info(stream).await);
    }
    drop(store.event(EventId::from_bytes([9; 16])).await);
    let filter = factum_query::Filter {
        tags: vec!["t1".to_owned()],
        event_types: vec!["form.>".parse().unwrap()],
        ..factum_query::Filter::default()
    };
    let backwards = LogRead {
        filter,
        ..LogRead::backwards()
    };
    drop(store.read_log(backwards).await);
    drop(store.verify().await);
}

/// Written after `docs/format/embedded.md`, not after the code of the store.
mod checksums {
    use crc_fast::{CrcAlgorithm, checksum};

    fn crc(bytes: &[u8]) -> [u8; 4] {
        let sum = checksum(CrcAlgorithm::Crc32Iscsi, bytes);
        u32::try_from(sum).unwrap().to_le_bytes()
    }

    /// Puts the checksum of one range at a place, where both are inside.
    fn put(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize) {
        if let Some(sum) = bytes.get(range).map(crc)
            && let Some(place) = bytes.get_mut(at..at + 4)
        {
            place.copy_from_slice(&sum);
        }
    }

    fn number(bytes: &[u8], at: usize) -> Option<usize> {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().unwrap()) as usize)
    }

    pub(super) fn make_right(name: &str, bytes: &mut [u8]) {
        if name == "MANIFEST" {
            let length = bytes.len();
            let body = u32::try_from(length.saturating_sub(16)).unwrap();
            if let Some(place) = bytes.get_mut(8..12) {
                place.copy_from_slice(&body.to_le_bytes());
            }
            put(bytes, 16..length, 12);
        } else if name.ends_with(".log") {
            segment(bytes);
        } else {
            index(bytes);
        }
    }

    /// The header, then group by group the records, the body and the header, chained.
    fn segment(bytes: &mut [u8]) {
        put(bytes, 0..60, 60);
        let mut at = 64;
        let base: Option<[u8; 8]> = bytes.get(32..40).and_then(|base| base.try_into().ok());
        let mut position = base.map_or(1, u64::from_le_bytes);
        let mut chain: Option<[u8; 8]> = None;
        while let Some(length) = number(bytes, at + 28)
            && let Some(n_records) = number(bytes, at + 24)
            && at + 64 + length <= bytes.len()
            && bytes[at..at + 64] != [0; 64]
        {
            let mut record = at + 64;
            for _ in 0..n_records {
                match number(bytes, record + 4) {
                    Some(length) if record + length <= bytes.len() && length >= 88 => {
                        put(bytes, record + 4..record + length, record);
                        record += length.next_multiple_of(8);
                    }
                    Some(_) | None => break,
                }
            }
            put(bytes, at + 64..at + 64 + length, at + 40);
            bytes[at + 16..at + 24].copy_from_slice(&position.to_le_bytes());
            position = position.saturating_add(n_records as u64);
            if let Some(chain) = chain {
                bytes[at + 48..at + 56].copy_from_slice(&chain);
            }
            put(bytes, at..at + 60, at + 60);
            let mut next = [0; 8];
            next[..4].copy_from_slice(&bytes[at + 40..at + 44]);
            next[4..].copy_from_slice(&bytes[at + 60..at + 64]);
            chain = Some(next);
            at += 64 + length;
        }
    }

    /// The header, the blocks, their table, the footer.
    fn index(bytes: &mut [u8]) {
        put(bytes, 0..60, 60);
        let Some(footer) = bytes.len().checked_sub(144) else {
            return;
        };
        if let Some(checks) = number(bytes, footer + 112)
            && checks <= footer
        {
            let mut at = checks;
            for block in (0..checks).step_by(4096) {
                put(bytes, block..checks.min(block + 4096), at);
                at += 4;
            }
            put(bytes, checks..footer, footer + 128);
        }
        put(bytes, footer..footer + 132, footer + 132);
    }
}
