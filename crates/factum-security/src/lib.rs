//! API keys: made, kept as hashes, checked, revoked.
//!
//! A key is two events of the engine's own aggregate: `factum.key.created`, which holds its name,
//! scopes, expiry and the SHA-256 of its secret, and `factum.key.revoked`. [`ApiKeys`] folds them
//! at the start and follows the log, so every node of one store knows a revocation. The secret
//! itself is told once, to whoever made the key, and is nowhere kept.

mod keys;
mod record;
mod secret;

pub use crate::keys::{ApiKeys, KeysError};
