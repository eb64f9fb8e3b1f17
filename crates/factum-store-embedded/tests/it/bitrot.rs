//! Single bits that flip on disk, in a store of real events: each is found and located, none is
//! served as data, and nothing that was acknowledged is cut off without a word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use factum_model::{ErrorCode, JsonObject, NewEvent, Position, RecordedEvent, StreamId};
use factum_query::Filter;
use factum_store::{
    AppendRequest, EventStore as _, LogRead, ReadError, StreamRead, VerifyReport, Visibility,
};
use factum_store_embedded::{EmbeddedStore, Options, verify_directory};
use factum_testkit::Random;

/// How many flips, in CI and with `FACTUM_SLOW_TESTS=1`.
const FLIPS: (usize, usize) = (200, 2000);

fn options(directory: &Path) -> Options {
    Options {
        segment_bytes_max: 64 << 10,
        reserve_bytes: 16 << 10,
        recent_bytes_max: 0,
        ..Options::at(directory)
    }
}

/// What was acknowledged, and the files of the store that did.
struct Original {
    events: BTreeMap<Position, RecordedEvent>,
    files: Vec<(String, Vec<u8>)>,
}

/// Reads the sample of real events.
fn sample() -> Vec<NewEvent> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../factum/tests/data/sample.jsonl.gz"
    );
    let mut text = String::new();
    let packed = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    std::io::Read::read_to_string(&mut { packed }, &mut text).unwrap();
    let event = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap();
        let stream = StreamId::new(
            text("aggregateType").parse().unwrap(),
            text("aggregateId").parse().unwrap(),
        );
        let payload = JsonObject::parse(value["payload"].to_string()).unwrap();
        let mut event = NewEvent::new(text("type").parse().unwrap(), stream, payload);
        event.metadata = JsonObject::parse(value["metadata"].to_string()).unwrap();
        event
    };
    text.lines().map(event).collect()
}

/// Makes a store and copies its files: after a clean close, or from under it as a crash would
/// leave them.
async fn original(clean: bool) -> Original {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(root.path())).unwrap();
    for events in sample().chunks(3) {
        let request = AppendRequest {
            events: events.to_vec(),
            ..Default::default()
        };
        store.append(request).await.unwrap();
    }
    let (events, lost) = read_around(&store).await;
    assert_eq!(lost, []);
    if clean {
        store.close().await;
    } else {
        wait_for_seal(root.path());
    }
    let files: Vec<_> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("LOCK"))
        .map(|path| (name_of(&path), std::fs::read(&path).unwrap()))
        .collect();
    assert!(files.len() > 10, "several segments and their indexes");
    drop(store);
    Original { events, files }
}

/// Waits until the store has sealed its end and written every index: the manifest and the files
/// do not change any more.
#[expect(
    clippy::disallowed_methods,
    reason = "what another thread writes to disk is seen by looking again"
)]
fn wait_for_seal(root: &Path) {
    let look = || {
        let mut files: Vec<_> = std::fs::read_dir(root)
            .unwrap()
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let bytes = std::fs::read(&path).ok()?;
                Some((path, bytes))
            })
            .collect();
        files.sort();
        files
    };
    let mut before = look();
    let mut n_equal = 0;
    while n_equal < 3 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = look();
        n_equal = if now == before { n_equal + 1 } else { 0 };
        before = now;
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Reads the whole log, around damage: what is there, and what is said to be lost.
async fn read_around(
    store: &EmbeddedStore,
) -> (BTreeMap<Position, RecordedEvent>, Vec<(Position, Position)>) {
    let mut events = BTreeMap::new();
    let mut lost = store.health().damaged;
    let (mut after, mut until) = (None, None);
    loop {
        let request = LogRead {
            after,
            until,
            visibility: Visibility::Everything,
            ..LogRead::forwards()
        };
        match store.read_log(request).await {
            Ok(page) => {
                after = page.scanned_to;
                events.extend(page.events.into_iter().map(|event| (event.position, event)));
                match (page.has_more, until.take()) {
                    (true, still) => until = still,
                    // What stands before the damage was read; go on behind it.
                    (false, Some(_)) => after = lost.last().map(|(_, last)| *last),
                    (false, None) => return (events, lost),
                }
            }
            Err(ReadError::Corrupt { first, last, .. }) => {
                assert!(Some(last) > after, "reading goes on behind the damage");
                lost.push((first, last));
                match first.previous() {
                    Some(before) if Some(before) > after => until = Some(before),
                    Some(_) | None => after = Some(last),
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// One flip: where it is, and a directory that has it.
struct Flip<'a> {
    original: &'a Original,
    file: &'a str,
    offset: usize,
    bit: u8,
    directory: PathBuf,
}

impl Flip<'_> {
    fn place(&self) -> String {
        format!("bit {} of byte {} of {}", self.bit, self.offset, self.file)
    }

    /// Writes the files, with the flip.
    fn write(&self) {
        std::fs::create_dir(&self.directory).unwrap();
        for (name, bytes) in &self.original.files {
            let mut bytes = bytes.clone();
            if name == self.file {
                bytes[self.offset] ^= 1 << self.bit;
            }
            std::fs::write(self.directory.join(name), bytes).unwrap();
        }
    }

    /// The verification names the file, and for the log a place at or before the flip.
    fn is_found(&self, report: &VerifyReport) {
        let found = report.findings.iter().any(|finding| {
            finding.file == self.file
                && finding
                    .offset
                    .is_none_or(|offset| offset <= self.offset as u64)
        });
        assert!(found, "{}: {:?}", self.place(), report.findings);
    }

    /// Every answer is right or an error.
    async fn is_never_served(&self, store: &EmbeddedStore, random: &mut Random) {
        let (events, lost) = read_around(store).await;
        for (position, event) in &self.original.events {
            match events.get(position) {
                Some(read) => assert_eq!(read, event, "{}", self.place()),
                None => assert!(
                    lost.iter()
                        .any(|(first, last)| first <= position && position <= last),
                    "{}: position {position} is missing without a word",
                    self.place()
                ),
            }
        }
        assert!(events.len() <= self.original.events.len());
        let all: Vec<_> = self.original.events.values().collect();
        let event = *random.pick(&all);
        let stream = event.stream().unwrap();
        let of_stream = |event: &&RecordedEvent| event.stream().unwrap() == stream;
        let expected: Vec<_> = all.iter().copied().filter(of_stream).cloned().collect();
        match store
            .read_stream(StreamRead::forwards(stream.clone()))
            .await
        {
            Ok(page) => assert_eq!(page.events, expected, "{}", self.place()),
            Err(error) => assert_eq!(error.code(), ErrorCode::Corrupt, "{}", self.place()),
        }
        match store.event(event.id).await {
            Ok(found) => assert_eq!(found.as_ref(), Some(event), "{}", self.place()),
            Err(error) => assert_eq!(error.code(), ErrorCode::Corrupt, "{}", self.place()),
        }
        let by_type = LogRead {
            filter: Filter {
                event_types: vec![event.event_type().parse().unwrap()],
                ..Filter::default()
            },
            ..LogRead::forwards()
        };
        let of_type = |other: &&RecordedEvent| other.event_type() == event.event_type();
        let expected: Vec<_> = all.iter().copied().filter(of_type).cloned().collect();
        match store.read_log(by_type).await {
            Ok(page) => assert_eq!(page.events, expected, "{}", self.place()),
            Err(error) => assert_eq!(error.code(), ErrorCode::Corrupt, "{}", self.place()),
        }
    }
}

/// Flips bits, one at a time, and counts what became of opening for writing.
async fn flips(clean: bool, n_flips: usize, seed: u64) {
    let original = original(clean).await;
    let root = tempfile::tempdir().unwrap();
    let mut random = Random::seeded(seed);
    let n_bytes: usize = original.files.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut refused = 0;
    for number in 0..n_flips {
        // Files by size, so that every bit of the store is as likely as any other.
        let mut offset = random.index(n_bytes);
        let mut files = original.files.iter();
        let file = loop {
            let (name, bytes) = files.next().unwrap();
            if offset < bytes.len() {
                break name;
            }
            offset -= bytes.len();
        };
        let flip = Flip {
            original: &original,
            file,
            offset,
            bit: u8::try_from(random.below(8)).unwrap(),
            directory: root.path().join(number.to_string()),
        };
        flip.write();
        flip.is_found(&verify_directory(&flip.directory).unwrap());
        let read_only = Options {
            read_only: true,
            ..options(&flip.directory)
        };
        match EmbeddedStore::open(read_only) {
            Ok(store) => flip.is_never_served(&store, &mut random).await,
            Err(error) => assert_eq!(error.code(), ErrorCode::Corrupt, "{}", flip.place()),
        }
        match EmbeddedStore::open(options(&flip.directory)) {
            Ok(store) => flip.is_never_served(&store, &mut random).await,
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Corrupt, "{}", flip.place());
                refused += 1;
            }
        }
        std::fs::remove_dir_all(&flip.directory).unwrap();
    }
    println!("{n_flips} flips, clean close {clean}: {refused} stores refused to open for writing");
}

fn n_flips() -> usize {
    let slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some_and(|value| value == "1");
    (if slow { FLIPS.1 } else { FLIPS.0 }) / 2
}

#[tokio::test]
async fn every_flipped_bit_of_a_closed_store_is_found_and_none_is_served() {
    flips(true, n_flips(), 1).await;
}

#[tokio::test]
async fn every_flipped_bit_of_a_store_that_was_killed_is_found_and_none_is_served() {
    flips(false, n_flips(), 2).await;
}
