//! The compliance suite of JSONPath, whole.
//!
//! `tests/data/jsonpath-cts.jsonl.gz` holds the 703 cases of
//! jsonpath-standard/jsonpath-compliance-test-suite 7be7c1f, one a line; BSD-2-Clause, copyright
//! its contributors.

use std::path::Path;

use factum_query::{Filter, JsonCondition, JsonPath, JsonQuery, JsonTest};
use serde_json::Value;

use crate::shared::{event, lines};

#[test]
fn every_case_of_the_compliance_suite_passes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jsonpath-cts.jsonl.gz");
    let lines = lines(&path).unwrap();
    let faults: Vec<String> = lines.iter().filter_map(|line| fault(line)).collect();
    assert!(
        faults.is_empty(),
        "{}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(lines.len(), 703);
}

fn fault(line: &str) -> Option<String> {
    let case: Value = serde_json::from_str(line).unwrap();
    let selector = case["selector"].as_str().unwrap();
    let name = &case["name"];
    let path = selector.parse::<JsonPath>();
    if case["invalid_selector"] == true {
        return path.is_ok().then(|| format!("{name}: {selector} is taken"));
    }
    let path = match path {
        Ok(path) => path,
        Err(error) => return Some(format!("{name}: {error}")),
    };
    let document = factum_model::members(line)
        .find_map(|(key, value)| (key == "document").then_some(value))
        .unwrap();
    let found: Vec<Value> = path
        .select(document)
        .unwrap()
        .into_iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let found = Value::from(found);
    let one_of = case["results"].as_array();
    let is_right = one_of.map_or(found == case["result"], |results| results.contains(&found));
    if !is_right {
        return Some(format!("{name}: {selector} selects {found}"));
    }
    // As a condition a path holds when it selects something.
    let wrapped = event(document, "{}");
    let exists = Filter {
        payload: Some(JsonQuery::Leaf(JsonCondition {
            path,
            test: JsonTest::Exists,
        })),
        ..Filter::default()
    };
    let selects = found != Value::Array(Vec::new());
    (exists.matches(&wrapped) != selects).then(|| format!("{name}: {selector} as a condition"))
}
