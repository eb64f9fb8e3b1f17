use std::collections::BTreeSet;
use std::path::Path;

use factum_model::JsonObject;

use super::*;

fn count(group: CatalogueGroup) -> usize {
    let entries = Catalogue::shipped().entries();
    entries.filter(|entry| entry.group() == group).count()
}

#[test]
fn every_file_is_in_the_catalogue() {
    for (group, text) in shipped::FILES {
        CatalogueEntry::read(*group, text).unwrap();
    }
    assert_eq!(count(CatalogueGroup::AgentSession), 23);
    assert_eq!(count(CatalogueGroup::SessionRecord), 4);
    assert_eq!(count(CatalogueGroup::Platform), 20);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogue");
    let mut there = BTreeSet::new();
    for group in ["agent_session", "session_record", "platform"] {
        for file in std::fs::read_dir(root.join(group)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(".json").unwrap().to_owned();
            there.insert((group.to_owned(), name));
        }
    }
    let listed: BTreeSet<_> = shipped::NAMES
        .iter()
        .map(|(group, name)| ((*group).to_owned(), (*name).to_owned()))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn a_file_is_named_after_its_type_and_its_example_is_valid() {
    let entries = Catalogue::shipped().entries();
    for (entry, (group, name)) in entries.zip(shipped::NAMES) {
        assert_eq!(
            (entry.group().as_str(), entry.event_type()),
            (*group, *name)
        );
        assert!(
            entry
                .event_type()
                .parse::<factum_model::EventType>()
                .is_ok()
        );
        assert!(!entry.description().is_empty() && !entry.category().is_empty());
        let example = JsonObject::parse(entry.example().to_owned()).unwrap();
        assert_eq!(entry.check(&example), Ok(()), "{name}");
        let known: BTreeSet<_> = entry
            .required_fields()
            .chain(entry.optional_fields())
            .collect();
        for (field, _) in factum_model::members(entry.example()) {
            assert!(known.contains(&*field), "{name}: {field}");
        }
    }
}

#[test]
fn each_required_field_is_missed_by_name() {
    for entry in Catalogue::shipped().entries() {
        for missing in entry.required_fields() {
            let example: serde_json::Value = serde_json::from_str(entry.example()).unwrap();
            let mut example = example.as_object().unwrap().clone();
            example.remove(missing);
            let payload = serde_json::to_string(&example).unwrap();
            let fault = entry.check(&JsonObject::parse(payload).unwrap());
            let expected = FieldFault {
                field: missing.to_owned(),
                rule: FieldRule::Missing,
            };
            assert_eq!(fault, Err(expected), "{}", entry.event_type());
        }
    }
}

fn check(event_type: &str, change: &str, expected: Option<&str>) {
    let entry = Catalogue::shipped().entry(event_type).unwrap();
    let mut payload: serde_json::Value = serde_json::from_str(entry.example()).unwrap();
    let change: serde_json::Value = serde_json::from_str(change).unwrap();
    for (field, value) in change.as_object().unwrap() {
        payload[field] = value.clone();
    }
    let fault = entry.check(&JsonObject::parse(payload.to_string()).unwrap());
    let fault = fault.err().map(|fault| fault.to_string());
    assert_eq!(fault.as_deref(), expected, "{event_type} {change}");
}

#[test]
fn values_are_of_the_right_type_and_within_bounds() {
    let heartbeat = "instance_heartbeat";
    check(heartbeat, r#"{"context_percent": 0}"#, None);
    check(heartbeat, r#"{"context_percent": 100, "extra": [1]}"#, None);
    check(
        heartbeat,
        r#"{"context_percent": 101}"#,
        Some("context_percent must be at most 100"),
    );
    check(
        heartbeat,
        r#"{"context_percent": -1}"#,
        Some("context_percent must be at least 0"),
    );
    check(
        heartbeat,
        r#"{"context_percent": "80"}"#,
        Some("context_percent must be a number"),
    );
    check("pr_created", r#"{"pr_number": 1.0}"#, None);
    check(
        "pr_created",
        r#"{"pr_number": 1.5}"#,
        Some("pr_number must be an integer"),
    );
    check(
        "epic_started",
        r#"{"epic_id": ""}"#,
        Some("epic_id must not be empty"),
    );
    check(
        "epic_completed",
        r#"{"tests_passed": "all"}"#,
        Some("tests_passed must be an integer or a boolean"),
    );
    check(
        "instance_registered",
        r#"{"instance_type": "XX"}"#,
        Some("instance_type must be one of PS, MS"),
    );
    check(
        "checkpoint_created",
        r#"{"state_keys": ["a", 1]}"#,
        Some("state_keys must be an array, each item a string"),
    );
}
