//! Who may do what: principals, scopes and the port through which keys are checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use factum_model::{Clock, ErrorCode, Timestamp};
use factum_store::{BoxFuture, Visibility};
use thiserror::Error;
use tokio::sync::watch;

use crate::error::EngineError;

/// What a principal may do. `Admin` implies the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read events, follow them live, see health and metrics.
    Read,
    /// Append events.
    Append,
    /// Manage keys, see the engine's own events, verify and back up.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Append, Self::Admin];

    /// Returns the scope as it stands in requests and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Append => "append",
            Self::Admin => "admin",
        }
    }

    /// Returns the scope with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Append => 2,
            Self::Admin => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// Returns the set of these scopes.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Tells whether the set allows what `wanted` names; `Admin` allows everything.
    #[must_use]
    pub const fn allows(self, wanted: Scope) -> bool {
        self.0 & (wanted.bit() | Scope::Admin.bit()) != 0
    }

    /// Tells whether the set has no scope.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the scopes that were named, without those that follow from them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let named = move |scope: &Scope| self.0 & scope.bit() != 0;
        Scope::ALL.into_iter().filter(named)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Scope::as_str))
            .finish()
    }
}

/// Whoever makes a request, after authentication. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Principal {
    identity: Arc<Identity>,
    ended: watch::Receiver<bool>,
}

/// What is known of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the key; `None` where authentication is switched off.
    pub key_id: Option<String>,
    /// The name of the key, for people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When the credentials end by themselves.
    pub expires_at: Option<Timestamp>,
}

/// The longest time between two looks at the clock while waiting for an expiry.
const EXPIRY_LOOK_MAX: Duration = Duration::from_secs(30);

impl Principal {
    /// Makes a principal whose credentials end when `ended` becomes true or its sender is gone.
    #[must_use]
    pub const fn new(identity: Arc<Identity>, ended: watch::Receiver<bool>) -> Self {
        Self { identity, ended }
    }

    /// Returns the principal of every request where authentication is switched off; it may do
    /// everything. `ended` says when that comes to an end.
    #[must_use]
    pub fn unauthenticated(ended: watch::Receiver<bool>) -> Self {
        let identity = Identity {
            key_id: None,
            name: "unauthenticated".to_owned(),
            scopes: Scopes::of(&[Scope::Admin]),
            expires_at: None,
        };
        Self::new(Arc::new(identity), ended)
    }

    /// Returns what is known of it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns its name in logs and reports.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Tells whether it may do what `scope` names.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.identity.scopes.allows(scope)
    }

    /// Returns which events it may see: the engine's own only with the scope admin.
    #[must_use]
    pub fn visibility(&self) -> Visibility {
        if self.allows(Scope::Admin) {
            Visibility::Everything
        } else {
            Visibility::Application
        }
    }

    /// Resolves when the credentials are revoked or expired. For connections that live longer
    /// than a request: they must end then.
    pub async fn ended(&self, clock: &dyn Clock) {
        let mut ended = self.ended.clone();
        loop {
            let left = match self.identity.expires_at {
                None => EXPIRY_LOOK_MAX,
                Some(at) => time_until(at, clock.now()),
            };
            if left.is_zero() {
                return;
            }
            let wait = ended.wait_for(|ended| *ended);
            // An answer means revoked, an error that the key ring is gone; only time passing
            // is a reason to look again.
            if tokio::time::timeout(left.min(EXPIRY_LOOK_MAX), wait)
                .await
                .is_ok()
            {
                return;
            }
        }
    }
}

fn time_until(at: Timestamp, now: Timestamp) -> Duration {
    let micros = at.as_micros().saturating_sub(now.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// A name for people, 1 to 100 characters.
    pub name: String,
    /// What it may do; at least one.
    pub scopes: Scopes,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key that was made. The only moment in which its secret is known.
#[derive(Clone)]
pub struct CreatedKey {
    /// What is known of it.
    pub info: KeyInfo,
    /// The key, as clients present it.
    pub secret: String,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not reach a log through a debug print.
        f.debug_struct("CreatedKey")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id, which is part of its text and no secret.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why presented credentials are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthenticationError {
    /// The text is no key, or no key of this store.
    #[error("the key is not known here")]
    Unknown,
    /// The key was revoked.
    #[error("the key was revoked")]
    Revoked,
    /// The key has expired.
    #[error("the key has expired")]
    Expired,
}

impl AuthenticationError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Unknown | Self::Revoked | Self::Expired => ErrorCode::Unauthenticated,
        }
    }
}

/// Why a key could not be made or revoked.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A field of the new key breaks a rule.
    #[error("{field} {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// There is no such key.
    #[error("there is no key {id}")]
    NotFound {
        /// The id as it came, cut to 64 characters.
        id: String,
    },
    /// The key is the last one with the scope admin that works.
    #[error("key {id} is the last one with the scope admin")]
    LastAdmin {
        /// The key.
        id: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes to make a key of")]
    Random,
    /// The act could not be recorded.
    #[error("recording the act failed")]
    Engine(#[from] EngineError),
    /// A fault of the key ring itself.
    #[error("the key ring failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl KeyError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::InvalidRequest,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::LastAdmin { .. } => ErrorCode::LastAdminKey,
            Self::Random | Self::Internal(_) => ErrorCode::Internal,
            Self::Engine(error) => error.code(),
        }
    }
}

/// What revoking a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revocation {
    /// It leaves a key that administers the server.
    #[default]
    Careful,
    /// It may revoke the last key that administers the server.
    Forced,
}

/// Knows the keys of a store: a port, so that a door needs not know how keys are kept.
pub trait KeyRing: Send + Sync + fmt::Debug + 'static {
    /// Returns who presents this key. Does not wait and takes the same time whatever part of a
    /// wrong secret is right.
    ///
    /// # Errors
    /// [`AuthenticationError`] says what is wrong, for logs; clients need not be told.
    fn authenticate(&self, presented: &str) -> Result<Principal, AuthenticationError>;

    /// Makes a key. It is durable and works when this returns.
    ///
    /// # Errors
    /// See [`KeyError`].
    fn create<'a>(
        &'a self,
        key: NewKey,
        by: &'a Principal,
    ) -> BoxFuture<'a, Result<CreatedKey, KeyError>>;

    /// Returns all keys, also those that ended, oldest first.
    fn list(&self) -> Vec<KeyInfo>;

    /// Revokes a key. When this returns it no longer works, and connections that were opened
    /// with it have been told. Revoking a revoked key changes nothing. Of several that are revoked
    /// at once through one ring, one that administers the server is left unless that is forced.
    ///
    /// # Errors
    /// See [`KeyError`].
    fn revoke<'a>(
        &'a self,
        id: &'a str,
        revocation: Revocation,
        by: &'a Principal,
    ) -> BoxFuture<'a, Result<KeyInfo, KeyError>>;
}

#[cfg(test)]
mod tests {
    use factum_model::LogicalClock;

    use super::*;

    #[test]
    fn admin_implies_the_other_scopes() {
        assert!(Scopes::of(&[Scope::Admin]).allows(Scope::Read));
        assert!(Scopes::of(&[Scope::Admin]).allows(Scope::Append));
        assert!(!Scopes::of(&[Scope::Read]).allows(Scope::Append));
        assert!(!Scopes::of(&[Scope::Read, Scope::Append]).allows(Scope::Admin));
        assert_eq!(Scope::from_name("append"), Some(Scope::Append));
        assert_eq!(Scope::from_name("Append"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_end_when_revoked_or_expired() {
        let clock = LogicalClock::at(Timestamp::from_micros(0).unwrap());
        let (revoke, ended) = watch::channel(false);
        let identity = |expires_at| {
            Arc::new(Identity {
                key_id: None,
                name: "x".to_owned(),
                scopes: Scopes::default(),
                expires_at,
            })
        };
        let expired = Principal::new(identity(Timestamp::from_micros(0)), ended.clone());
        expired.ended(&clock).await;
        let lasting = Principal::new(identity(None), ended);
        let soon = tokio::time::timeout(Duration::from_secs(60), lasting.ended(&clock)).await;
        assert!(soon.is_err());
        revoke.send_replace(true);
        lasting.ended(&clock).await;
    }
}
