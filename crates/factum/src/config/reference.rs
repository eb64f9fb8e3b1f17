//! The reference page and the commented default file, from the table of keys.

use std::fmt::Write as _;

use crate::config::keys::{KEYS, Key};

/// Returns `docs/configuration.md`.
pub(crate) fn reference_page() -> String {
    let mut page = String::from(HEAD);
    for key in KEYS {
        let default = if key.default.is_empty() {
            "none".to_owned()
        } else {
            format!("`{}`", key.default)
        };
        let unit = if key.unit.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {default}{unit}{} | {} A value is {}. | `{}` |",
            key.name,
            key.unit,
            key.doc.trim(),
            key.kind,
            key.variable(),
        );
    }
    page
}

const HEAD: &str = "\
# Configuration

Made from the table of keys in `crates/factum/src/config/keys.rs`; a test keeps this page equal to it
(`FACTUM_UPDATE_DOCS=1 cargo test -p factum reference_page` writes it anew).

A value is taken from the first of these that gives it:

1. a flag of `factum serve`: `limits.event_bytes_max` is `--limits-event-bytes-max`;
2. an environment variable: `FACTUM_LIMITS_EVENT_BYTES_MAX`;
3. the TOML file that `--config` or `FACTUM_CONFIG` names, or `factum.toml` in the data directory;
4. the default below.

In the file, dots are tables: `[limits]`, then `event_bytes_max = 1048576`. Sizes may carry a unit
(`\"8MiB\"`), times too (`\"5s\"`). An unknown key is refused with its line and the nearest right name; so
is an environment variable that is nearly a key. `factum config check` prints every effective value and where
it comes from, `factum config show --default` a complete file.

Authentication has no key: it can be turned off only by the flag `--insecure-no-auth` of `factum serve`.

| key | default | meaning | variable |
|---|---|---|---|
";

/// Returns a complete file in which every key stands with its default, commented out.
pub(crate) fn default_file() -> String {
    let mut text =
        String::from("# Every key of Factum with its default. Take the # away to change one.\n");
    let (top, tables): (Vec<&Key>, Vec<&Key>) =
        KEYS.iter().partition(|key| !key.name.contains('.'));
    let mut table = "";
    for key in top.into_iter().chain(tables) {
        let (prefix, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if prefix != table {
            table = prefix;
            let _ = write!(text, "\n[{table}]\n");
        }
        let number =
            key.default.bytes().all(|byte| byte.is_ascii_digit()) && !key.default.is_empty();
        let quote = if number { "" } else { "\"" };
        let _ = writeln!(text, "# {}", key.doc.trim());
        let _ = writeln!(text, "#{name} = {quote}{}{quote}", key.default);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::environment::Environment;

    #[test]
    fn reference_page_is_the_one_in_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if Environment::of_process()
            .get("FACTUM_UPDATE_DOCS")
            .is_some()
        {
            std::fs::write(path, reference_page()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == reference_page(),
            "docs/configuration.md is not what the table of keys says; run with FACTUM_UPDATE_DOCS=1"
        );
    }

    #[test]
    fn the_default_file_without_its_comment_signs_is_the_default_configuration() {
        let text: String = default_file()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("factum.toml");
        std::fs::write(&path, text).unwrap();
        let from_file = load(Some(&path), &Environment::default(), &[]).unwrap();
        let from_table = load(None, &Environment::default(), &[]).unwrap();
        assert_eq!(from_file.config, from_table.config);
    }
}
