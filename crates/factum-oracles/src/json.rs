//! JSON texts, against `serde_json`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use factum_model::{JsonLimits, JsonObject, JsonRule, KnownMetadata, members, validate_object};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

pub(crate) const SEEDS: &[&str] = &[
    r#"{"a":{"b":[1,-2.5e-3,true,false,null,"x\u00e9\ud83d\ude00\n\\\"/"]},"c":{}}"#,
    r#"{"userId":"u","tags":["a","b"],"sessionId":null,"traceId":"t","tags2":[[]]}"#,
    r#"{"a":1,"\u0061":2}"#,
    r#"{"x":"\u0000"}"#,
    r#"{"x":"\ud800"}"#,
    " {\t\"a\" :\r\n[ ] } ",
];

/// A value with what our rules ask of it.
#[derive(Debug)]
enum Value {
    Null,
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>, Faults),
    Other,
}

/// What stands anywhere below.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    duplicate: bool,
}

impl Value {
    fn depth(&self) -> usize {
        match self {
            Self::Null | Self::Text(_) | Self::Other => 0,
            Self::List(list) => 1 + list.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(map, _) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
        }
    }

    fn has_duplicate(&self) -> bool {
        match self {
            Self::Null | Self::Text(_) | Self::Other => false,
            Self::List(list) => list.iter().any(Self::has_duplicate),
            Self::Map(map, faults) => faults.duplicate || map.values().any(Self::has_duplicate),
        }
    }

    fn has_nul(&self) -> bool {
        match self {
            Self::Null | Self::Other => false,
            Self::Text(text) => text.contains('\0'),
            Self::List(list) => list.iter().any(Self::has_nul),
            Self::Map(map, _) => map
                .iter()
                .any(|(key, value)| key.contains('\0') || value.has_nul()),
        }
    }

    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map, _) => map.get(key),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        let mut faults = Faults::default();
        while let Some((key, value)) = access.next_entry::<String, Value>()? {
            match map.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(mut place) => {
                    faults.duplicate = true;
                    // What is below counts all the same.
                    let before = place.insert(Value::Null);
                    place.insert(Value::List(vec![before, value]));
                }
            }
        }
        Ok(Value::Map(map, faults))
    }
}

/// A text is an object for us exactly when it is one for `serde_json` and keeps our rules: no key
/// twice, no `\u0000`, not too deep. Its members are the same for both.
///
/// # Panics
/// When the two disagree.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let limits = JsonLimits::default();
    let ours = validate_object(text, limits);
    let theirs = serde_json::from_str::<Value>(text);
    match (&ours, &theirs) {
        (Ok(()), Ok(value)) => {
            assert!(matches!(value, Value::Map(..)), "{text:?}");
            assert!(!value.has_duplicate() && !value.has_nul(), "{text:?}");
            assert!(value.depth() <= limits.depth_max, "{text:?}");
            same_members(text);
        }
        (Err(fault), Ok(value)) => {
            let right = match &fault.rule {
                JsonRule::Syntax { .. } | JsonRule::LoneSurrogate => false,
                JsonRule::Object => !matches!(value, Value::Map(..)),
                JsonRule::DuplicateKey { .. } => value.has_duplicate(),
                JsonRule::NulCharacter => value.has_nul(),
                JsonRule::Depth { .. } => value.depth() > limits.depth_max,
            };
            assert!(right, "{fault}: {text:?}");
        }
        // We keep numbers as text, so none is too large.
        (Ok(()), Err(error)) => {
            assert!(
                error.to_string().starts_with("number out of range"),
                "{error}: {text:?}"
            );
        }
        (Err(fault), Err(_)) => assert!(fault.at <= text.len(), "{fault}: {text:?}"),
    }
}

fn same_members(text: &str) {
    let theirs: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let mut n_members = 0;
    for (key, value) in members(text) {
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        assert_eq!(theirs.get(&*key), Some(&value), "{text:?}");
        n_members += 1;
    }
    assert_eq!(n_members, theirs.len(), "{text:?}");
}

/// The known keys of metadata are what `serde_json` finds under them, whether the metadata is read
/// on the way in or out of the store.
///
/// # Panics
/// When they are not.
pub fn metadata(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(object) = JsonObject::parse(text) else {
        return;
    };
    let stored = KnownMetadata::read_stored(text);
    let Ok(known) = KnownMetadata::read(&object) else {
        return;
    };
    assert_eq!(known, stored, "{text:?}");
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let user = match value.get("userId") {
        Some(Value::Text(user)) => Some(user.as_str()),
        Some(Value::Null | Value::List(_) | Value::Map(..) | Value::Other) | None => None,
    };
    assert_eq!(known.user_id.as_deref(), user, "{text:?}");
    let tags: Vec<&str> = match value.get("tags") {
        Some(Value::List(tags)) => tags
            .iter()
            .filter_map(|tag| match tag {
                Value::Text(tag) => Some(tag.as_str()),
                Value::Null | Value::List(_) | Value::Map(..) | Value::Other => None,
            })
            .collect(),
        Some(Value::Null | Value::Text(_) | Value::Map(..) | Value::Other) | None => Vec::new(),
    };
    assert_eq!(known.tags, tags, "{text:?}");
}
