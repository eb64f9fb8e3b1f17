//! Secrets that are kept sealed, and the master key under which they are.
//!
//! The format is in `docs/format/sealed.md`. The master key stands in a file of its own, or comes
//! from configuration; it is never written into the log or into the bookkeeping.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use factum_engine::{Vault, VaultError};
use thiserror::Error;
use zeroize::Zeroizing;

use self::file::Held;

const KEY_BYTES: usize = 32;
/// What every sealed secret begins with: what it is, and the version of its format.
const PREFIX: &str = "sealed1";
/// How many keys may be kept: the one that seals, and earlier ones that still open.
const KEYS_MAX: usize = 16;

/// The master key could not be read, made or written.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The file cannot be read or written.
    #[error("the master key at {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others than the owner may read the file.
    #[error("the master key at {path} can be read by others (mode {mode:o}); it must be 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The text is no list of keys.
    #[error("line {line} of the master key is not the base64 of {KEY_BYTES} bytes")]
    Text {
        /// The line.
        line: usize,
    },
    /// There is no key, or too many.
    #[error("the master key has {count} keys; it must have 1 to {KEYS_MAX}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// The operating system has no randomness.
    #[error("a master key cannot be made: the system has no randomness")]
    Random,
    /// Another process is changing the file.
    #[error("the master key at {path} is being changed by another process")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to somebody else, who could not read a new one.
    #[error(
        "the master key at {path} must stay with user {user}, group {group}, and cannot be given to them"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// The user that it belongs to.
        user: u32,
        /// The group that it belongs to.
        group: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another key seals than the one that everything was found to be sealed under.
    #[error("the master key was changed meanwhile: {found} seals, not {expected}")]
    Changed {
        /// The id of the key that was to seal.
        expected: String,
        /// The id of the one that does.
        found: String,
    },
    /// The key comes from configuration, where it must be changed.
    #[error("the master key is given by configuration, and is changed there")]
    NotAFile,
}

/// Seals and opens secrets with AES-256-GCM under a master key.
///
/// There may be several keys: the first seals, all open. So keys are changed by putting a new one
/// before the others.
pub struct MasterKey {
    file: Option<PathBuf>,
    keys: RwLock<Vec<Key>>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("MasterKey");
        debug
            .field("key_ids", &self.key_ids())
            .finish_non_exhaustive()
    }
}

/// One key, and its name, which says nothing about it.
struct Key {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl Key {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = digest(&SHA256, &[b"factum master key id", &bytes[..]].concat());
        let id = hash.as_ref().iter().take(4);
        Self {
            id: id.map(|byte| format!("{byte:02x}")).collect(),
            bytes,
        }
    }

    fn fresh() -> Result<Self, MasterKeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut bytes[..]).map_err(|_| MasterKeyError::Random)?;
        Ok(Self::new(bytes))
    }

    fn cipher(&self) -> Result<LessSafeKey, VaultError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.bytes[..]);
        key.map(LessSafeKey::new)
            .map_err(|_| vault_error("the key cannot be used"))
    }
}

fn vault_error(message: &str) -> VaultError {
    VaultError {
        message: message.to_owned(),
        source: None,
    }
}

impl MasterKey {
    /// Reads the master key of a file, or makes one where there is no file. Only its owner may
    /// be able to read the file. What was made is durable when this returns.
    ///
    /// # Errors
    /// [`MasterKeyError`]; a file that is there is never replaced.
    pub fn open_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        let text = match file::read(path)? {
            Some(text) => text,
            None => {
                let text = write(&[Key::fresh()?]);
                file::create(path, &text)?;
                // Another process may have been quicker; what stands there counts.
                file::read(path)?.ok_or_else(|| MasterKeyError::Io {
                    path: path.to_owned(),
                    source: std::io::ErrorKind::NotFound.into(),
                })?
            }
        };
        Ok(Self {
            file: Some(path.to_owned()),
            keys: RwLock::new(read(&text)?),
        })
    }

    /// Reads a master key that configuration gives: the base64 of 32 bytes, and earlier keys in
    /// lines of their own after it.
    ///
    /// # Errors
    /// [`MasterKeyError::Text`] and [`MasterKeyError::Count`].
    pub fn from_text(text: &str) -> Result<Self, MasterKeyError> {
        Ok(Self {
            file: None,
            keys: RwLock::new(read(text)?),
        })
    }

    /// Makes a new key, with which secrets are sealed from now on, and keeps the earlier ones. It is
    /// in the file when this returns; the file belongs to whom it belonged before.
    ///
    /// # Errors
    /// [`MasterKeyError`]; the key is the old one then.
    pub fn rotate(&self) -> Result<String, MasterKeyError> {
        let path = self.file.as_deref().ok_or(MasterKeyError::NotAFile)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let held = Held::new(path)?;
        let mut rotated = of_file(path)?;
        let fresh = Key::fresh()?;
        let id = fresh.id.clone();
        if rotated.len() >= KEYS_MAX {
            return Err(MasterKeyError::Count {
                count: rotated.len() + 1,
            });
        }
        rotated.insert(0, fresh);
        held.remove_leftovers()?;
        held.replace(&write(&rotated))?;
        *keys = rotated;
        Ok(id)
    }

    /// Forgets all keys but the one that seals, here and in the file, and returns how many those
    /// were. What is still sealed under them never opens again, so the caller names the key under
    /// which it has found everything to be sealed.
    ///
    /// # Errors
    /// [`MasterKeyError`], [`MasterKeyError::Changed`] when another key seals by now; no key is
    /// forgotten then.
    pub fn forget_earlier(&self, expected: &str) -> Result<usize, MasterKeyError> {
        let path = self.file.as_deref().ok_or(MasterKeyError::NotAFile)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let held = Held::new(path)?;
        let mut kept = of_file(path)?;
        let found = kept.first().map(|key| key.id.clone()).unwrap_or_default();
        if found != expected {
            let expected = expected.to_owned();
            return Err(MasterKeyError::Changed { expected, found });
        }
        let n_forgotten = kept.len().saturating_sub(1);
        kept.truncate(1);
        held.remove_leftovers()?;
        if n_forgotten > 0 {
            held.replace(&write(&kept))?;
        }
        *keys = kept;
        Ok(n_forgotten)
    }

    /// Reads the file again: another process, or somebody who copies it between nodes, may have
    /// changed it.
    fn look_again(&self) -> Result<(), MasterKeyError> {
        if let Some(path) = self.file.as_deref() {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            *keys = of_file(path)?;
        }
        Ok(())
    }

    fn knows(&self, id: &str) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|key| key.id == id)
    }

    /// Returns the ids of all keys; the first one seals.
    #[must_use]
    pub fn key_ids(&self) -> Vec<String> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|key| key.id.clone()).collect()
    }
}

impl Vault for MasterKey {
    fn seal(&self, secret: &[u8], context: &str) -> Result<String, VaultError> {
        // A key that was forgotten meanwhile opens nothing: what it seals now would be lost.
        self.look_again().map_err(|error| {
            tracing::error!(
                ?error,
                "nothing can be sealed: the master key cannot be read"
            );
            VaultError {
                message: "the master key cannot be read".to_owned(),
                source: Some(error.into()),
            }
        })?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys
            .first()
            .ok_or_else(|| vault_error("there is no master key"))?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| vault_error("the system has no randomness"))?;
        let mut sealed = secret.to_vec();
        key.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(&key.id, context)),
                &mut sealed,
            )
            .map_err(|_| vault_error("the secret cannot be sealed"))?;
        let body = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{PREFIX}.{}.{body}", key.id))
    }

    fn open(&self, sealed: &str, context: &str) -> Result<Vec<u8>, VaultError> {
        let malformed = || vault_error("it is no sealed secret");
        let mut parts = sealed.split('.');
        let (Some(PREFIX), Some(id), Some(body), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| malformed())?;
        let (nonce, sealed) = body
            .split_first_chunk::<NONCE_LEN>()
            .ok_or_else(malformed)?;
        let unknown = |source: Option<MasterKeyError>| {
            let id: String = id.chars().take(16).collect();
            VaultError {
                message: format!("the master key {id:?} is not known here"),
                source: source.map(Into::into),
            }
        };
        if !self.knows(id) {
            self.look_again().map_err(|error| unknown(Some(error)))?;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| unknown(None))?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let opened = key.cipher()?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(bound_to(id, context)),
            &mut bytes,
        );
        match opened {
            Ok(secret) => Ok(secret.to_vec()),
            Err(_) => Err(vault_error(
                "it was changed, or was sealed for something else",
            )),
        }
    }

    fn is_current(&self, sealed: &str) -> bool {
        let id = sealed.split('.').nth(1);
        id.is_some_and(|id| self.key_ids().first().is_some_and(|current| current == id))
    }
}

/// What a secret is bound to: under another key or for another purpose it does not open.
fn bound_to(key_id: &str, context: &str) -> Vec<u8> {
    format!("{PREFIX}.{key_id}.{context}").into_bytes()
}

/// Reads the keys of a file, which must be there.
fn of_file(path: &Path) -> Result<Vec<Key>, MasterKeyError> {
    let text = file::read(path)?.ok_or_else(|| MasterKeyError::Io {
        path: path.to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    })?;
    read(&text)
}

/// Reads keys, one a line; empty lines and those that begin with # are passed over.
fn read(text: &str) -> Result<Vec<Key>, MasterKeyError> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || MasterKeyError::Text { line: index + 1 };
        let decoded = Zeroizing::new(STANDARD.decode(line).map_err(|_| wrong())?);
        let bytes = <[u8; KEY_BYTES]>::try_from(&decoded[..]).map_err(|_| wrong())?;
        keys.push(Key::new(Zeroizing::new(bytes)));
    }
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(MasterKeyError::Count { count: keys.len() });
    }
    Ok(keys)
}

fn write(keys: &[Key]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(
        "# The master key of Factum. Without it, secrets of targets cannot be opened.\n\
         # The first key seals, all of them open. Keep a copy apart from backups.\n"
            .to_owned(),
    );
    for key in keys {
        text.push_str(&Zeroizing::new(STANDARD.encode(&key.bytes[..])));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
