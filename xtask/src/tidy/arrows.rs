//! Which crate may depend on which. An arrow that is not here is a design change: first a page in
//! `docs/decisions/`.

use std::collections::BTreeMap;

use crate::metadata::{Package, packages};

/// A crate, and the crates of the workspace that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("factum-model", &[]),
    ("factum-query", &["factum-model"]),
    ("factum-store", &["factum-model", "factum-query"]),
    (
        "factum-store-embedded",
        &["factum-model", "factum-query", "factum-store"],
    ),
    (
        "factum-store-postgres",
        &["factum-model", "factum-query", "factum-store"],
    ),
    (
        "factum-engine",
        &["factum-model", "factum-query", "factum-store"],
    ),
    (
        "factum-security",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-engine",
        ],
    ),
    (
        "factum-sessions",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-engine",
        ],
    ),
    (
        "factum-archive",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-engine",
        ],
    ),
    ("factum-api", &["factum-model", "factum-query"]),
    (
        "factum-deliver",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-engine",
            "factum-api",
        ],
    ),
    (
        "factum-mcp",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-engine",
            "factum-sessions",
            "factum-api",
        ],
    ),
    (
        "factum-server",
        &[
            "factum-mcp",
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-engine",
            "factum-security",
            "factum-sessions",
            "factum-api",
        ],
    ),
    (
        "factum",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-store-embedded",
            "factum-store-postgres",
            "factum-engine",
            "factum-security",
            "factum-sessions",
            "factum-archive",
            "factum-api",
            "factum-deliver",
            "factum-mcp",
            "factum-server",
        ],
    ),
    (
        "factum-testkit",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-store-embedded",
            "factum-engine",
        ],
    ),
    (
        "factum-oracles",
        &[
            "factum-model",
            "factum-query",
            "factum-store",
            "factum-store-embedded",
            "factum-api",
            "factum-mcp",
            "factum-server",
            "factum-testkit",
        ],
    ),
    ("xtask", &["factum-model"]),
];

/// What tests may depend on besides.
const FOR_TESTS: &[&str] = &[
    "factum-testkit",
    "factum-store",
    "factum-store-embedded",
    "factum-store-postgres",
];

pub(super) fn check() -> anyhow::Result<Vec<String>> {
    Ok(wrong_arrows(&packages()?))
}

fn wrong_arrows(packages: &[Package]) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let own = |name: &str| name == "xtask" || name == "factum" || name.starts_with("factum-");
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| package.source.is_none()) {
        let Some(allowed) = arrows.get(package.name.as_str()) else {
            wrong.push(format!(
                "{} has no row in the table of arrows",
                package.name
            ));
            continue;
        };
        for (target, for_tests) in &package.dependencies {
            let fine = allowed.contains(&target.as_str())
                || *for_tests && (FOR_TESTS.contains(&target.as_str()) || *target == package.name);
            if own(target) && !fine {
                wrong.push(format!("{} must not depend on {target}", package.name));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_up_are_found() {
        let package = |name: &str, target: &str, for_tests| Package {
            name: name.to_owned(),
            version: String::new(),
            licence: None,
            source: None,
            dependencies: vec![(target.to_owned(), for_tests)],
        };
        let check = |name, target, for_tests| wrong_arrows(&[package(name, target, for_tests)]);
        assert_eq!(check("factum-model", "factum-store", false).len(), 1);
        assert!(check("factum-store", "factum-model", false).is_empty());
        assert!(check("factum-model", "serde", false).is_empty());
        assert!(check("factum-query", "factum-testkit", true).is_empty());
        assert_eq!(check("factum-query", "factum-testkit", false).len(), 1);
        assert_eq!(check("factum-new", "serde", false).len(), 1);
    }
}
