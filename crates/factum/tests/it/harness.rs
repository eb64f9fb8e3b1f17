//! Starts servers, runs commands and finds the data.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server on a data directory.
pub(crate) struct Server {
    child: Child,
    data: PathBuf,
}

/// Returns a command that no variable of the surroundings changes.
pub(crate) fn factum(data: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "tests run the program")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_factum"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FACTUM_") {
            command.env_remove(name);
        }
    }
    command.arg("--data").arg(data).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts a server on a free port and waits until it can be found.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// Starts a server with further arguments.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["--log-level", "warn"], arguments].concat();
        Self::start_logging(data, &arguments, Stdio::inherit())
    }

    /// Starts a server whose log goes somewhere.
    pub(crate) fn start_logging(data: &Path, arguments: &[&str], log: Stdio) -> Self {
        let mut command = factum(data);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let server = Self {
            child,
            data: data.to_owned(),
        };
        let file = data.join("server.json");
        until("the server starts", || {
            let text = std::fs::read(&file).ok()?;
            let run: Value = serde_json::from_slice(&text).ok()?;
            (run["pid"] == server.child.id()).then_some(())
        });
        server
    }

    /// Sends a request as it is, over a connection of its own, and returns what comes back.
    pub(crate) fn raw(&self, request: &str) -> String {
        let run = std::fs::read(self.data.join("server.json")).unwrap();
        let run: Value = serde_json::from_slice(&run).unwrap();
        let address = run["url"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let request = request.replace("{key}", key.trim());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        let status = until("the server stops", || self.child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// Kills the server as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Runs a command beside the server, which must succeed, and returns its output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments, b"");
        let (out, error) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {out}{error}");
        out
    }

    /// Runs a command with this standard input.
    pub(crate) fn output(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = factum(&self.data);
        command.args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // A command that wants no input closes it.
            scope.spawn(move || stdin.write_all(input).unwrap_or_default());
            child.wait_with_output().unwrap()
        })
    }

    /// Runs a command with `--json` and returns what it says.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Starts a command, presses Ctrl-C once it waits, and returns its exit code.
    pub(crate) fn interrupted(&self, arguments: &[&str]) -> Option<i32> {
        let mut command = factum(&self.data);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        // The handler is there when the kernel says that the signal is caught.
        until("the command handles Ctrl-C", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught & (1 << 1) != 0).then_some(())
        });
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        until("the command ends", || child.try_wait().unwrap()).code()
    }

    /// Starts a command that goes on.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = factum(&self.data);
        command.args(arguments).stdout(Stdio::piped());
        command.spawn().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed must not leave its server behind.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// Returns what a command wrote: output and errors.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Looks again and again until there is something.
#[expect(
    clippy::disallowed_methods,
    reason = "another process has no wake-up to wait for"
)]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file of real events, and what is in it.
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    pub(crate) expected: Value,
}

impl DataFile {
    fn at(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".jsonl.gz")?;
        let expected = std::fs::read(path.with_file_name(format!("{name}.expected.json"))).ok()?;
        Some(Self {
            expected: serde_json::from_slice(&expected).unwrap(),
            path,
        })
    }

    /// Returns its lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let packed = std::fs::File::open(&self.path).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text)
            .unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns its path as an argument.
    pub(crate) fn argument(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// Returns the sample that is part of the repository.
pub(crate) fn sample() -> DataFile {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sample.jsonl.gz");
    DataFile::at(PathBuf::from(path)).unwrap()
}

/// Returns the files of real data where they are at hand, and the sample otherwise.
pub(crate) fn data_files() -> Vec<DataFile> {
    let shared = std::env::var_os("FACTUM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let data = shared.unwrap_or(beside).join("data");
    let names = ["permits", "github-webhooks", "agent-sessions"];
    let found: Vec<_> = names
        .iter()
        .filter_map(|name| DataFile::at(data.join(format!("{name}.jsonl.gz"))))
        .collect();
    if found.is_empty() {
        vec![sample()]
    } else {
        found
    }
}
