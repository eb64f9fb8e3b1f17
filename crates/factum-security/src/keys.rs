//! The key ring: folds the events of keys and answers who presents one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use factum_engine::{
    AuthenticationError, CreatedKey, Engine, EngineError, Identity, KeyError, KeyInfo, KeyRing,
    LiveRead, LiveStart, LiveStep, NewKey, Principal, Revocation, Scope, Scopes,
};
use factum_model::{ErrorCode, ExpectedVersion, NewEvent, Position, RecordedEvent, Timestamp};
use factum_query::Filter;
use factum_store::{AppendRequest, BoxFuture, LogRead, ReadError, StreamExpectation, Visibility};
use thiserror::Error;
use tokio::sync::watch;

use crate::record::{self, CREATED, KeyEvent, REVOKED, RecordError};
use crate::secret::{FreshKey, SecretHash, split};

/// The key ring could not be opened or followed.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The log could not be read.
    #[error("reading the keys failed")]
    Engine(#[from] EngineError),
    /// The log could not be followed.
    #[error("following the keys failed")]
    Read(#[from] ReadError),
    /// An event of a key is not what the engine writes.
    #[error("the key event at position {position} cannot be read")]
    Record {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key could not be made.
    #[error("making a key failed")]
    Key(#[from] KeyError),
}

impl KeysError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Engine(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Record { .. } => ErrorCode::Internal,
            Self::Key(error) => error.code(),
        }
    }
}

/// The keys of a store. Cloning is cheap and gives another handle to the same ring.
#[derive(Clone)]
pub struct ApiKeys {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    ring: RwLock<Ring>,
}

#[derive(Default)]
struct Ring {
    keys: HashMap<String, Entry>,
    /// Everything up to here is folded.
    folded_to: Option<Position>,
}

struct Entry {
    info: KeyInfo,
    identity: Arc<Identity>,
    hash: SecretHash,
    /// This node is recording that it is revoked.
    being_revoked: bool,
    ended: watch::Sender<bool>,
}

impl Entry {
    /// Tells whether the key administers the server, and goes on doing so.
    fn administers(&self, now: Timestamp) -> bool {
        let info = &self.info;
        info.scopes.allows(Scope::Admin)
            && info.revoked_at.is_none()
            && !self.being_revoked
            && info.expires_at.is_none_or(|at| now < at)
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeys").finish_non_exhaustive()
    }
}

/// How long to wait before the keys are asked for again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl ApiKeys {
    /// Reads all keys of the store.
    ///
    /// # Errors
    /// [`KeysError`]; a key event that cannot be read is an error, since what it said about
    /// access is not known.
    pub async fn open(engine: Engine) -> Result<Self, KeysError> {
        let keys = Self {
            inner: Arc::new(Inner {
                engine,
                ring: RwLock::new(Ring::default()),
            }),
        };
        let mut after = None;
        loop {
            let page = keys.inner.engine.read_log(LogRead {
                filter: key_events(),
                visibility: Visibility::Everything,
                after,
                ..LogRead::forwards()
            });
            let page = page.await?;
            keys.fold(&page.events)?;
            keys.write().folded_to = page.scanned_to;
            if !page.has_more {
                return Ok(keys);
            }
            after = page.scanned_to;
        }
    }

    /// Makes an admin key if the store has none that works, and returns it; its secret is known
    /// at no other time.
    ///
    /// # Errors
    /// [`KeysError::Key`] when it cannot be made durable.
    pub async fn ensure_admin(&self, name: &str) -> Result<Option<CreatedKey>, KeysError> {
        let now = self.inner.engine.clock().now();
        let is_there = self.read().keys.values().any(|key| key.administers(now));
        if is_there {
            return Ok(None);
        }
        let key = NewKey {
            name: name.to_owned(),
            scopes: Scopes::of(&[Scope::Admin]),
            expires_at: None,
        };
        Ok(Some(self.create_as(key, "factum").await?))
    }

    /// Follows the log, so that keys made and revoked by other nodes are known here. Runs until
    /// the store is closed or the future is dropped.
    ///
    /// # Errors
    /// [`KeysError`]; what was known until then stays known.
    pub async fn follow(&self) -> Result<(), KeysError> {
        let start = match self.read().folded_to {
            Some(position) => LiveStart::After(position),
            None => LiveStart::Beginning,
        };
        let mut reader = self.inner.engine.live(LiveRead {
            filter: key_events(),
            visibility: Visibility::Everything,
            start,
            ..LiveRead::default()
        })?;
        loop {
            match reader.next().await {
                Ok(LiveStep::Batch { events, through }) => {
                    self.fold(&events)?;
                    self.write().folded_to = through;
                }
                Ok(LiveStep::CaughtUp { .. }) => {}
                Err(ReadError::Closed) => return Ok(()),
                // Who reaches no database serves nothing from it, and can be told of no key.
                Err(ReadError::Unavailable(error)) => {
                    tracing::warn!(%error, "changes of API keys are not seen for now");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Ring> {
        self.inner
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Ring> {
        self.inner
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn fold(&self, events: &[RecordedEvent]) -> Result<(), KeysError> {
        for event in events {
            let read = record::read(event).map_err(|source| KeysError::Record {
                position: event.position,
                source: Box::new(source),
            })?;
            if let Some(read) = read {
                self.write().apply(read);
            }
        }
        Ok(())
    }

    async fn create_as(&self, key: NewKey, by: &str) -> Result<CreatedKey, KeyError> {
        check(&key)?;
        let fresh = FreshKey::generate().ok_or(KeyError::Random)?;
        let mut info = KeyInfo {
            id: fresh.id,
            name: key.name,
            scopes: key.scopes,
            created_at: self.inner.engine.clock().now(),
            expires_at: key.expires_at,
            revoked_at: None,
        };
        let event = record::created(&info, fresh.hash, by).map_err(unwritable)?;
        info.created_at = self.record(event, ExpectedVersion::NoStream).await?;
        self.write().apply(KeyEvent::Created {
            info: info.clone(),
            hash: fresh.hash,
        });
        Ok(CreatedKey {
            info,
            secret: fresh.text,
        })
    }

    async fn revoke_as(
        &self,
        id: &str,
        revocation: Revocation,
        by: &str,
    ) -> Result<KeyInfo, KeyError> {
        let now = self.inner.engine.clock().now();
        let info = self.write().begin_revocation(id, revocation, now)?;
        if info.revoked_at.is_some() {
            return Ok(info);
        }
        // Also if recording fails, or is given up, the key is no longer being revoked.
        let _begun = BeingRevoked { ring: self, id };
        let event = record::revoked(id, by).map_err(unwritable)?;
        let at = self.record(event, ExpectedVersion::Exists).await?;
        self.write().apply(KeyEvent::Revoked {
            id: id.to_owned(),
            at,
        });
        Ok(KeyInfo {
            revoked_at: Some(at),
            ..info
        })
    }

    /// Appends an event of a key and returns when it was recorded.
    async fn record(
        &self,
        event: NewEvent,
        version: ExpectedVersion,
    ) -> Result<Timestamp, KeyError> {
        let expected = vec![StreamExpectation {
            stream: event.stream.clone(),
            version,
        }];
        let now = self.inner.engine.clock().now();
        let request = AppendRequest {
            events: vec![event],
            expected,
            ..AppendRequest::default()
        };
        let receipt = self.inner.engine.append_own(request).await?;
        Ok(receipt
            .events
            .first()
            .map_or(now, |event| event.recorded_at))
    }
}

/// A key that is being revoked, until this is dropped.
struct BeingRevoked<'a> {
    ring: &'a ApiKeys,
    id: &'a str,
}

impl Drop for BeingRevoked<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.ring.write().keys.get_mut(self.id) {
            entry.being_revoked = false;
        }
    }
}

impl Ring {
    /// Notes that a key is being revoked, if it may be and is not revoked already.
    fn begin_revocation(
        &mut self,
        id: &str,
        revocation: Revocation,
        now: Timestamp,
    ) -> Result<KeyInfo, KeyError> {
        let others_administer = || {
            let mut others = self.keys.iter().filter(|(other, _)| *other != id);
            others.any(|(_, entry)| entry.administers(now))
        };
        let entry = self.keys.get(id).ok_or_else(|| KeyError::NotFound {
            id: id.chars().take(64).collect(),
        })?;
        let careful = revocation == Revocation::Careful;
        if careful && entry.administers(now) && !others_administer() {
            return Err(KeyError::LastAdmin { id: id.to_owned() });
        }
        let info = entry.info.clone();
        if let Some(entry) = self.keys.get_mut(id) {
            entry.being_revoked = info.revoked_at.is_none();
        }
        Ok(info)
    }

    /// Takes over what an event says. Taking it over twice changes nothing, since an act of this
    /// node comes round again through the log.
    fn apply(&mut self, event: KeyEvent) {
        match event {
            KeyEvent::Created { info, hash } => {
                let identity = Arc::new(Identity {
                    key_id: Some(info.id.clone()),
                    name: info.name.clone(),
                    scopes: info.scopes,
                    expires_at: info.expires_at,
                });
                let id = info.id.clone();
                self.keys.entry(id).or_insert_with(|| Entry {
                    info,
                    identity,
                    hash,
                    being_revoked: false,
                    ended: watch::Sender::new(false),
                });
            }
            KeyEvent::Revoked { id, at } => {
                if let Some(entry) = self.keys.get_mut(&id) {
                    entry.info.revoked_at.get_or_insert(at);
                    entry.ended.send_replace(true);
                }
            }
        }
    }
}

impl KeyRing for ApiKeys {
    fn authenticate(&self, presented: &str) -> Result<Principal, AuthenticationError> {
        let (id, secret) = split(presented).ok_or(AuthenticationError::Unknown)?;
        let hash = SecretHash::of(secret);
        let ring = self.read();
        let entry = ring.keys.get(id).ok_or(AuthenticationError::Unknown)?;
        if !entry.hash.is(hash) {
            return Err(AuthenticationError::Unknown);
        }
        if entry.info.revoked_at.is_some() {
            return Err(AuthenticationError::Revoked);
        }
        if let Some(at) = entry.info.expires_at
            && at <= self.inner.engine.clock().now()
        {
            return Err(AuthenticationError::Expired);
        }
        Ok(Principal::new(
            Arc::clone(&entry.identity),
            entry.ended.subscribe(),
        ))
    }

    fn create<'a>(
        &'a self,
        key: NewKey,
        by: &'a Principal,
    ) -> BoxFuture<'a, Result<CreatedKey, KeyError>> {
        Box::pin(self.create_as(key, by.name()))
    }

    fn list(&self) -> Vec<KeyInfo> {
        let ring = self.read();
        let mut keys: Vec<KeyInfo> = ring.keys.values().map(|entry| entry.info.clone()).collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        keys
    }

    fn revoke<'a>(
        &'a self,
        id: &'a str,
        revocation: Revocation,
        by: &'a Principal,
    ) -> BoxFuture<'a, Result<KeyInfo, KeyError>> {
        Box::pin(self.revoke_as(id, revocation, by.name()))
    }
}

fn key_events() -> Filter {
    Filter {
        event_types: [CREATED, REVOKED]
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        aggregate_types: factum_model::SYSTEM_AGGREGATE_TYPE
            .parse()
            .into_iter()
            .collect(),
        ..Filter::default()
    }
}

fn check(key: &NewKey) -> Result<(), KeyError> {
    let invalid = |field, rule| Err(KeyError::Invalid { field, rule });
    if key.name.is_empty() || key.name.chars().count() > 100 {
        return invalid("name", "must have 1 to 100 characters");
    }
    if key.name.chars().any(char::is_control) {
        return invalid("name", "must have no control characters");
    }
    if key.scopes.is_empty() {
        return invalid("scopes", "must name at least one of read, append and admin");
    }
    Ok(())
}

/// An event of a key is made of checked fields; that it cannot be written is our own fault.
fn unwritable(error: RecordError) -> KeyError {
    KeyError::Internal(Box::new(error))
}
