//! JSON Schemas of tools, made from the types that every other door uses.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Returns the schema of the input of a tool.
///
/// What may be left out may be null too, but is not described so: some models' own dialects of
/// schemas know one type only for each value.
pub(crate) fn input<T: ToSchema>() -> Value {
    let mut schema = whole::<T>(Words::Kept);
    drop_null(&mut schema);
    schema
}

/// Returns the schema of the output of a tool. A model reads the output itself; of the words about
/// it only those on its own members are kept, as a list of tools is part of every context.
pub(crate) fn output<T: ToSchema>() -> Value {
    whole::<T>(Words::Dropped)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Kept,
    Dropped,
}

fn whole<T: ToSchema>(words: Words) -> Value {
    let mut named = Vec::new();
    T::schemas(&mut named);
    let named: BTreeMap<String, Value> = named
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
        .collect();
    let root = serde_json::to_value(T::schema()).unwrap_or_default();
    let mut schema = inlined(&root, &named, &mut Vec::new());
    if let Value::Object(root) = &mut schema {
        // Also one of several shapes is an object, and clients want to read so at the top.
        root.insert("type".to_owned(), "object".into());
        root.remove("description");
        if words == Words::Dropped {
            if let Some(Value::Object(members)) = root.get_mut("properties") {
                members.values_mut().for_each(drop_words_below);
            } else {
                drop_words_below(&mut schema);
            }
        }
    }
    schema
}

/// Puts every schema in the place of its name; one that holds itself ends in "anything".
fn inlined(schema: &Value, named: &BTreeMap<String, Value>, open: &mut Vec<String>) -> Value {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
                if open.contains(&name) {
                    return Value::Object(Map::new());
                }
                let Some(target) = named.get(&name) else {
                    return Value::Object(Map::new());
                };
                open.push(name);
                let mut target = inlined(target, named, open);
                open.pop();
                if let (Some(words), Value::Object(target)) =
                    (members.get("description"), &mut target)
                {
                    target.insert("description".to_owned(), words.clone());
                }
                return target;
            }
            let mut whole = Map::new();
            for (key, value) in members.iter().filter(|(key, value)| is_kept(key, value)) {
                let value = match (key.as_str(), value) {
                    // What stands in there are names of members, whatever they are called.
                    ("properties", Value::Object(members)) => members
                        .iter()
                        .map(|(name, value)| (name.clone(), inlined(value, named, open)))
                        .collect(),
                    _ => inlined(value, named, open),
                };
                whole.insert(key.clone(), value);
            }
            Value::Object(whole)
        }
        Value::Array(list) => Value::Array(
            list.iter()
                .map(|value| inlined(value, named, open))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// Leaves out what JSON Schema does not know, or what says nothing that the type does not say.
fn is_kept(key: &str, value: &Value) -> bool {
    match key {
        "example" | "examples" | "xml" | "propertyNames" => false,
        "format" => !matches!(value.as_str(), Some("int32" | "int64" | "float" | "double")),
        _ => true,
    }
}

/// Describes what may be null as what it is otherwise.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("oneOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("oneOf");
                    for (key, value) in only {
                        members.entry(key).or_insert(value);
                    }
                }
            }
            members.values_mut().for_each(drop_null);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Drops the words about what stands inside.
fn drop_words_below(schema: &mut Value) {
    let words = schema
        .as_object_mut()
        .and_then(|members| members.remove("description"));
    drop_words(schema);
    if let (Some(words), Some(members)) = (words, schema.as_object_mut()) {
        members.insert("description".to_owned(), words);
    }
}

fn drop_words(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            // A member of that name is one that is described, not a description.
            if members.get("description").is_some_and(Value::is_string) {
                members.remove("description");
            }
            // A count below zero is nothing that a model would expect of an answer.
            if members.get("minimum").is_some_and(Value::is_number) {
                members.remove("minimum");
            }
            members.values_mut().for_each(drop_words);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_words),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
