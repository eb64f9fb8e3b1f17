//! The conformance suite of CEL, as far as it needs no protocol buffers and no extensions.
//!
//! `tests/data/cel-spec.jsonl.gz` holds the cases of cel-expr/cel-spec b8622f1, one a line;
//! Apache-2.0. `tests/data/cel-spec.unsupported.txt` names those that do not pass; a case that is
//! neither passed nor named there fails the test, and so does one that is named and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cel::common::types::CelType;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::{Key, Map};
use serde_json::Value as Json;

use super::*;

/// The files that are about the language itself.
const FILES: [&str; 18] = [
    "basic",
    "bindings_ext",
    "comparisons",
    "conversions",
    "fields",
    "fp_math",
    "integer_math",
    "lists",
    "logic",
    "macros",
    "macros2",
    "namespace",
    "optionals",
    "parse",
    "plumbing",
    "string",
    "timestamps",
    "type_deduction",
];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn cases() -> Vec<Json> {
    let file = std::fs::File::open(data("cel-spec.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a value of the suite is here; `None` where it needs a message.
fn value(json: &Json) -> Option<Value> {
    let (kind, inner) = json.as_object()?.iter().next()?;
    let text = || inner.as_str().map(str::to_owned);
    Some(match kind.as_str() {
        "int64Value" => Value::Int(text()?.parse().ok()?),
        "uint64Value" => Value::UInt(text()?.parse().ok()?),
        "doubleValue" => Value::Float(match inner.as_str() {
            Some("Infinity") => f64::INFINITY,
            Some("-Infinity") => f64::NEG_INFINITY,
            Some("NaN") => f64::NAN,
            Some(_) | None => inner.as_f64()?,
        }),
        "stringValue" => Value::String(Arc::new(text()?)),
        "bytesValue" => Value::Bytes(Arc::new(base64(&text()?))),
        "boolValue" => Value::Bool(inner.as_bool()?),
        "nullValue" => Value::Null,
        "listValue" => {
            let list = inner.get("values").and_then(Json::as_array).cloned();
            let list = list.unwrap_or_default();
            Value::List(Arc::new(list.iter().map(value).collect::<Option<_>>()?))
        }
        "mapValue" => {
            let entries = inner.get("entries").and_then(Json::as_array).cloned();
            let mut map = std::collections::HashMap::new();
            for entry in entries.unwrap_or_default() {
                let key = match value(entry.get("key")?)? {
                    Value::Int(key) => Key::from(key),
                    Value::UInt(key) => Key::from(key),
                    Value::Bool(key) => Key::from(key),
                    Value::String(key) => Key::from(key),
                    _ => return None,
                };
                map.insert(key, value(entry.get("value")?)?);
            }
            Value::Map(Map { map: Arc::new(map) })
        }
        _ => return None,
    })
}

fn base64(text: &str) -> Vec<u8> {
    let mut bits = 0_u32;
    let mut n_bits = 0;
    let mut bytes = Vec::new();
    for character in text.bytes() {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(digit);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push(u8::try_from(bits >> n_bits & 0xff).unwrap());
        }
    }
    bytes
}

struct Bound {
    variables: BTreeMap<String, Box<dyn Val>>,
    regexes: Vec<value::Pattern>,
}

impl VariableResolver for Bound {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(index) = variable.strip_prefix(check::REGEX) {
            let pattern = self.regexes.get(index.parse::<usize>().ok()?)?;
            return Some(CowVal::Borrowed(pattern));
        }
        let value = self.variables.get(variable)?;
        Some(CowVal::Borrowed(value.as_ref()))
    }
}

/// Why a case does not pass.
fn fault(case: &Json) -> Option<String> {
    let text = case["expr"].as_str().unwrap();
    let wants_error = case.get("evalError").is_some();
    let is_wrong = |what: String| (!wants_error).then_some(what);
    let mut variables = BTreeMap::new();
    for (name, bound) in case["bindings"].as_object().into_iter().flatten() {
        let Some(bound) = value(&bound["value"]) else {
            return Some("a message is bound".to_owned());
        };
        variables.insert(name.clone(), bound.try_into().unwrap());
    }
    let mut env = Env::stdlib();
    equality::declare(&mut env);
    if let Some(container) = case["container"].as_str()
        && env.set_container(container).is_err()
    {
        return Some("its container is refused".to_owned());
    }
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(error) => return is_wrong(error.to_string()),
    };
    let mut root = program.expression().clone();
    let mut regexes = Vec::new();
    if let Err(fault) = check::rewrite(&mut root, &mut regexes) {
        return is_wrong(fault.rule);
    }
    let regexes = regexes.into_iter().map(value::Pattern::new).collect();
    let bound = Bound { variables, regexes };
    let mut context = Context::with_env(Arc::new(env));
    context.set_variable_resolver(&bound);
    let found = match Value::resolve_val(&root, &context) {
        Ok(found) => found,
        Err(error) => return is_wrong(error.to_string()),
    };
    if wants_error {
        return Some(format!("it is {found:?}"));
    }
    let wanted = &case["value"];
    let wanted: Box<dyn Val> = if let Some(name) = wanted["typeValue"].as_str() {
        Box::new(CelType::new(name.to_owned()))
    } else {
        // A case that names no value is true.
        let wanted = if wanted.is_null() {
            Some(Value::Bool(true))
        } else {
            value(wanted)
        };
        match wanted {
            Some(wanted) => wanted.try_into().unwrap(),
            None => return Some("its value is a message".to_owned()),
        }
    };
    let same_type = wanted.get_type().name() == found.get_type().name();
    let is_nan = format!("{wanted:?}").contains("NaN") && format!("{found:?}").contains("NaN");
    let is_right = is_nan || (same_type && equality::is_equal(found.as_ref(), wanted.as_ref()));
    (!is_right).then(|| format!("it is {found:?}"))
}

#[test]
fn the_conformance_suite_passes_but_for_what_is_named() {
    let mut n_passed = BTreeMap::<&str, (usize, usize)>::new();
    let mut failed = BTreeSet::new();
    let cases = cases();
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let Some(file) = FILES.iter().find(|known| **known == file) else {
            continue;
        };
        let counts = n_passed.entry(file).or_default();
        counts.1 += 1;
        match fault(case) {
            None => counts.0 += 1,
            Some(_) => {
                let part = |name: &str| case[name].as_str().unwrap().to_owned();
                failed.insert(format!("{file}/{}/{}", part("section"), part("name")));
            }
        }
    }
    let mut text = String::new();
    for (file, (passed, all)) in &n_passed {
        writeln!(text, "# {file}: {passed} of {all} pass").unwrap();
    }
    for name in &failed {
        writeln!(text, "{name}").unwrap();
    }
    let golden = data("cel-spec.unsupported.txt");
    if std::env::var_os("FACTUM_UPDATE_DOCS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let known = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(
        text, known,
        "run with FACTUM_UPDATE_DOCS=1 if that is better than before"
    );
}
