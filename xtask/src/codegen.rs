//! Pages that are written by the program, from what the code says.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::errors;
use crate::run::root;

/// Returns every generated page, by its path.
fn pages() -> Vec<(PathBuf, String)> {
    errors::pages()
}

/// Writes the generated pages.
pub(crate) fn write() -> anyhow::Result<()> {
    for (name, text) in pages() {
        let path = root().join(&name);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&path, text).with_context(|| name.display().to_string())?;
    }
    Ok(())
}

/// Fails when a generated page is not up to date.
pub(crate) fn check() -> anyhow::Result<()> {
    let stale = |(name, text): &(PathBuf, String)| {
        std::fs::read_to_string(root().join(name)).ok().as_ref() != Some(text)
    };
    let stale: Vec<_> = pages()
        .into_iter()
        .filter(stale)
        .map(|(name, _)| name)
        .collect();
    ensure!(
        stale.is_empty(),
        "not up to date, run `cargo xtask codegen`: {stale:?}"
    );
    println!("generated pages: ok");
    Ok(())
}
