//! The filters and tests that templates may use; whatever makes a text out of many is bounded.

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, filters, tests};

use super::OUTPUT_BYTES_MAX;

/// The names of all filters.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "capitalize",
    "default",
    "escape",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "replace",
    "round",
    "title",
    "tojson",
    "trim",
    "truncate",
    "upper",
    "urlencode",
];
/// The names of all tests.
pub(super) const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "number",
    "string",
    "sequence",
    "mapping",
    "eq",
    "in",
];

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("default", filters::default);
    environment.add_filter("escape", filters::escape);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", replace);
    environment.add_filter("round", filters::round);
    environment.add_filter("title", filters::title);
    environment.add_filter("tojson", tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("truncate", truncate);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("urlencode", filters::urlencode);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("string", tests::is_string);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("in", tests::is_in);
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("a filter makes a text of more than {OUTPUT_BYTES_MAX} bytes"),
    )
}

fn text(value: &Value) -> Result<String, Error> {
    let mut text = Capped(String::new());
    std::fmt::write(&mut text, format_args!("{value}")).map_err(|_| too_long())?;
    Ok(text.0)
}

fn join(value: &Value, between: Option<&str>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        let item = text(&item)?;
        if joined.len() + between.len() + item.len() > OUTPUT_BYTES_MAX {
            return Err(too_long());
        }
        if index > 0 {
            joined.push_str(between);
        }
        joined.push_str(&item);
    }
    Ok(joined)
}

fn replace(value: &str, from: &str, to: &str) -> Result<String, Error> {
    let places = value.matches(from).count();
    if value.len().saturating_add(places.saturating_mul(to.len())) > OUTPUT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(value.replace(from, to))
}

#[expect(clippy::needless_pass_by_value, reason = "what a filter takes")]
fn truncate(value: &str, length: usize, options: Kwargs) -> Result<String, Error> {
    let end: Option<String> = options.get("end")?;
    options.assert_all_used()?;
    match value.char_indices().nth(length) {
        Some((at, _)) => Ok(format!(
            "{}{}",
            value.get(..at).unwrap_or_default(),
            end.unwrap_or_default()
        )),
        None => Ok(value.to_owned()),
    }
}

/// Writes a value as JSON.
fn tojson(value: &Value) -> Result<Value, Error> {
    let mut json = CappedBytes(Vec::new());
    let written = serde_json::to_writer(&mut json, value);
    if let Err(error) = written {
        if error.is_io() {
            return Err(too_long());
        }
        return Err(Error::new(ErrorKind::BadSerialization, "no JSON").with_source(error));
    }
    // JSON is what was asked for, so it is not escaped again.
    Ok(Value::from_safe_string(
        String::from_utf8_lossy(&json.0).into_owned(),
    ))
}

struct Capped(String);

impl std::fmt::Write for Capped {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        if self.0.len() + part.len() > OUTPUT_BYTES_MAX {
            return Err(std::fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

struct CappedBytes(Vec<u8>);

impl std::io::Write for CappedBytes {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + part.len() > OUTPUT_BYTES_MAX {
            return Err(std::io::Error::other("too long"));
        }
        self.0.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
