//! Reads the TOML file into texts, each with its line.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::config::load::{ConfigError, Raw, Source};

/// Reads the file and sets its values.
pub(crate) fn read_into(path: &Path, raw: &mut Raw) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let file = File { path, text: &text };
    let table = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: file.line(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    file.walk("", table.get_ref(), raw)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn walk(&self, prefix: &str, table: &DeTable<'_>, raw: &mut Raw) -> Result<(), ConfigError> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.walk(&format!("{name}."), inner, raw)?;
                continue;
            }
            let line = self.line(key.span().start);
            let path = self.path.to_owned();
            let Some(text) = text_of(value.get_ref()) else {
                return Err(ConfigError::Syntax {
                    path,
                    line,
                    message: format!("{name} must be a text, a number or a list of texts"),
                });
            };
            raw.set(&name, text, Source::File { path, line })?;
        }
        Ok(())
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => match number.radix() {
            10 => Some(number.as_str().to_owned()),
            radix => u64::from_str_radix(number.as_str(), radix)
                .ok()
                .map(|number| number.to_string()),
        },
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            texts
                .collect::<Option<Vec<_>>>()
                .map(|texts| texts.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
