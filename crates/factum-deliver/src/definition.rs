//! Definitions of targets: read with the place of each fault, stored with their secrets sealed.

use std::sync::Arc;

use factum_engine::{Deliver, InvalidTarget};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::outside::Outside;
use crate::secret::Secret;

/// A kind of target: what its definition holds, and how it is made.
pub(crate) trait Kind {
    /// The name, as `type` says it.
    const NAME: &'static str;
    /// The definition, without its type.
    type Definition: Serialize + DeserializeOwned;

    /// Returns every secret of a definition with its JSON pointer.
    fn secrets(definition: &mut Self::Definition) -> Vec<(String, &mut Secret)>;

    /// Returns the channel whose listeners get the events, where that is all there is to it.
    fn channel(definition: Self::Definition) -> Option<String> {
        drop(definition);
        None
    }

    /// Makes the target of a definition with sealed secrets. Connects nowhere.
    fn open(
        definition: &Self::Definition,
        outside: &Outside,
    ) -> Result<Arc<dyn Deliver>, InvalidTarget>;
}

/// Checks what a client gives; see [`factum_engine::Targets::accept`].
pub(crate) fn accept<K: Kind>(
    fields: Value,
    before: Option<Value>,
    outside: &Outside,
) -> Result<Value, InvalidTarget> {
    let mut definition: K::Definition = read(fields)?;
    let kept = match before {
        Some(before) => {
            let mut before: K::Definition = read(before)?;
            let secrets = K::secrets(&mut before).into_iter();
            secrets.filter_map(|(_, secret)| secret.sealed()).collect()
        }
        None => Vec::new(),
    };
    for (pointer, secret) in K::secrets(&mut definition) {
        let sealed = secret.seal(&kept, outside.vault());
        sealed.map_err(|fault| fault.under(&pointer))?;
    }
    // What can be opened now can be opened whenever it is needed.
    drop(K::open(&definition, outside)?);
    write(&definition)
}

/// Returns what may be shown; see [`factum_engine::Targets::show`].
pub(crate) fn show<K: Kind>(stored: Value) -> Result<Value, InvalidTarget> {
    let mut definition: K::Definition = read(stored)?;
    for (_, secret) in K::secrets(&mut definition) {
        secret.hide();
    }
    write(&definition)
}

/// Makes a target; see [`factum_engine::Targets::open`].
pub(crate) fn open<K: Kind>(
    stored: Value,
    outside: &Outside,
) -> Result<Arc<dyn Deliver>, InvalidTarget> {
    K::open(&read(stored)?, outside)
}

/// Seals secrets anew; see [`factum_engine::Targets::reseal`].
pub(crate) fn reseal<K: Kind>(
    stored: Value,
    outside: &Outside,
) -> Result<Option<Value>, InvalidTarget> {
    let mut definition: K::Definition = read(stored)?;
    let mut changes = false;
    for (pointer, secret) in K::secrets(&mut definition) {
        let resealed = secret.reseal(outside.vault());
        changes |= resealed.map_err(|fault| fault.under(&pointer))?;
    }
    if changes {
        write(&definition).map(Some)
    } else {
        Ok(None)
    }
}

/// Returns the channel of a target; see [`factum_engine::Targets::channel`].
pub(crate) fn channel<K: Kind>(stored: Value) -> Option<String> {
    read(stored).ok().and_then(K::channel)
}

fn read<T: DeserializeOwned>(fields: Value) -> Result<T, InvalidTarget> {
    serde_path_to_error::deserialize(fields).map_err(|error| {
        let pointer = pointer(error.path());
        // What serde says quotes the value that it found, which stands in the request itself.
        InvalidTarget::at(&pointer, said(&error.into_inner()))
    })
}

fn said(error: &serde_json::Error) -> String {
    let said: String = error.to_string().chars().take(200).collect();
    format!("cannot be read: {said}")
}

fn write<T: Serialize>(definition: &T) -> Result<Value, InvalidTarget> {
    serde_json::to_value(definition).map_err(|error| InvalidTarget::at("", said(&error)))
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&escape(key));
            }
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Writes the name of a field as a token of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
