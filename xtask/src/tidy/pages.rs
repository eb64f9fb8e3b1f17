//! Pages that must be there.

use factum_model::ErrorCode;

use crate::run::root;

pub(super) fn check() -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for page in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "LICENSE",
        "changes/unreleased",
    ] {
        if !root().join(page).exists() {
            wrong.push(format!("{page} is missing"));
        }
    }
    for code in ErrorCode::ALL {
        if !root().join(format!("docs/errors/{code}.md")).exists() {
            wrong.push(format!(
                "docs/errors/{code}.md is missing; `cargo xtask codegen` writes it"
            ));
        }
    }
    Ok(wrong)
}
