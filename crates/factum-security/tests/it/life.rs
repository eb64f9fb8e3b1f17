//! The life of a key.

use std::sync::Arc;

use factum_engine::{
    AuthenticationError, Engine, EngineOptions, KeyError, KeyRing as _, NewKey, Principal,
    Revocation, Scope, Scopes,
};
use factum_model::{LogicalClock, Timestamp};
use factum_security::ApiKeys;
use factum_store::{LogRead, MemoryStore, Visibility};
use tokio::sync::watch;

const NOW: i64 = 1_767_225_600_000_000;

fn engine(clock: &Arc<LogicalClock>) -> Engine {
    Engine::new(
        Arc::new(MemoryStore::new()),
        EngineOptions {
            clock: Arc::clone(clock) as _,
            ..EngineOptions::default()
        },
    )
}

fn clock() -> Arc<LogicalClock> {
    Arc::new(LogicalClock::at(Timestamp::from_micros(NOW).unwrap()))
}

fn operator() -> (watch::Sender<bool>, Principal) {
    let (lasts, ended) = watch::channel(false);
    (lasts, Principal::unauthenticated(ended))
}

fn reader(expires_at: Option<Timestamp>) -> NewKey {
    NewKey {
        name: "reader".to_owned(),
        scopes: Scopes::of(&[Scope::Read]),
        expires_at,
    }
}

#[tokio::test]
async fn the_log_holds_no_secret() {
    let engine = engine(&clock());
    let keys = ApiKeys::open(engine.clone()).await.unwrap();
    let made = keys.ensure_admin("first").await.unwrap().unwrap();
    let secret = made.secret.rsplit('_').next().unwrap();
    assert!(!format!("{made:?}").contains(secret));
    let read = LogRead {
        visibility: Visibility::Everything,
        ..LogRead::forwards()
    };
    let events = engine.read_log(read).await.unwrap().events;
    assert_eq!(events.len(), 1);
    assert!(!events[0].payload().contains(secret));
    assert!(events[0].payload().contains(&made.info.id));
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let clock = clock();
    let keys = ApiKeys::open(engine(&clock)).await.unwrap();
    let (_lasts, by) = operator();
    let at = Timestamp::from_micros(NOW + 1_000_000).unwrap();
    let made = keys.create(reader(Some(at)), &by).await.unwrap();
    let principal = keys.authenticate(&made.secret).unwrap();
    assert!(principal.allows(Scope::Read) && !principal.allows(Scope::Append));
    clock.advance(1_000_000);
    let ended = keys.authenticate(&made.secret).unwrap_err();
    assert_eq!(ended, AuthenticationError::Expired);
    principal.ended(&*clock).await;
    assert!(keys.ensure_admin("again").await.unwrap().is_some());
}

#[tokio::test]
async fn another_ring_over_the_same_store_follows() {
    let clock = clock();
    let engine = engine(&clock);
    let ours = ApiKeys::open(engine.clone()).await.unwrap();
    let theirs = ApiKeys::open(engine.clone()).await.unwrap();
    let (_lasts, by) = operator();
    let made = ours.create(reader(None), &by).await.unwrap();
    let unknown = theirs.authenticate(&made.secret).unwrap_err();
    assert_eq!(unknown, AuthenticationError::Unknown);
    let check = async {
        let principal = loop {
            match theirs.authenticate(&made.secret) {
                Ok(principal) => break principal,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        ours.revoke(&made.info.id, Revocation::Careful, &by)
            .await
            .unwrap();
        principal.ended(&*clock).await;
        let revoked = theirs.authenticate(&made.secret).unwrap_err();
        assert_eq!(revoked, AuthenticationError::Revoked);
    };
    tokio::select! {
        followed = theirs.follow() => followed.unwrap(),
        () = check => {}
    }
}

#[tokio::test]
async fn the_last_admin_key_is_revoked_by_force_only() {
    let clock = clock();
    let keys = ApiKeys::open(engine(&clock)).await.unwrap();
    let (_lasts, by) = operator();
    let admin = |expires_at| NewKey {
        scopes: Scopes::of(&[Scope::Admin]),
        ..reader(expires_at)
    };
    let soon = Timestamp::from_micros(NOW + 1_000_000).unwrap();
    let [first, second, short] = [None, None, Some(soon)].map(|at| keys.create(admin(at), &by));
    let [first, second] = [first.await.unwrap(), second.await.unwrap()].map(|key| key.info.id);
    short.await.unwrap();
    let careful = |id| keys.revoke(id, Revocation::Careful, &by);
    careful(&first).await.unwrap();
    // The one that has expired is none.
    clock.advance(1_000_000);
    let error = careful(&second).await.unwrap_err();
    assert!(matches!(error, KeyError::LastAdmin { .. }), "{error}");
    let third = keys.create(admin(None), &by).await.unwrap().info.id;
    let (one, other) = tokio::join!(careful(&second), careful(&third));
    assert_eq!(
        [one.is_ok(), other.is_ok()]
            .iter()
            .filter(|done| **done)
            .count(),
        1
    );
    let left = if one.is_ok() { &third } else { &second };
    let revoked = keys.revoke(left, Revocation::Forced, &by).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    // To revoke what is revoked changes nothing.
    assert_eq!(careful(left).await.unwrap(), revoked);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let keys = ApiKeys::open(engine(&clock())).await.unwrap();
    let (_lasts, by) = operator();
    let nameless = NewKey {
        name: String::new(),
        ..reader(None)
    };
    let useless = NewKey {
        scopes: Scopes::default(),
        ..reader(None)
    };
    for wrong in [nameless, useless] {
        let error = keys.create(wrong, &by).await.unwrap_err();
        assert!(matches!(error, KeyError::Invalid { .. }));
    }
    // What is no key is not found, also if it could never be one.
    for id in ["none", "", "o\u{1}Õ"] {
        let error = keys.revoke(id, Revocation::Careful, &by).await.unwrap_err();
        assert!(matches!(error, KeyError::NotFound { .. }), "{error}");
    }
    assert!(keys.list().is_empty());
}
