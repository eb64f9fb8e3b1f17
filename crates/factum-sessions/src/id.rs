//! Ids of instances: `{project}-{PS|MS}-{6 lower-case hex}`.

use std::fmt;
use std::str::FromStr;

use factum_model::InstanceName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::SessionError;

/// How many hexadecimal digits end an id.
const HASH_CHARS: usize = 6;

/// What an instance does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum InstanceType {
    /// It supervises one project.
    #[serde(rename = "PS")]
    ProjectSupervisor,
    /// It supervises the supervisors.
    #[serde(rename = "MS")]
    MetaSupervisor,
}

impl InstanceType {
    /// Returns the type as it stands in ids and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProjectSupervisor => "PS",
            Self::MetaSupervisor => "MS",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::ProjectSupervisor, Self::MetaSupervisor]
            .into_iter()
            .find(|known| known.as_str() == text)
    }
}

/// The id of an instance. Cloning copies the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    text: String,
    instance_type: InstanceType,
}

impl InstanceId {
    /// Makes the id of a project's instance out of 24 bits.
    pub(crate) fn new(project: &str, instance_type: InstanceType, bits: u32) -> Self {
        let (kind, hash) = (instance_type.as_str(), bits & 0x00ff_ffff);
        Self {
            text: format!("{project}-{kind}-{hash:06x}"),
            instance_type,
        }
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns what the instance does.
    #[must_use]
    pub const fn instance_type(&self) -> InstanceType {
        self.instance_type
    }

    /// Returns the project.
    #[must_use]
    pub fn project(&self) -> &str {
        let end = self.text.len().saturating_sub("-PS-".len() + HASH_CHARS);
        self.text.get(..end).unwrap_or_default()
    }

    /// Returns the six hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        let start = self.text.len().saturating_sub(HASH_CHARS);
        self.text.get(start..).unwrap_or_default()
    }
}

impl FromStr for InstanceId {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, SessionError> {
        let malformed = || SessionError::MalformedInstanceId {
            given: excerpt(text),
        };
        let name = InstanceName::of(text).ok_or_else(malformed)?;
        let instance_type = InstanceType::from_text(name.kind).ok_or_else(malformed)?;
        Ok(Self {
            text: text.to_owned(),
            instance_type,
        })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the beginning of a text that a caller gave, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str, &str)>) {
        let id: Option<InstanceId> = text.parse().ok();
        let parts = id.as_ref().map(|id| {
            let kind = id.instance_type().as_str();
            (id.project(), kind, id.hash())
        });
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn an_id_names_project_type_and_hash() {
        check("shop-PS-0a1b2c", Some(("shop", "PS", "0a1b2c")));
        check("my-shop-2-MS-ffffff", Some(("my-shop-2", "MS", "ffffff")));
        check("a-PS-b-PS-0a1b2c", Some(("a-PS-b", "PS", "0a1b2c")));
        for wrong in [
            "",
            "shop",
            "shop-PS-0a1b2",
            "shop-PS-0a1b2C",
            "shop-PS-0a1b2g",
            "shop-XS-0a1b2c",
            "-PS-0a1b2c",
            "sh/op-PS-0a1b2c",
            "-x-PS-0a1b2c",
            "shop-PS-0a1b2c ",
        ] {
            check(wrong, None);
        }
        check(&format!("{}-PS-0a1b2c", "x".repeat(65)), None);
    }

    #[test]
    fn an_id_is_made_of_24_bits() {
        let id = InstanceId::new("shop", InstanceType::MetaSupervisor, 0xff00_00ab);
        assert_eq!(id.as_str(), "shop-MS-0000ab");
        assert_eq!(id.as_str().parse::<InstanceId>().unwrap(), id);
    }
}
