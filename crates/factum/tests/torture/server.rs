//! Starts servers, as they are and under tools that make the system fail.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;

/// How long a server may take to start or to change its state.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    data: PathBuf,
    pub(crate) url: String,
    /// The process that serves; under a tool it is not the child.
    pid: u32,
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Returns the program under test.
pub(crate) fn program() -> PathBuf {
    let other = std::env::var_os("FACTUM_TEST_BINARY").map(PathBuf::from);
    // Tests run in the directory of their crate, people in the root of the workspace.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    other.map_or_else(
        || env!("CARGO_BIN_EXE_factum").into(),
        |other| root.join(other),
    )
}

/// Returns a command that serves a directory, behind the words of a tool.
pub(crate) fn command(tool: &[&str], data: &Path, arguments: &[&str]) -> Command {
    let program = program();
    let mut command = match tool.split_first() {
        Some((tool, words)) => {
            let mut command = Command::new(tool);
            command.args(words).arg(&program);
            command
        }
        None => Command::new(program),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FACTUM_") {
            command.env_remove(name);
        }
    }
    command
        .arg("--data")
        .arg(data)
        .arg("serve")
        .args(["--listen", "127.0.0.1:0"]);
    command
        .args(["--log-level", "error"])
        .args(arguments)
        .stdin(Stdio::null());
    command.stdout(Stdio::null());
    command
}

impl Server {
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_under(&[], data, arguments)
    }

    pub(crate) fn start_under(tool: &[&str], data: &Path, arguments: &[&str]) -> Self {
        let file = data.join("server.json");
        let old = std::fs::read(&file).unwrap_or_default();
        let mut child = command(tool, data, arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let run: Value = until("the server starts", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended at its start: {status}");
            }
            let text = std::fs::read(&file).ok().filter(|text| *text != old)?;
            serde_json::from_slice(&text).ok()
        });
        let pid = u32::try_from(run["pid"].as_u64().unwrap()).unwrap();
        let url = run["url"].as_str().unwrap().to_owned();
        Self {
            child,
            data: data.to_owned(),
            url,
            pid,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.url.strip_prefix("http://").unwrap(), &self.key())
    }

    /// Returns the key of the administrator.
    pub(crate) fn key(&self) -> String {
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        key.trim().to_owned()
    }

    /// Returns the process that serves.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks the process that serves to stop, and returns how it ended and how long that took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = until("the server stops", || self.child.try_wait().unwrap());
        (status, start.elapsed())
    }

    /// Kills the process that serves, as a crash would.
    pub(crate) fn kill(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        // It may have ended by itself.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
        self.child.wait().unwrap();
    }

    /// Sends a signal to the process that serves.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed must not leave its server behind.
        if self.child.try_wait().ok().flatten().is_none() {
            self.kill();
        }
    }
}
