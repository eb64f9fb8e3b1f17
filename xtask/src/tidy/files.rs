//! The shape and the words of the files.

use std::path::Path;

use anyhow::Context as _;

use crate::run::{output, root};

/// A source file longer than this is not one idea any more.
const LINES_MAX: usize = 1000;

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

pub(super) fn check() -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for name in tracked_files()? {
        let path = root().join(&name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        if name.ends_with(".rs") {
            wrong.extend(rust_file(&name, &text));
        }
        let apart = name.starts_with("fuzz/") || name.starts_with("benches/");
        if name.ends_with("Cargo.toml") && name != "Cargo.toml" && !apart {
            wrong.extend(manifest(&name, &text));
        }
        if !name.ends_with(".lock") && !name.contains("/vendor/") {
            wrong.extend(words(&name, &text));
        }
    }
    Ok(wrong)
}

/// Returns the files that git tracks or would track; in an archive without git, none is checked.
fn tracked_files() -> anyhow::Result<Vec<String>> {
    let list = output(
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    )
    .context("git ls-files failed; tidy needs a checkout")?;
    Ok(list.lines().map(str::to_owned).collect())
}

fn rust_file(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let n_lines = text.lines().count();
    if n_lines > LINES_MAX {
        wrong.push(format!(
            "{name} has {n_lines} lines, the limit is {LINES_MAX}"
        ));
    }
    let file = Path::new(name)
        .file_name()
        .and_then(|file| file.to_str())
        .unwrap_or_default();
    if EMPTY_NAMES.contains(&file) {
        wrong.push(format!("{name}: name what is in it"));
    }
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    if (is_root || name.ends_with("tests/it/main.rs")) && !text.starts_with("//!") {
        wrong.push(format!("{name} has no crate doc"));
    }
    for line in text.lines() {
        let line = line.trim_start();
        // In a module of tests the parent is the subject.
        if line.starts_with("use ") && line.ends_with("::*;") && !is_allowed_glob(line) {
            wrong.push(format!("{name}: glob import {line:?}"));
        }
    }
    wrong.extend(forgotten_tests(name, text));
    wrong
}

fn is_allowed_glob(line: &str) -> bool {
    line == "use super::*;" || line == "use proptest::prelude::*;"
}

/// A test file that no `mod` line names does not run.
fn forgotten_tests(name: &str, text: &str) -> Vec<String> {
    let Some(directory) = name
        .strip_suffix("main.rs")
        .filter(|name| name.contains("/tests/"))
    else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(root().join(directory)) else {
        return Vec::new();
    };
    let mut forgotten = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let module = match file.strip_suffix(".rs") {
            Some(module) => module.to_owned(),
            None if entry.path().join("mod.rs").exists() => file.clone(),
            None => continue,
        };
        if module != "main" && !text.contains(&format!("mod {module};")) {
            forgotten.push(format!(
                "{directory}{file} is not named by main.rs, so it does not run"
            ));
        }
    }
    forgotten
}

/// Versions stand in one place, the root.
fn manifest(name: &str, text: &str) -> Vec<String> {
    let version = |line: &&str| {
        let line = line.trim();
        (line.contains(" = \"") || line.contains("version = \""))
            && line
                .split('"')
                .nth(1)
                .is_some_and(|value| value.starts_with(|c: char| c.is_ascii_digit()))
    };
    text.lines()
        .filter(version)
        .map(|line| {
            format!(
                "{name}: the version of {:?} belongs in the root",
                line.trim()
            )
        })
        .collect()
}

/// The project speaks of itself alone.
fn words(name: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let forbidden = [
        ["/ro", "ot/"].concat(),
        ["/wo", "rk/"].concat(),
        ["index.crates", ".io"].concat(),
        ["static.crates", ".io"].concat(),
    ];
    forbidden
        .iter()
        .filter(|word| text.contains(word.as_str()))
        .map(|word| format!("{name} names {word:?}, which is of one machine"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_about_rust_files() {
        assert!(rust_file("a/src/lib.rs", "//! Doc.\n").is_empty());
        assert_eq!(rust_file("a/src/lib.rs", "mod a;\n").len(), 1);
        assert_eq!(rust_file("a/src/utils.rs", "").len(), 1);
        assert_eq!(rust_file("a/src/b.rs", "use a::b::*;\n").len(), 1);
        assert!(rust_file("a/src/b.rs", "    use super::*;\n").is_empty());
        assert_eq!(rust_file("a/src/b.rs", &"x\n".repeat(1001)).len(), 1);
    }

    #[test]
    fn versions_belong_in_the_root() {
        assert_eq!(manifest("a/Cargo.toml", "serde = \"1\"\n").len(), 1);
        assert_eq!(
            manifest("a/Cargo.toml", "serde = { version = \"1\" }\n").len(),
            1
        );
        assert!(manifest("a/Cargo.toml", "serde.workspace = true\nname = \"a\"\n").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(words("a", &["see /ro", "ot/x"].concat()).len(), 1);
        assert!(words("a", "see docs/").is_empty());
    }
}
