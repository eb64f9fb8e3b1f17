//! Checks that no other tool makes.

mod arrows;
mod files;
mod pages;

use anyhow::ensure;

/// Runs every check and lists all that is wrong.
pub(crate) fn tidy() -> anyhow::Result<()> {
    let mut wrong = arrows::check()?;
    wrong.extend(files::check()?);
    wrong.extend(pages::check()?);
    ensure!(wrong.is_empty(), "tidy:\n  {}", wrong.join("\n  "));
    println!("tidy: ok");
    Ok(())
}
