//! Processes that end with whoever started them, and directories that go with them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Certificate;

/// What the names of directories begin with, before the number of a process.
const OWN: &str = "factum-server-";
/// How long a server may take to start, in tenths of a second.
const START_PATIENCE: u32 = 900;

/// Returns a port of this machine that nobody uses. It is free until somebody else takes it,
/// which nobody does in a moment.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        remove_leftovers();
        let path = std::env::temp_dir().join(format!("{OWN}{}-{number}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that only its owner can read, and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Writes a certificate and its key, and returns the paths of both.
    pub(super) fn write_certificate(&self, tls: Certificate<'_>) -> (PathBuf, PathBuf) {
        (
            self.write("server.crt", tls.certificate),
            self.write("server.key", tls.key),
        )
    }

    pub(super) fn log(&self) -> File {
        let options = File::options().create(true).append(true).to_owned();
        options.open(self.0.join("log")).unwrap()
    }

    pub(super) fn logged(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Removes what processes left behind that were killed.
fn remove_leftovers() {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(OWN));
        let process = rest.and_then(|rest| rest.split('-').next());
        let is_left = process.is_some_and(|id| !Path::new("/proc").join(id).exists());
        if is_left {
            // Another process may be at it too.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// A process that is killed when this is dropped, or when the thread's process ends.
#[derive(Debug)]
pub(super) struct Process(Option<Child>);

impl Process {
    /// Starts a program; what it says goes to the log of a directory.
    pub(super) fn start(mut command: Command, directory: &Directory) -> Self {
        let command = command
            .stdin(Stdio::null())
            .stdout(directory.log())
            .stderr(directory.log());
        Self(Some(command.spawn().unwrap()))
    }

    /// Stands where a process will be.
    pub(super) const fn idle() -> Self {
        Self(None)
    }

    /// Kills the process, as a crash does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a program that ends with this process.
#[expect(clippy::disallowed_methods, reason = "tests start processes")]
pub(super) fn command(program: &str, package: &str) -> Command {
    let places = [
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/usr/lib/rabbitmq/bin",
    ];
    let path = if program.contains('/') {
        PathBuf::from(program)
    } else {
        let mut paths = places.iter().map(|place| Path::new(place).join(program));
        let found = paths.find(|path| path.exists());
        found.unwrap_or_else(|| {
            panic!("{program} is not installed, and this test needs it (Debian: {package})")
        })
    };
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(path);
    command
}

/// Waits until something is there.
#[expect(
    clippy::disallowed_methods,
    reason = "a process that starts says nothing when it is ready"
)]
pub(super) fn wait_until(directory: &Directory, what: &str, mut is_there: impl FnMut() -> bool) {
    for _ in 0..START_PATIENCE {
        if is_there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} does not start: {}", directory.logged());
}

/// Tells whether somebody listens on a port of this machine.
pub(super) fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}
