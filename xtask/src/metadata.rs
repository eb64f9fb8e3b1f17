//! What cargo says of the workspace.

use anyhow::Context as _;
use serde_json::Value;

use crate::run::output;

/// A package, of the workspace or from a registry.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// Where it comes from; `None` for the workspace.
    pub(crate) source: Option<String>,
    /// The names of the packages it depends on, and whether only its tests do.
    pub(crate) dependencies: Vec<(String, bool)>,
}

/// Returns all packages that the lock file names.
pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    let text = output("cargo", &["metadata", "--format-version", "1", "--locked"])
        .context("cargo metadata --locked failed; is Cargo.lock up to date?")?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    Ok(packages.iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let dependency = |dependency: &Value| {
        let name = dependency["name"].as_str().unwrap_or_default().to_owned();
        (name, dependency["kind"].as_str() == Some("dev"))
    };
    let dependencies = value["dependencies"].as_array();
    Package {
        name: text("name").unwrap_or_default(),
        version: text("version").unwrap_or_default(),
        licence: text("license"),
        source: text("source"),
        dependencies: dependencies.into_iter().flatten().map(dependency).collect(),
    }
}
