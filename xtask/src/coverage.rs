//! Line coverage of each crate, by the instrumentation of the compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::run::{has, output, root};

/// The crates that are reported, and the share of lines that their tests should reach.
const CRATES: &[(&str, u32)] = &[
    ("factum-model", 90),
    ("factum-query", 90),
    ("factum-store", 90),
    ("factum-store-embedded", 90),
    ("factum-engine", 90),
    ("factum-security", 90),
    ("factum-api", 0),
    ("factum-server", 0),
];

/// Runs the tests of the library crates with instrumentation and prints the share of lines.
pub(crate) fn coverage() -> anyhow::Result<()> {
    let (profdata, cov) = tools()?;
    let directory = root().join("target/coverage");
    let profiles = directory.join("profiles");
    if profiles.exists() {
        std::fs::remove_dir_all(&profiles)?;
    }
    let mut arguments = vec!["test".to_owned(), "--lib".to_owned(), "--tests".to_owned()];
    for (name, _) in CRATES {
        arguments.extend(["--package".to_owned(), (*name).to_owned()]);
    }
    let status = instrumented(&directory, &arguments).status()?;
    ensure!(status.success(), "the tests failed under instrumentation");
    arguments.extend(["--no-run", "--message-format=json"].map(str::to_owned));
    let built = instrumented(&directory, &arguments).output()?;
    let binaries = binaries(&String::from_utf8_lossy(&built.stdout));
    let merged = directory.join("merged.profdata");
    merge(&profdata, &profiles, &merged)?;
    for (name, wanted) in CRATES {
        let percent = report(&cov, &merged, &binaries, name)?;
        println!("{name:24} {percent:>7} of lines   (wanted: {wanted} %)");
    }
    Ok(())
}

fn instrumented(directory: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", directory)
        .env("RUSTFLAGS", "-Cinstrument-coverage")
        .env(
            "LLVM_PROFILE_FILE",
            directory.join("profiles/%p-%m.profraw"),
        );
    command
}

/// Finds the two programs, under the names that Debian gives them too.
fn tools() -> anyhow::Result<(String, String)> {
    let versions = ["", "-22", "-23", "-24"];
    for version in versions {
        let names = (
            format!("llvm-profdata{version}"),
            format!("llvm-cov{version}"),
        );
        if has(&names.0, &["--version"]) && has(&names.1, &["--version"]) {
            return Ok(names);
        }
    }
    bail!("llvm-profdata and llvm-cov are not installed, or older than the compiler's LLVM")
}

fn binaries(messages: &str) -> Vec<PathBuf> {
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().filter_map(executable).collect()
}

fn merge(profdata: &str, profiles: &Path, merged: &Path) -> anyhow::Result<()> {
    let mut arguments = vec!["merge".to_owned(), "-sparse".to_owned()];
    for entry in std::fs::read_dir(profiles)? {
        arguments.push(entry?.path().display().to_string());
    }
    arguments.extend(["-o".to_owned(), merged.display().to_string()]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    output(profdata, &arguments).context("llvm-profdata failed; is it as new as the compiler?")?;
    Ok(())
}

/// Returns the share of lines of one crate, as the report prints it.
fn report(cov: &str, merged: &Path, binaries: &[PathBuf], name: &str) -> anyhow::Result<String> {
    let mut arguments = vec![
        "report".to_owned(),
        format!("-instr-profile={}", merged.display()),
    ];
    for binary in binaries {
        arguments.extend(["-object".to_owned(), binary.display().to_string()]);
    }
    arguments.push(
        root()
            .join(format!("crates/{name}/src"))
            .display()
            .to_string(),
    );
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let text = output(cov, &arguments).context("llvm-cov failed; is it as new as the compiler?")?;
    let total = text
        .lines()
        .find(|line| line.starts_with("TOTAL"))
        .context("no total")?;
    // Columns: regions (3), functions (3), lines: count, missed, percent.
    Ok(total.split_whitespace().nth(9).unwrap_or("?").to_owned())
}
