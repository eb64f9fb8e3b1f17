//! Line coverage of each crate, by the instrumentation of the compiler, which `cargo-tarpaulin`
//! reads without the tools of the compiler's LLVM.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::run::{has, root, run};

/// The version whose report this reads.
const TARPAULIN: &str = "0.37.5";

/// The crates that are reported, and the share of lines, in percent, that their tests should
/// reach.
const CRATES: &[(&str, u32)] = &[
    ("factum-model", 90),
    ("factum-query", 90),
    ("factum-store", 90),
    ("factum-store-embedded", 90),
    ("factum-engine", 90),
    ("factum-security", 0),
    ("factum-api", 0),
    ("factum-server", 0),
];

#[derive(Debug, Deserialize)]
struct Report {
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: Vec<String>,
    covered: u64,
    coverable: u64,
}

/// Runs the tests of the library crates with instrumentation and prints the share of lines.
pub(crate) fn coverage() -> anyhow::Result<()> {
    let program = install()?;
    let directory = root().join("target/coverage");
    let mut command = Command::new(&program);
    command
        .current_dir(root())
        .args(["tarpaulin", "--engine", "llvm", "--skip-clean"])
        .args(["--lib", "--tests", "--timeout", "600", "--out", "Json"])
        .arg("--target-dir")
        .arg(directory.join("build"))
        .arg("--output-dir")
        .arg(&directory);
    for (name, _) in CRATES {
        command.args(["--package", name]);
    }
    let status = command.status().context("tarpaulin could not be started")?;
    ensure!(status.success(), "the tests failed under instrumentation");
    let report = std::fs::read(directory.join("tarpaulin-report.json"))?;
    let report: Report = serde_json::from_slice(&report)?;
    let lines = lines_of(&report);
    let mut below = Vec::new();
    for (name, wanted) in CRATES {
        let (covered, coverable) = lines.get(*name).copied().unwrap_or_default();
        // Lines number in thousands.
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let percent = 100.0 * covered as f64 / coverable.max(1) as f64;
        println!("{name:24} {percent:5.1} % of {coverable} lines   (wanted: {wanted} %)");
        if percent < f64::from(*wanted) {
            below.push(*name);
        }
    }
    ensure!(below.is_empty(), "below what is wanted: {below:?}");
    Ok(())
}

/// Returns the program, installed under `target/` if it is not there yet.
fn install() -> anyhow::Result<PathBuf> {
    let directory = root().join("target/tools");
    let program = directory.join("bin/cargo-tarpaulin");
    let text = program.display().to_string();
    if !has(&text, &["--version"]) {
        let directory = directory.display().to_string();
        let version = format!("cargo-tarpaulin@{TARPAULIN}");
        run(
            "cargo",
            &["install", "--locked", "--root", &directory, &version],
        )?;
    }
    Ok(program)
}

/// Returns how many lines of the sources of each crate were reached, and how many there are.
fn lines_of(report: &Report) -> BTreeMap<&str, (u64, u64)> {
    let mut lines: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for file in &report.files {
        let mut parts = file
            .path
            .iter()
            .skip_while(|part| *part != "crates")
            .skip(1);
        if let (Some(name), Some("src")) = (parts.next(), parts.next().map(String::as_str)) {
            let entry = lines.entry(name).or_default();
            entry.0 += file.covered;
            entry.1 += file.coverable;
        }
    }
    lines
}
