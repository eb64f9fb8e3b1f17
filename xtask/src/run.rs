//! Runs other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Runs a program in the root and fails when it fails. Says what it runs.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    println!("\n$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{program} could not be started"))?;
    ensure!(
        status.success(),
        "{program} {} failed: {status}",
        arguments.join(" ")
    );
    Ok(())
}

/// Runs a program with one more variable in its environment; see [`run`].
pub(crate) fn run_with(
    name: &str,
    value: &str,
    program: &str,
    arguments: &[&str],
) -> anyhow::Result<()> {
    println!("\n$ {name}={value} {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .env(name, value)
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{program} could not be started"))?;
    ensure!(status.success(), "{program} failed: {status}");
    Ok(())
}

/// Returns what a program prints, or `None` when it fails or is not there.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Tells whether a program succeeds within a time; one that takes longer is ended. For what asks
/// the network, which may never answer.
pub(crate) fn succeeds_within(limit: Duration, program: &str, arguments: &[&str]) -> bool {
    let child = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => break,
        }
    }
    println!("{program} did not end within {limit:?}");
    // It may have ended by itself in the meantime.
    child.kill().unwrap_or_default();
    drop(child.wait());
    false
}

/// Tells whether a program is there.
pub(crate) fn has(program: &str, probe: &[&str]) -> bool {
    output(program, probe).is_some()
}
