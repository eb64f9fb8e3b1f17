//! The text of a key: made, taken apart, hashed, compared.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

/// What every key starts with, so that scanners for leaked secrets can find them.
const PREFIX: &str = "fct_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// The length of the text of a key: prefix, id, an underscore, secret.
const TEXT_LEN: usize = PREFIX.len() + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES;

/// The SHA-256 of the secret of a key.
#[derive(Clone, Copy)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes the secret part of a key.
    pub(crate) fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }

    /// Reads a hash out of its hexadecimal text.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// Writes the hash as hexadecimal text.
    pub(crate) fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Compares in a time that does not depend on where the two differ.
    pub(crate) fn is(self, other: Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// A key that was just made.
pub(crate) struct FreshKey {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) hash: SecretHash,
}

impl FreshKey {
    /// Makes a key out of the operating system's randomness; `None` when there is none.
    pub(crate) fn generate() -> Option<Self> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        rand::fill(&mut random).ok()?;
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex(id), hex(secret));
        Some(Self {
            text: format!("{PREFIX}{id}_{secret}"),
            hash: SecretHash::of(&secret),
            id,
        })
    }
}

/// Takes a presented key apart into its id and its secret; `None` when it is no key.
pub(crate) fn split(presented: &str) -> Option<(&str, &str)> {
    if presented.len() != TEXT_LEN {
        return None;
    }
    presented.strip_prefix(PREFIX)?.split_once('_')
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_made() {
        let key = FreshKey::generate().unwrap();
        let (id, secret) = split(&key.text).unwrap();
        assert_eq!(id, key.id);
        assert!(SecretHash::of(secret).is(key.hash));
        assert!(!SecretHash::of("x").is(key.hash));
        let hash = SecretHash::from_hex(&key.hash.to_hex()).unwrap();
        assert!(hash.is(key.hash));
        assert_ne!(FreshKey::generate().unwrap().text, key.text);
    }

    #[test]
    fn other_texts_are_no_keys() {
        for wrong in ["", "fct_", "fct_1_2", &"f".repeat(85), &"ä".repeat(43)] {
            assert!(split(wrong).is_none(), "{wrong}");
        }
        assert!(SecretHash::from_hex("ab").is_none());
        assert!(SecretHash::from_hex(&"g".repeat(64)).is_none());
    }
}
