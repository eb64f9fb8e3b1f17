//! Every endpoint is in the table, and the document knows no other.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::RefOr;

use super::*;

#[test]
fn every_row_is_one_endpoint_of_the_document() {
    let mut in_table = BTreeSet::new();
    for (_, endpoint) in rows() {
        let (method, path) = name_of(&endpoint);
        assert!(
            matches!(method.as_str(), "GET" | "PUT" | "POST" | "DELETE"),
            "{method} {path}"
        );
        assert!(in_table.insert((path, method)), "an endpoint stands twice");
    }
    let document = document();
    let in_document: BTreeSet<_> = document
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| {
            openapi::methods(item)
                .into_iter()
                .map(move |method| (path.clone(), method))
        })
        .collect();
    assert_eq!(in_table, in_document);
}

#[test]
fn schema_names_are_unique() {
    let mut seen: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for (_, (schemas, _, _)) in rows() {
        for (name, schema) in schemas {
            let json = serde_json::to_value(&schema).unwrap();
            if let Some(other) = seen.insert(name.clone(), json.clone()) {
                assert_eq!(other, json, "two schemas have the name {name}");
            }
        }
    }
}

#[test]
fn every_reference_has_a_schema() {
    let document = serde_json::to_value(document()).unwrap();
    let schemas = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .clone();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(name) = value.get("$ref").and_then(|name| name.as_str()) {
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "no schema {name}");
        }
        match value {
            serde_json::Value::Array(list) => open.extend(list),
            serde_json::Value::Object(object) => open.extend(object.values()),
            _ => {}
        }
    }
}

#[test]
fn every_failure_is_a_problem_document() {
    for (path, item) in &document().paths.paths {
        let operations = [&item.get, &item.put, &item.post, &item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, response) in &operation.responses.responses {
                let RefOr::T(response) = response else {
                    panic!("{path} {status}");
                };
                if status.starts_with('4') {
                    // A message that is no message of the protocol of tools is answered in that protocol.
                    let in_protocol =
                        |name: &&String| path == "/mcp" && *name == "application/json";
                    let types = response.content.keys();
                    let types: Vec<_> = types.filter(|name| !in_protocol(name)).collect();
                    assert_eq!(types, ["application/problem+json"], "{path} {status}");
                }
            }
        }
    }
}
