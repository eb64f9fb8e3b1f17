//! A disk of the operating system with a say before each change.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum_model::{JsonObject, NewEvent, StreamId};
use factum_store::{AppendRequest, LogRead};
use factum_store_embedded::{Disk, DiskFile, EmbeddedStore, LockError, LockGuard, Options, OsDisk};

/// What is about to be done, and to which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Create(&'a str),
    RenameTo(&'a str),
    SyncDir,
    SyncData(&'a str),
}

type Hook = Box<dyn FnMut(Change<'_>) -> io::Result<()> + Send>;

/// What is asked before each change; an error stands for the failure of the change.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Arc<Mutex<Option<Hook>>>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks(..)")
    }
}

impl Hooks {
    pub(crate) fn set(&self, hook: impl FnMut(Change<'_>) -> io::Result<()> + Send + 'static) {
        *self.lock() = Some(Box::new(hook));
    }

    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hook>> {
        // A hook may panic, and others still have work to do then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, change: Change<'_>) -> io::Result<()> {
        let mut hook = self.lock();
        let Some(ask) = hook.as_mut() else {
            return Ok(());
        };
        ask(change)
    }
}

#[derive(Debug)]
struct HookedDisk {
    inner: OsDisk,
    hooks: Hooks,
}

#[derive(Debug)]
struct HookedFile {
    inner: Arc<dyn DiskFile>,
    name: String,
    hooks: Hooks,
}

impl HookedDisk {
    fn file(&self, name: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let (name, hooks) = (name.to_owned(), self.hooks.clone());
        Arc::new(HookedFile { inner, name, hooks })
    }
}

impl Disk for HookedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.hooks.ask(Change::Create(name))?;
        Ok(self.file(name, self.inner.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.inner.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.hooks.ask(Change::RenameTo(to))?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.hooks.ask(Change::SyncDir)?;
        self.inner.sync_dir()
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn LockGuard>, LockError> {
        self.inner.lock(name, holder)
    }
}

impl DiskFile for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.hooks.ask(Change::SyncData(&self.name))?;
        self.inner.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inner.reserve(offset, length)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inner.zero(offset, length)
    }
}

/// Returns options for a hooked directory with small segments.
pub(crate) fn hooked(path: &Path) -> (Options, Hooks) {
    let hooks = Hooks::default();
    let disk = HookedDisk {
        inner: OsDisk::open_or_create(path).unwrap(),
        hooks: hooks.clone(),
    };
    let options = Options {
        disk: Some(Arc::new(disk)),
        full_retry_delay: Duration::from_millis(1),
        index_documents: false,
        ..small(path)
    };
    (options, hooks)
}

/// Returns options under which a segment has few events.
pub(crate) fn small(path: &Path) -> Options {
    Options {
        segment_bytes_max: 8 << 10,
        reserve_bytes: 4 << 10,
        recent_bytes_max: 0,
        ..Options::at(path)
    }
}

/// Returns options under which all events of a test are in one segment.
pub(crate) fn large(path: &Path) -> Options {
    Options {
        segment_bytes_max: 1 << 20,
        ..small(path)
    }
}

pub(crate) fn stream() -> StreamId {
    StreamId::new("form".parse().unwrap(), "f-1".parse().unwrap())
}

/// Makes a request of one event of at least so many bytes.
pub(crate) fn request(bytes: usize) -> AppendRequest {
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    let payload = JsonObject::parse(payload).unwrap();
    let event = NewEvent::new("form.changed".parse().unwrap(), stream(), payload);
    AppendRequest {
        events: vec![event],
        ..Default::default()
    }
}

/// Appends events of a thousand bytes, one by one.
pub(crate) fn append(store: &EmbeddedStore, n_events: usize) {
    for _ in 0..n_events {
        store.append_blocking(request(1000)).unwrap();
    }
}

/// Returns the positions of all events.
pub(crate) fn positions(store: &EmbeddedStore) -> Vec<u64> {
    let read = LogRead {
        limit: 100_000,
        ..LogRead::forwards()
    };
    let page = store.read_log_blocking(&read).unwrap();
    let positions = page.events.iter().map(|event| event.position.get());
    positions.collect()
}

/// Flips a bit of a file.
pub(crate) fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Copies the files of a directory, as a process that is killed leaves them.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(future)
}
