//! Asks a running server whatever its OpenAPI document allows, and what it does not, with
//! schemathesis: no failure of the server, and every answer as the document says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::run::{output, root, run, succeeds_within};

/// The version whose findings are known.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one run may take.
const SECONDS_MAX: &str = "90";
/// How long the installation may take, all its downloads together.
const INSTALL_MAX: Duration = Duration::from_secs(180);
/// How long the package index may be silent, in seconds.
const INDEX_SECONDS_MAX: &str = "15";

/// Runs schemathesis against the server of this build; with a seed, it asks the same again.
pub(crate) fn openapi(seed: Option<&str>) -> anyhow::Result<()> {
    match install() {
        Some(program) => ask(&program, seed),
        None => bail!("schemathesis cannot be installed; it needs python3 with venv and pip"),
    }
}

/// Runs it where it can be installed, and says so where it cannot.
pub(crate) fn openapi_if_possible() -> anyhow::Result<()> {
    match install() {
        Some(program) => ask(&program, None),
        None => {
            println!("skipped: the OpenAPI-driven tests, because python3 with venv and pip is not");
            println!("         installed or the package index cannot be reached");
            Ok(())
        }
    }
}

/// Returns the program, installed under `target/` if it is not there yet.
fn install() -> Option<PathBuf> {
    let venv = root().join("target/schemathesis");
    let program = venv.join("bin/schemathesis");
    let works = || output(&text(&program), &["--version"]).is_some();
    if works() {
        return Some(program);
    }
    println!("\ninstalling {SCHEMATHESIS} into target/schemathesis");
    let pip = text(&venv.join("bin/pip"));
    let wait = ["--timeout", INDEX_SECONDS_MAX, "--retries", "1"];
    let arguments = [&["install", "--quiet"], &wait[..], &[SCHEMATHESIS]].concat();
    let installed = succeeds_within(INSTALL_MAX, "python3", &["-m", "venv", &text(&venv)])
        && succeeds_within(INSTALL_MAX, &pip, &arguments);
    (installed && works()).then_some(program)
}

fn ask(program: &Path, seed: Option<&str>) -> anyhow::Result<()> {
    run("cargo", &["build", "--package", "factum"])?;
    let directory = root().join("target/openapi");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let server = Server::start(&directory)?;
    let key = std::fs::read_to_string(server.data.join("admin.key"))?;
    // It looks for its hooks in the directory in which it runs.
    for name in ["schemathesis.toml", "hooks.py"] {
        let source = root().join("xtask/schemathesis").join(name);
        std::fs::copy(&source, directory.join(name)).with_context(|| text(&source))?;
    }
    println!("\n$ schemathesis run {}/openapi.json", server.url);
    let seed = seed.map(|seed| ["--seed", seed]);
    let status = Command::new(program)
        .args(["run", &format!("{}/openapi.json", server.url)])
        .args(["--header", &format!("Authorization: Bearer {}", key.trim())])
        .args(["--checks", "all", "--max-time", SECONDS_MAX, "--no-color"])
        .args(seed.iter().flatten())
        .current_dir(&directory)
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "schemathesis found failures");
    ensure!(server.lives(), "the server ended while it was asked");
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A server on a directory of its own, ended when it is dropped.
struct Server {
    child: std::cell::RefCell<Child>,
    data: PathBuf,
    url: String,
}

impl Server {
    fn start(directory: &Path) -> anyhow::Result<Self> {
        let data = directory.join("data");
        let log = std::fs::File::create(directory.join("server.log"))?;
        let program = root().join("target/debug/factum");
        let child = Command::new(program)
            .arg("--data")
            .arg(&data)
            .args(["serve", "--listen", "127.0.0.1:0"])
            // A stream without events would be waited for in vain otherwise.
            .args(["--live-heartbeat-ms", "1000"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the server could not be started")?;
        let mut server = Self {
            child: child.into(),
            data,
            url: String::new(),
        };
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(file) = std::fs::read(server.data.join("server.json"))
                && let Ok(running) = serde_json::from_slice::<serde_json::Value>(&file)
                && let Some(url) = running["url"].as_str()
            {
                url.clone_into(&mut server.url);
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not start within {PATIENCE:?}")
    }

    fn lives(&self) -> bool {
        matches!(self.child.borrow_mut().try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // It may have ended by itself.
        child.kill().unwrap_or_default();
        drop(child.wait());
    }
}
