//! Public libraries of other languages, to check with their eyes what we make.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long the package index may be silent, in seconds.
const INDEX_SECONDS_MAX: &str = "20";
/// How long an installation may take, in seconds.
const INSTALL_SECONDS_MAX: &str = "180";

/// A library of an index.
#[derive(Debug, Clone, Copy)]
pub enum Library {
    /// Of PyPI, as pip names it with its version.
    Python(&'static str),
    /// Of npm, as npm names it with its version.
    Node(&'static str),
}

/// Libraries that are installed under `target/`, once for all tests.
#[derive(Debug)]
pub struct Libraries {
    library: Library,
    directory: PathBuf,
}

impl Libraries {
    /// Installs a library if it is not there yet; `None`, with a word about it, where it cannot
    /// be had.
    ///
    /// # Panics
    /// When `target/` cannot be written.
    #[must_use]
    pub fn with(library: Library) -> Option<Self> {
        let (Library::Python(name) | Library::Node(name)) = library;
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let target = crates
            .and_then(Path::parent)
            .unwrap()
            .join("target/libraries");
        fs::create_dir_all(&target).unwrap();
        let language = match library {
            Library::Python(_) => "python",
            Library::Node(_) => "node",
        };
        let plain = name.replace(['=', '@', '/'], "-");
        let directory = target.join(format!("{language}-{plain}"));
        let turn = File::create(target.join("lock")).unwrap();
        turn.lock().unwrap();
        let done = directory.join("installed");
        if !done.exists() {
            drop(fs::remove_dir_all(&directory));
            fs::create_dir(&directory).unwrap();
            if !install(library, &directory) {
                return None;
            }
            File::create(done).unwrap();
        }
        Some(Self { library, directory })
    }

    /// Runs a program in the language of the library, with a text as its input, and returns what
    /// it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, program: &str, input: &str) -> Result<String, String> {
        let mut command = match self.library {
            Library::Python(_) => {
                let mut command = bounded("60", &text(&self.directory.join("bin/python")));
                command.args(["-c", program]);
                command
            }
            Library::Node(_) => {
                let mut command = bounded("60", "node");
                command.args(["-e", program]).current_dir(&self.directory);
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

fn install(library: Library, directory: &Path) -> bool {
    let place = text(directory);
    match library {
        Library::Python(name) => {
            let pip = text(&directory.join("bin/pip"));
            let wait = ["--timeout", INDEX_SECONDS_MAX, "--retries", "1"];
            succeeds("python3", &["-m", "venv", &place])
                && succeeds(
                    &pip,
                    &[&["install", "--quiet"], &wait[..], &[name]].concat(),
                )
        }
        Library::Node(name) => succeeds(
            "npm",
            &[
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--prefix",
                &place,
                name,
            ],
        ),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[expect(clippy::disallowed_methods, reason = "tests start processes")]
fn bounded(seconds: &str, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([seconds, program]);
    command
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = bounded(INSTALL_SECONDS_MAX, program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
