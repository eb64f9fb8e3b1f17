//! The stores that a log can move between.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use factum_store::{EventStore, ImportTarget, Lineage};
use factum_store_embedded::{EmbeddedImport, EmbeddedStore, ImportOpenError, Options};
use factum_store_postgres::{
    ImportOpenError as PostgresImportError, PostgresImport, Setup, moved_to,
};

use crate::config::without_password;
use crate::exit::Failure;
use crate::serving::{explained_directory, explained_postgres, open_store_read_only};

/// A store, by name.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A directory.
    Directory(PathBuf),
    /// A log in a PostgreSQL.
    Postgres(Box<factum_store_postgres::Options>),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// A directory that is in use is copied meanwhile.
    pub(crate) follow: bool,
    /// The most events that are written together.
    pub(crate) batch_events_max: usize,
}

impl Plan {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let (Place::Directory(from), Place::Directory(to)) = (&self.from, &self.to) {
            let [from, to] = [from, to].map(|path| path.canonicalize().ok());
            if from.is_some() && from == to {
                let message = "source and target are the same directory".to_owned();
                let hint = "name another one with --to".to_owned();
                return Err(Failure::Usage { message, hint }.into());
            }
        }
        Ok(())
    }
}

impl Place {
    /// Reads what a user names.
    pub(crate) fn of(text: &str, schema: &str) -> Self {
        let is_url = ["postgresql://", "postgres://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        if !is_url {
            let path = PathBuf::from(text);
            return Self::Directory(std::path::absolute(&path).unwrap_or(path));
        }
        let options = factum_store_postgres::Options {
            schema: schema.to_owned(),
            ..factum_store_postgres::Options::at(text)
        };
        Self::Postgres(Box::new(options))
    }

    /// Returns the place as people may see it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Postgres(options) => without_password(&options.url),
        }
    }

    /// Says what to do when the log is there.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::Directory(path) => format!("next: factum serve --data {}", path.display()),
            Self::Postgres(_) => {
                "next: factum postgres init --application-role ROLE, then factum serve --postgres URL"
                    .to_owned()
            }
        }
    }

    /// Returns where the log was moved to before; what cannot be asked was not moved.
    pub(crate) async fn moved_to(&self) -> Option<String> {
        match self {
            Self::Directory(path) => {
                let to = std::fs::read_to_string(path.join("MOVED")).ok()?;
                Some(to.trim().to_owned())
            }
            Self::Postgres(options) => moved_to(options).await.ok().flatten(),
        }
    }

    /// Opens a store to look at it.
    pub(crate) async fn open_to_read(&self) -> anyhow::Result<Arc<dyn EventStore>> {
        Ok(match self {
            Self::Directory(path) => Arc::new(open_store_read_only(path)?),
            Self::Postgres(options) => {
                let opened = factum_store_postgres::PostgresStore::open((**options).clone()).await;
                Arc::new(opened.map_err(|error| explained_postgres(&self.shown(), error))?)
            }
        })
    }

    /// Begins an import, or goes on with it.
    pub(crate) async fn begin(&self, origin: &Lineage) -> anyhow::Result<Box<dyn ImportTarget>> {
        match self {
            Self::Directory(path) => {
                let begun = EmbeddedImport::begin(Options::at(path), origin);
                let import = begun.map_err(|error| match error {
                    ImportOpenError::Open(error) => explained_directory(path, error),
                    error @ (ImportOpenError::NotEmpty | ImportOpenError::OtherOrigin) => {
                        self.refused(&error.to_string())
                    }
                })?;
                Ok(Box::new(import))
            }
            Self::Postgres(options) => {
                let setup = Setup {
                    schema: options.schema.clone(),
                    ..Setup::default()
                };
                let shown = self.shown();
                let set_up = setup.run(&options.url).await;
                set_up.map_err(|error| explained_postgres(&shown, error))?;
                let begun = PostgresImport::begin((**options).clone(), origin).await;
                let import = begun.map_err(|error| match error {
                    PostgresImportError::Open(error) => explained_postgres(&shown, error),
                    error @ (PostgresImportError::NotEmpty
                    | PostgresImportError::OtherOrigin
                    | PostgresImportError::NotOwner) => self.refused(&error.to_string()),
                })?;
                Ok(Box::new(import))
            }
        }
    }

    fn refused(&self, why: &str) -> anyhow::Error {
        let hint = match self {
            Self::Directory(_) => "name a directory that is new or empty with --to",
            Self::Postgres(_) => "name another database or --to-schema, and connect as its owner",
        };
        Failure::Incomplete {
            message: format!("{}: {why}; nothing was changed", self.shown()),
            hint: hint.to_owned(),
        }
        .into()
    }
}

/// Takes a directory for this process alone; `None` while another one has it. A directory that
/// was moved before takes no events, so it is enough to read it.
pub(crate) fn take(path: &Path) -> anyhow::Result<Option<EmbeddedStore>> {
    use factum_store_embedded::{LockError, OpenError};
    if !path.is_dir() {
        let message = format!("there is no directory {}", path.display());
        let hint = "name the store to move with --from".to_owned();
        return Err(Failure::NotFound { message, hint }.into());
    }
    if !path.join("MANIFEST").exists() {
        // It must not become a store by being looked at.
        return Ok(Some(open_store_read_only(path)?));
    }
    let options = Options {
        index_documents: false,
        ..Options::at(path)
    };
    match EmbeddedStore::open(options) {
        Ok(store) => Ok(Some(store)),
        Err(OpenError::Locked(LockError::Held { .. })) => Ok(None),
        Err(OpenError::Moved { .. }) => Ok(Some(open_store_read_only(path)?)),
        Err(error) => Err(explained_directory(path, error)),
    }
}
