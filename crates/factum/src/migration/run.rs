//! One migration from its beginning, or from where the last one ended, to its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use factum_archive::{Comparison, CopyError, CopyOptions, Digest, copy};
use factum_model::{ErrorCode, Position};
use factum_store::{EventStore, ImportTarget};
use factum_store_embedded::EmbeddedStore;
use factum_store_postgres::set_moved;

use crate::exit::Failure;
use crate::migration::place::{Place, Plan, take};
use crate::migration::source::{Source, close, lineage, look};
use crate::migration::watcher::Watcher;
use crate::output::note;

/// How often in a row a copy of a directory in use may go wrong before that is believed.
const FAILURES_MAX: u32 = 10;
/// A source that is so few events ahead counts as caught up with.
const LAG_MAX: u64 = 10_000;

/// What was moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) head: u64,
    pub(crate) n_copied: u64,
    /// What source and target have in common; nothing when an earlier run had done it all.
    pub(crate) digest: Option<Digest>,
}

/// How far the switch from the source to the target is.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    /// The source was closed for appends.
    closed: AtomicBool,
    /// The target may be a store already.
    finishing: AtomicBool,
    /// There is something that can be gone on with.
    begun: AtomicBool,
}

impl Switch {
    /// Tells whether there is something that can be gone on with.
    pub(crate) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Opens a source in PostgreSQL again, if its log has certainly not moved.
    pub(crate) async fn undo(&self, from: &Place) {
        let undone = self.closed.load(Ordering::Relaxed) && !self.finishing.load(Ordering::Relaxed);
        let Place::Postgres(options) = from else {
            return;
        };
        if !undone {
            return;
        }
        match set_moved(options, None).await {
            Ok(_) => note("the source takes appends again"),
            Err(error) => note(format_args!(
                "the source is still closed for appends: {:#}",
                anyhow::Error::new(error)
            )),
        }
    }
}

/// A migration under way.
struct Migration<'a> {
    plan: &'a Plan,
    watcher: &'a Watcher,
    switch: &'a Switch,
    target: Box<dyn ImportTarget>,
    comparison: Comparison,
    options: CopyOptions,
}

/// Refuses a source that went elsewhere, and tells whether the target has the log already, because an earlier run was ended after its last
/// step and before it could say so.
pub(crate) async fn already_moved(plan: &Plan) -> anyhow::Result<Option<Moved>> {
    let Some(to) = plan.from.moved_to().await else {
        return Ok(None);
    };
    if to != plan.to.shown() {
        return Err(Failure::Incomplete {
            message: format!("{} was moved to {to} before", plan.from.shown()),
            hint: "move that one; of two copies each would write a history of its own".to_owned(),
        }
        .into());
    }
    if plan.to.moved_to().await.is_some() {
        return Ok(None);
    }
    // What does not open is no store yet, and what is wrong with it shows later.
    let Ok(target) = plan.to.open_to_read().await else {
        return Ok(None);
    };
    let source = plan.from.open_to_read().await?;
    let same = source.lineage() == target.lineage() && source.head() <= target.head();
    Ok(same.then(|| Moved {
        head: source.head().map_or(0, Position::get),
        n_copied: 0,
        digest: None,
    }))
}

/// Moves the log.
pub(crate) async fn migrate(
    plan: &Plan,
    watcher: &Watcher,
    switch: &Switch,
) -> anyhow::Result<Moved> {
    let source = Source::open(&plan.from, plan.follow).await?;
    let origin = lineage(&source, &plan.from).await?;
    let target = plan.to.begin(&origin).await?;
    switch.begun.store(true, Ordering::Relaxed);
    let before = target.head().map_or(0, Position::get);
    if before > 0 {
        watcher.note(&format!("going on after position {before}"));
    }
    let options = CopyOptions {
        batch_events_max: plan.batch_events_max,
        ..CopyOptions::default()
    };
    let mut migration = Migration {
        plan,
        watcher,
        switch,
        target,
        comparison: Comparison::new(options),
        options,
    };
    let head = migration.run(source).await?;
    Ok(Moved {
        head,
        n_copied: head - before,
        digest: Some(migration.comparison.finish()?),
    })
}

impl Migration<'_> {
    /// Copies, compares and switches; returns the number of events.
    async fn run(&mut self, source: Source) -> anyhow::Result<u64> {
        match source {
            Source::Taken(store) => self.end(&store).await?,
            Source::InUse => {
                let Place::Directory(path) = &self.plan.from else {
                    anyhow::bail!("a PostgreSQL is not a directory in use");
                };
                let store = self.follow(path).await?;
                self.end(&store).await?;
            }
            Source::Postgres(store) => {
                // As much as can be is done before the source is closed.
                loop {
                    let head = store.head();
                    self.advance(&*store, head).await?;
                    if lag(store.head(), head) < LAG_MAX {
                        break;
                    }
                }
                let to = self.plan.to.shown();
                self.switch.closed.store(true, Ordering::Relaxed);
                let head = close(&store, &self.plan.from, &to, self.watcher).await?;
                self.advance(&*store, head).await?;
                self.finish().await?;
                store.close().await;
            }
        }
        Ok(self.comparison.head().map_or(0, Position::get))
    }

    /// Copies and compares up to a position.
    async fn advance(
        &mut self,
        source: &dyn EventStore,
        until: Option<Position>,
    ) -> Result<(), CopyError> {
        let watcher = self.watcher;
        let mut show = |step: &factum_archive::Progress| watcher.show(step);
        copy(source, &*self.target, until, &self.options, &mut show).await?;
        let compared = self
            .comparison
            .advance(source, &*self.target, until, &mut show);
        compared.await
    }

    /// Copies a directory that another process writes, until that ends; then takes it.
    async fn follow(&mut self, path: &Path) -> anyhow::Result<EmbeddedStore> {
        let mut told = false;
        let mut n_failures = 0;
        loop {
            if let Some(store) = take(path)? {
                self.watcher
                    .note("the source was stopped; this is the switch");
                return Ok(store);
            }
            let look = look(path).await?;
            let until = look.store.settled();
            match self.advance(&look.store, until).await {
                Ok(()) => n_failures = 0,
                // Files change under a reader who is not told; what is damaged stays so.
                Err(CopyError::Source { .. } | CopyError::Missing { .. })
                    if n_failures < FAILURES_MAX =>
                {
                    n_failures += 1;
                }
                Err(error) => return Err(explained(error)),
            }
            if !told && n_failures == 0 {
                told = true;
                let head = until.map_or(0, Position::get);
                self.watcher.note(&format!(
                    "caught up at position {head} and following; stop the server to switch"
                ));
            }
            tokio::time::sleep(look.pause).await;
        }
    }

    /// Moves the rest of a directory that nobody else writes.
    async fn end(&mut self, store: &EmbeddedStore) -> anyhow::Result<()> {
        self.advance(store, store.head()).await.map_err(explained)?;
        // From here on the source is not written by anybody; a kill before the end leaves two
        // stores of which none opens for writing, and the next run ends it.
        self.switch.finishing.store(true, Ordering::Relaxed);
        store.mark_moved(&self.plan.to.shown())?;
        self.finish().await
    }

    async fn finish(&self) -> anyhow::Result<()> {
        self.switch.finishing.store(true, Ordering::Relaxed);
        self.target.finish().await?;
        self.target.close().await;
        Ok(())
    }
}

fn lag(now: Option<Position>, done: Option<Position>) -> u64 {
    let number = |position: Option<Position>| position.map_or(0, Position::get);
    number(now).saturating_sub(number(done))
}

/// Says what can be done about a copy that did not come to its end.
fn explained(error: CopyError) -> anyhow::Error {
    if error.code() != ErrorCode::Corrupt {
        return error.into();
    }
    let message = format!("{:#}", anyhow::Error::new(error));
    let hint = "`factum verify` tells what is wrong with the source; the target stays as it is";
    Failure::Damaged {
        message,
        hint: hint.to_owned(),
    }
    .into()
}
