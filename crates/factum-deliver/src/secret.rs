//! Secrets of definitions: given once in plain text, kept sealed, never shown.

use std::fmt;

use aws_lc_rs::rand;
use factum_engine::{InvalidTarget, Vault};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The most bytes that a secret may have.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// A secret in plain text. It is wiped from memory when it is dropped, and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Plain(Zeroizing<String>);

impl Plain {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the secret itself, to be handed to what needs it and to nothing else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret of a definition, in one of its three states.
#[derive(Debug, Clone)]
pub(crate) enum Secret {
    /// As a client gave it.
    Given(Plain),
    /// The name of one that is kept: what is shown, and what a client sends back to keep it.
    Named { id: String },
    /// As it is stored.
    Sealed { id: String, sealed: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (id, sealed) = match self {
            Self::Given(_) => return Err(S::Error::custom("a secret is not written in plain")),
            Self::Named { id } => (id, None),
            Self::Sealed { id, sealed } => (id, Some(sealed)),
        };
        let kept = Kept {
            secret: id.clone(),
            sealed: sealed.cloned(),
        };
        kept.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is wrong with a secret must not be said by quoting it.
        let fault = || D::Error::custom("must be a text, or the secret as it was shown");
        match serde_json::Value::deserialize(deserializer).map_err(|_| fault())? {
            serde_json::Value::String(text) => Ok(Self::Given(Plain::new(text))),
            object @ serde_json::Value::Object(_) => {
                let kept: Kept = serde_json::from_value(object).map_err(|_| fault())?;
                Ok(match kept.sealed {
                    Some(sealed) => Self::Sealed {
                        id: kept.secret,
                        sealed,
                    },
                    None => Self::Named { id: kept.secret },
                })
            }
            _ => Err(fault()),
        }
    }
}

impl Secret {
    /// Seals what was given, and finds what is kept among the secrets of the definition before.
    pub(crate) fn seal(
        &mut self,
        before: &[(String, String)],
        vault: &dyn Vault,
    ) -> Result<(), InvalidTarget> {
        let fault = |rule: String| InvalidTarget::at("", rule);
        *self = match &*self {
            Self::Given(plain) => {
                let length = plain.reveal().len();
                if length == 0 || length > SECRET_BYTES_MAX {
                    let rule = format!("must have 1 to {SECRET_BYTES_MAX} bytes");
                    return Err(fault(rule));
                }
                let id =
                    fresh_id().ok_or_else(|| fault("cannot be sealed: no randomness".into()))?;
                let sealed = vault.seal(plain.reveal().as_bytes(), &context(&id));
                let sealed = sealed.map_err(|error| fault(format!("cannot be sealed: {error}")))?;
                Self::Sealed { id, sealed }
            }
            Self::Named { id } => {
                let kept = before.iter().find(|(kept, _)| kept == id);
                let (id, sealed) = kept
                    .ok_or_else(|| fault("names no secret of the target as it is".to_owned()))?
                    .clone();
                Self::Sealed { id, sealed }
            }
            Self::Sealed { .. } => {
                return Err(fault("is sealed, which no client can do".to_owned()));
            }
        };
        Ok(())
    }

    /// Seals what is stored under the key that seals now. Returns whether that changed anything. A
    /// secret that cannot be opened is a fault, also where nothing is to be changed.
    pub(crate) fn reseal(&mut self, vault: &dyn Vault) -> Result<bool, InvalidTarget> {
        let plain = self.open(vault)?;
        let Self::Sealed { id, sealed } = self else {
            return Ok(false);
        };
        if vault.is_current(sealed) {
            return Ok(false);
        }
        let anew = vault.seal(plain.reveal().as_bytes(), &context(id));
        *sealed =
            anew.map_err(|error| InvalidTarget::at("", format!("cannot be sealed: {error}")))?;
        Ok(true)
    }

    /// Leaves only the name of the secret.
    pub(crate) fn hide(&mut self) {
        if let Self::Sealed { id, .. } = self {
            *self = Self::Named {
                id: std::mem::take(id),
            };
        }
    }

    /// Returns the name and the sealed form of what is stored.
    pub(crate) fn sealed(&self) -> Option<(String, String)> {
        match self {
            Self::Sealed { id, sealed } => Some((id.clone(), sealed.clone())),
            Self::Given(_) | Self::Named { .. } => None,
        }
    }

    /// Opens what is stored.
    pub(crate) fn open(&self, vault: &dyn Vault) -> Result<Plain, InvalidTarget> {
        let fault = |rule: String| InvalidTarget::at("", rule);
        let Some((id, sealed)) = self.sealed() else {
            return Err(fault("is not stored as a secret is".to_owned()));
        };
        let bytes = vault
            .open(&sealed, &context(&id))
            .map_err(|error| fault(format!("cannot be opened: {error}")))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Plain::new(text)),
            Err(_) => Err(fault("is no text".to_owned())),
        }
    }
}

/// A sealed secret opens under its own name alone.
fn context(id: &str) -> String {
    format!("secret of a target: {id}")
}

fn fresh_id() -> Option<String> {
    let mut bytes = [0; 6];
    rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
