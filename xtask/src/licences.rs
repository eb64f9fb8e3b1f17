//! The licences and sources of all dependencies, after the same list as `deny.toml`.

use anyhow::{Context as _, ensure};

use crate::metadata::packages;
use crate::run::root;

/// Checks that every package comes from the public registry under a licence that `deny.toml` allows.
pub(crate) fn check() -> anyhow::Result<()> {
    let allowed = allowed()?;
    let mut wrong = Vec::new();
    for package in packages()? {
        let name = format!("{} {}", package.name, package.version);
        if let Some(source) = &package.source
            && !source.starts_with("registry+https://github.com/rust-lang/crates.io-index")
        {
            wrong.push(format!("{name} comes from {source}"));
        }
        let licence = package.licence.unwrap_or_default();
        if !is_allowed(&licence, &allowed) {
            wrong.push(format!("{name} is under {licence:?}"));
        }
    }
    ensure!(wrong.is_empty(), "licences:\n  {}", wrong.join("\n  "));
    println!("licences: ok");
    Ok(())
}

/// Reads the list `allow` of the section `[licenses]`.
fn allowed() -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("deny.toml")?;
    let (_, section) = text
        .split_once("[licenses]")
        .context("deny.toml has no [licenses]")?;
    let (_, list) = section
        .split_once("allow = [")
        .context("deny.toml has no list of licences")?;
    let (list, _) = list
        .split_once(']')
        .context("the list of licences does not end")?;
    Ok(list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// Tells whether an SPDX expression can be met: of alternatives one must be allowed, of parts all.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let all = |part: &str| {
        part.split(" AND ")
            .map(|licence| {
                licence.trim_matches(|c: char| c == '(' || c == ')' || c.is_whitespace())
            })
            .all(|licence| allowed.iter().any(|allowed| allowed == licence))
    };
    // In "(A OR B) AND C" the brackets are looked through part by part.
    if let Some((group, rest)) = expression
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") AND "))
    {
        return is_allowed(group, allowed) && is_allowed(rest, allowed);
    }
    if let Some((rest, group)) = expression.rsplit_once(" AND (") {
        return is_allowed(rest, allowed) && is_allowed(group.trim_end_matches(')'), allowed);
    }
    expression.split(" OR ").any(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_one_of_the_alternatives_and_all_of_the_parts() {
        let allowed = ["MIT", "ISC"].map(str::to_owned);
        let check =
            |text: &str, expected| assert_eq!(is_allowed(text, &allowed), expected, "{text}");
        check("MIT", true);
        check("GPL-3.0", false);
        check("GPL-3.0 OR MIT", true);
        check("MIT/Apache-2.0", true);
        check("MIT AND ISC", true);
        check("MIT AND GPL-3.0", false);
        check("(MIT OR Apache-2.0) AND ISC", true);
        check("ISC AND (GPL-3.0 OR Apache-2.0)", false);
        check("", false);
    }
}
