//! Compares what was copied, read back, with its source.

use factum_model::{Position, RecordedEvent};
use factum_store::{EventStore, ImportError, ImportTarget};
use futures_util::future::join;

use crate::copy::{CopyError, CopyOptions};
use crate::digest::{Digest, LogDigest};
use crate::progress::{Meter, Progress, Stage};

/// Two logs that were found to be the same up to a position, each with its digest.
#[derive(Debug, Clone)]
pub struct Comparison {
    options: CopyOptions,
    head: Option<Position>,
    source: LogDigest,
    target: LogDigest,
}

impl Comparison {
    /// Begins before the first event.
    #[must_use]
    pub fn new(options: CopyOptions) -> Self {
        Self {
            options,
            head: None,
            source: LogDigest::new(),
            target: LogDigest::new(),
        }
    }

    /// Returns the last position up to which the logs are the same.
    #[must_use]
    pub const fn head(&self) -> Option<Position> {
        self.head
    }

    /// Goes on up to a position. The future may be dropped at any time, and compares from there.
    ///
    /// # Errors
    /// [`CopyError::Differ`] with the first position at which they do; otherwise see
    /// [`CopyError`].
    pub async fn advance(
        &mut self,
        source: &dyn EventStore,
        target: &dyn ImportTarget,
        until: Option<Position>,
        progress: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<(), CopyError> {
        let Some(until) = until.filter(|until| self.head < Some(*until)) else {
            return Ok(());
        };
        let options = self.options;
        let mut meter = Meter::start(Stage::Compare, (self.head, Some(until)), progress);
        let (mut ours, mut theirs): (Vec<RecordedEvent>, Vec<RecordedEvent>) = Default::default();
        while self.head < Some(until) {
            // The pages of the two may end elsewhere; what is left of one waits for the other.
            let read_ours = async {
                if ours.is_empty() {
                    let page = options.read_source(source, self.head, until).await?;
                    ours = page.events;
                }
                Ok::<_, CopyError>(())
            };
            let read_theirs = async {
                if theirs.is_empty() {
                    let page = target.read_log(options.batch(self.head, until)).await;
                    theirs = page.map_err(ImportError::from)?.events;
                }
                Ok::<_, CopyError>(())
            };
            let (read_ours, read_theirs) = join(read_ours, read_theirs).await;
            read_ours?;
            read_theirs?;
            let n_common = ours.len().min(theirs.len());
            if n_common == 0 {
                let position = Position::after(self.head);
                return Err(CopyError::Differ { position });
            }
            for (ours, theirs) in ours.drain(..n_common).zip(theirs.drain(..n_common)) {
                self.add(&ours, &theirs)?;
            }
            meter.done(self.head);
        }
        Ok(())
    }

    fn add(&mut self, ours: &RecordedEvent, theirs: &RecordedEvent) -> Result<(), CopyError> {
        let position = Position::after(self.head);
        if ours.position != position || ours != theirs {
            return Err(CopyError::Differ { position });
        }
        self.source.add(ours);
        self.target.add(theirs);
        self.head = Some(position);
        Ok(())
    }

    /// Returns the digest that both have.
    ///
    /// # Errors
    /// [`CopyError::Differ`] when they have not, at the last position that was compared.
    pub fn finish(self) -> Result<Digest, CopyError> {
        let (source, target) = (self.source.finish(), self.target.finish());
        if source != target {
            let position = self.head.unwrap_or(Position::FIRST);
            return Err(CopyError::Differ { position });
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use factum_store::EventStore as _;

    use super::*;
    use crate::copy::copy;
    use crate::copy::tests::{List, SMALL, source};

    #[tokio::test]
    async fn what_is_not_the_same_is_found_with_its_position() {
        let source = source(10).await;
        let target = List::default();
        let until = source.head();
        copy(&source, &target, until, &SMALL, &mut |_| {})
            .await
            .unwrap();
        let target = List {
            falsify: Position::new(7),
            ..target
        };
        let mut comparison = Comparison::new(SMALL);
        let failed = comparison
            .advance(&source, &target, until, &mut |_| {})
            .await;
        match failed {
            Err(CopyError::Differ { position }) => assert_eq!(position.get(), 7),
            other => panic!("{other:?}"),
        }
        assert_eq!(comparison.head(), Position::new(6));
    }
}
