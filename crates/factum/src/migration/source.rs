//! The source: taken at once, or followed while others write it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use factum_model::Position;
use factum_store::{EventStore as _, Lineage};
use factum_store_embedded::EmbeddedStore;
use factum_store_postgres::{PostgresStore, set_moved};

use crate::exit::Failure;
use crate::machine::now;
use crate::migration::place::{Place, take};
use crate::migration::watcher::Watcher;
use crate::serving::{explained_postgres, open_store_read_only};

/// How often a directory in use is looked at, at least; what a look takes counts thrice.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a look at a directory in use may go wrong in a row: its files change meanwhile.
const LOOKS_MAX: u32 = 20;
/// How long the nodes of a PostgreSQL may take to hear of its last appends.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A source.
pub(crate) enum Source {
    /// A directory that this process has alone.
    Taken(Box<EmbeddedStore>),
    /// A directory that another process writes.
    InUse,
    /// A log in PostgreSQL, which nodes may write.
    Postgres(Arc<PostgresStore>),
}

impl Source {
    /// Opens a source. A directory in use is one only if it is to be followed.
    pub(crate) async fn open(place: &Place, follow: bool) -> anyhow::Result<Self> {
        match place {
            Place::Directory(path) => match take(path)? {
                Some(store) => Ok(Self::Taken(Box::new(store))),
                None if follow => Ok(Self::InUse),
                None => Err(Failure::Incomplete {
                    message: format!("{}: a server has the directory open", path.display()),
                    hint: "stop it, or copy while it runs with --follow".to_owned(),
                }
                .into()),
            },
            Place::Postgres(options) => {
                let opened = PostgresStore::open((**options).clone()).await;
                let store = opened.map_err(|error| explained_postgres(&place.shown(), error))?;
                Ok(Self::Postgres(Arc::new(store)))
            }
        }
    }
}

/// A directory in use, as of a moment.
pub(crate) struct Look {
    pub(crate) store: EmbeddedStore,
    /// How long to wait before the next look.
    pub(crate) pause: Duration,
}

/// Looks at a directory in use. What was being written at that moment may look damaged; real
/// damage does so every time.
pub(crate) async fn look(path: &Path) -> anyhow::Result<Look> {
    let mut n_failures = 0;
    loop {
        let started = now();
        let opened = open_store_read_only(path);
        let failure = match opened {
            Ok(store) if store.health().damaged.is_empty() => {
                let pause = LOOK_EVERY.max(started.elapsed() * 3);
                return Ok(Look { store, pause });
            }
            Ok(_) => Failure::Damaged {
                message: format!("{} is damaged", path.display()),
                hint: "`factum verify` tells what is damaged".to_owned(),
            }
            .into(),
            Err(error) => error,
        };
        n_failures += 1;
        if n_failures >= LOOKS_MAX {
            return Err(failure);
        }
        tokio::time::sleep(LOOK_EVERY / 5).await;
    }
}

/// Returns the identity of a source.
pub(crate) async fn lineage(source: &Source, place: &Place) -> anyhow::Result<Lineage> {
    match (source, place) {
        (Source::Taken(store), _) => Ok(store.lineage()),
        (Source::Postgres(store), _) => Ok(store.lineage()),
        (Source::InUse, Place::Directory(path)) => Ok(look(path).await?.store.lineage()),
        (Source::InUse, Place::Postgres(_)) => {
            anyhow::bail!("a PostgreSQL is not a directory in use")
        }
    }
}

/// Closes a log in PostgreSQL for appends and returns its last position, once that can be read.
pub(crate) async fn close(
    store: &PostgresStore,
    place: &Place,
    to: &str,
    watcher: &Watcher,
) -> anyhow::Result<Option<Position>> {
    let Place::Postgres(options) = place else {
        anyhow::bail!("only a PostgreSQL is closed");
    };
    let head = set_moved(options, Some(to)).await;
    let head = head.with_context(|| format!("{}: closing it for appends", place.shown()))?;
    watcher.note("the source takes no appends from here on");
    let mut heads = store.watch_head();
    let seen = heads.wait_for(|seen| *seen >= head);
    tokio::time::timeout(HEAD_TIMEOUT, seen)
        .await
        .context("the last appends of the source were not seen in time")??;
    Ok(head)
}
