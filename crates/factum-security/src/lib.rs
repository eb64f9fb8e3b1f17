//! API keys, kept as hashes, and secrets, kept sealed.
//!
//! A key is two events of the engine's own aggregate: `factum.key.created`, which holds its name,
//! scopes, expiry and the SHA-256 of its secret, and `factum.key.revoked`. [`ApiKeys`] folds them
//! at the start and follows the log, so every node of one store knows a revocation. The secret
//! itself is told once, to whoever made the key, and is nowhere kept.
//!
//! What must be kept and used, such as the secrets of targets, is sealed under a [`MasterKey`].

mod keys;
mod record;
mod sealed;
mod secret;

pub use crate::keys::{ApiKeys, KeysError};
pub use crate::sealed::{MasterKey, MasterKeyError};
