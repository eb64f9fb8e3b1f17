//! Servers: the one that all tests share, and those of a test that breaks them.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::SUPERUSER;
use super::programs::{Programs, is_root};

/// What the names of directories of private servers begin with, before the number of a process.
const OWN: &str = "factum-postgres-own-";
/// The port of which sockets have the number in their names.
const PORT: u16 = 5432;
/// How long the server may take to start, in tenths of a second.
const START_PATIENCE: u32 = 1200;

/// Stops the server and removes everything once nobody has used it for half a minute.
const WATCHDOG: &str = r#"
directory=$1; postgres=$2; shift 2
setpriv --pdeathsig QUIT "$postgres" -D "$directory/data" -k "$directory" "$@" &
server=$!
exec 9<>"$directory/users"
idle=0
while kill -0 $server 2>/dev/null; do
  sleep 1
  if flock -n -x 9; then
    idle=$((idle + 1))
    if [ $idle -ge 30 ]; then break; fi
    flock -u 9
  else
    idle=0
  fi
done
kill -QUIT $server 2>/dev/null
wait $server
rm -rf "$directory"
"#;

const SHARED_SETTINGS: &[&str] = &[
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=on",
    "max_connections=300",
    "shared_buffers=64MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "TimeZone=UTC",
];

/// Returns the directory of the shared server's socket. The server runs as long as this process.
pub(super) fn shared(programs: &Programs) -> PathBuf {
    static USED: Mutex<Option<File>> = Mutex::new(None);
    let mut used = USED.lock().unwrap();
    let directory = shared_directory();
    if used.is_none() {
        *used = Some(use_or_start(programs, &directory));
    }
    directory
}

fn workspace() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).unwrap()
}

fn shared_directory() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (workspace(), is_root()).hash(&mut hasher);
    // The path of a socket may have about a hundred characters.
    std::env::temp_dir().join(format!("factum-postgres-{:016x}", hasher.finish()))
}

/// Returns the file whose shared lock keeps the server running.
fn use_or_start(programs: &Programs, directory: &Path) -> File {
    let target = workspace().join("target");
    fs::create_dir_all(&target).unwrap();
    let turn = File::create(target.join("test-postgres.lock")).unwrap();
    turn.lock().unwrap();
    let users = directory.join("users");
    if directory.join("ready").exists()
        && let Ok(file) = File::open(&users)
    {
        file.lock_shared().unwrap();
        // The watchdog may have removed the directory while this waited for the lock.
        let is_there =
            fs::metadata(&users).is_ok_and(|there| there.ino() == file.metadata().unwrap().ino());
        if is_there && is_ready(programs, directory, PORT) {
            return file;
        }
    }
    // What is there belongs to a server that did not come to its end, such as at a power failure.
    if directory.exists() {
        fs::remove_dir_all(directory).unwrap();
    }
    programs.make_directory(directory);
    let file = File::create(&users).unwrap();
    programs.give(&users);
    file.lock_shared().unwrap();
    initialise(programs, directory);
    start_shared(programs, directory);
    File::create(directory.join("ready")).unwrap();
    file
}

fn start_shared(programs: &Programs, directory: &Path) {
    // In a session of its own, so that what ends the tests does not end the server of others.
    let mut watchdog = programs.owned(Path::new("sh"), &["setsid"]);
    watchdog
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(directory)
        .arg(programs.path("postgres"));
    for setting in SHARED_SETTINGS {
        watchdog.args(["-c", setting]);
    }
    let watchdog = watchdog
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(directory))
        .spawn();
    drop(watchdog.unwrap());
    wait_until_ready(programs, directory, PORT);
}

fn initialise(programs: &Programs, directory: &Path) {
    let mut initdb = programs.owned(&programs.path("initdb"), &[]);
    initdb
        .args(["-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync"])
        .args(["-U", SUPERUSER, "-D"])
        .arg(directory.join("data"))
        .stdin(Stdio::null());
    let output = initdb.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb failed: {said}");
}

fn log(directory: &Path) -> File {
    let options = File::options().create(true).append(true).to_owned();
    options.open(directory.join("log")).unwrap()
}

fn is_ready(programs: &Programs, directory: &Path, port: u16) -> bool {
    let mut ask = programs.command("pg_isready");
    ask.args(["-q", "-t", "10", "-p", &port.to_string(), "-h"]);
    ask.arg(directory);
    ask.status().unwrap().success()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a process that starts says nothing when it is ready"
)]
fn wait_until_ready(programs: &Programs, directory: &Path, port: u16) {
    for _ in 0..START_PATIENCE {
        if is_ready(programs, directory, port) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = fs::read_to_string(directory.join("log")).unwrap_or_default();
    panic!("PostgreSQL does not start: {said}");
}

/// Removes what private servers left behind whose processes were killed. The servers themselves
/// ended with those.
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

/// Returns a URL for a socket, a role and a database.
pub(super) fn url(sockets: &Path, role: &str, database: &str) -> String {
    let host = sockets.to_string_lossy().replace('/', "%2F");
    format!("postgresql://{role}@{host}/{database}")
}

/// Runs statements with psql, as a role in a database.
pub(super) fn psql(
    programs: &Programs,
    sockets: &Path,
    (role, database): (&str, &str),
    sql: &str,
) -> Result<String, String> {
    let mut psql = programs.command("psql");
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", role, "-d", database])
        .args(["-c", sql, "-h"])
        .arg(sockets)
        .env("PGCONNECT_TIMEOUT", "60")
        .env("PGOPTIONS", "-c client_min_messages=warning")
        .stdin(Stdio::null());
    let output = psql.output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A server of one test, which may stop and start it. It syncs, and is gone when this is dropped.
#[derive(Debug)]
pub struct PrivateServer {
    programs: Programs,
    directory: PathBuf,
    settings: Vec<String>,
    server: Option<Child>,
}

impl PrivateServer {
    /// Makes a server and starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let mut this = Self::make();
        this.settings.push("listen_addresses=".to_owned());
        this.resume();
        this
    }

    /// Makes a server that speaks TLS on a free port of this machine, with a certificate and its
    /// key as PEM, and starts it. Returns the port too.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start_with_tls(certificate: &str, key: &str) -> (Self, u16) {
        let mut this = Self::make();
        let data = this.directory.join("data");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            // The server uses no key that others can read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            this.programs.give(&path);
        }
        // The port is free until somebody else takes it, which nobody does in a moment.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let settings = ["listen_addresses=127.0.0.1", "ssl=on"].map(str::to_owned);
        this.settings.extend(settings);
        this.settings.push(format!("port={port}"));
        this.resume_at(port);
        (this, port)
    }

    /// Makes a copy of this server that follows it, and starts it.
    ///
    /// # Panics
    /// When the copy cannot be made, or does not start.
    #[must_use]
    pub fn start_standby(&self) -> Self {
        let mut standby = Self::empty();
        let mut copy = self
            .programs
            .owned(&self.programs.path("pg_basebackup"), &[]);
        copy.args([
            "-U", SUPERUSER, "-c", "fast", "-X", "stream", "-R", "-N", "-h",
        ])
        .arg(&self.directory)
        .arg("-D")
        .arg(standby.directory.join("data"))
        .stdin(Stdio::null());
        let output = copy.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup failed: {said}");
        standby.settings.push("listen_addresses=".to_owned());
        standby.resume();
        standby
    }

    /// Makes a standby take writes.
    ///
    /// # Panics
    /// When it does not.
    pub fn promote(&self) {
        let mut promote = self.programs.owned(&self.programs.path("pg_ctl"), &[]);
        promote
            .args(["promote", "-s", "-w", "-t", "60", "-D"])
            .arg(self.directory.join("data"));
        assert!(promote.status().unwrap().success());
    }

    /// Returns the URL that connects to whichever of two servers takes writes.
    #[must_use]
    pub fn url_with(&self, other: &Self) -> String {
        let host = |server: &Self| server.directory.to_string_lossy().replace('/', "%2F");
        let (first, second) = (host(self), host(other));
        format!("postgresql://{SUPERUSER}@{first},{second}/postgres")
    }

    fn make() -> Self {
        let this = Self::empty();
        initialise(&this.programs, &this.directory);
        this
    }

    fn empty() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let programs = Programs::find();
        let name = format!("{OWN}{}-{number}", std::process::id());
        remove_leftovers();
        let directory = std::env::temp_dir().join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        programs.make_directory(&directory);
        Self {
            programs,
            directory,
            settings: Vec::new(),
            server: None,
        }
    }

    /// Starts the server again after it was stopped.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        self.resume_at(PORT);
    }

    fn resume_at(&mut self, port: u16) {
        // The wish to end with this process is lost when the user changes, so it comes after.
        let mut server = self.programs.owned(Path::new("setpriv"), &[]);
        server
            .args(["--pdeathsig", "QUIT"])
            .arg(self.programs.path("postgres"))
            .arg("-D")
            .arg(self.directory.join("data"))
            .arg("-k")
            .arg(&self.directory)
            .args(["-c", "TimeZone=UTC"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(&self.directory));
        for setting in &self.settings {
            server.args(["-c", setting]);
        }
        self.server = Some(server.spawn().unwrap());
        wait_until_ready(&self.programs, &self.directory, port);
    }

    /// Stops the server at once, without letting it finish anything, as a crash does.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop_immediately(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let mut stop = self.programs.owned(&self.programs.path("pg_ctl"), &[]);
        stop.args(["stop", "-s", "-w", "-t", "60", "-m", "immediate", "-D"])
            .arg(self.directory.join("data"));
        assert!(stop.status().unwrap().success());
        server.wait().unwrap();
    }

    /// Runs statements with psql, as the owner of everything, and returns what it prints.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn psql(&self, sql: &str) -> String {
        let to = (SUPERUSER, "postgres");
        psql(&self.programs, &self.directory, to, sql).unwrap()
    }

    /// Returns the URL that connects to its only database as the owner.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.directory, SUPERUSER, "postgres")
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stop_immediately();
        drop(fs::remove_dir_all(&self.directory));
    }
}
