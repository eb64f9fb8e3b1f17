//! What is on record: lists of deliveries and dead letters, and acts on dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use factum_store::{Batch, Change, Direction, Due, Precondition, Put, Record, RecordScan};

use super::dead_letter::{
    DeadLetter, DeadLetterChoice, DeadLetterFilter, DeadLetterGroup, DeadLetterPage,
    DeadLetterStatus, Moved,
};
use super::error::DeliveriesError;
use super::record::{DEAD_LETTERS, DELIVERIES, DeliveryKey, DeliveryRecord, DeliveryStatus};
use super::redrive::RedriveRate;
use super::runner::Deliveries;

/// Which deliveries are meant. Every condition that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// Those of a rule.
    pub rule: Option<String>,
    /// Those of a target.
    pub target: Option<String>,
    /// Those of an event.
    pub event: Option<String>,
    /// Those that stand so.
    pub status: Option<DeliveryStatus>,
}

impl DeliveryFilter {
    fn matches(&self, record: &DeliveryRecord) -> bool {
        let is = |wanted: &Option<String>, actual: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == actual)
        };
        is(&self.rule, &record.rule)
            && is(&self.target, &record.target)
            && is(&self.event, &record.event_id)
            && self.status.is_none_or(|status| status == record.status)
    }
}

/// A page of deliveries, the newest events first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<DeliveryRecord>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<DeliveryKey>,
}

/// How many records one page looks at in vain.
const LOOKED_AT_MAX: usize = 20_000;
/// How many records are read or changed at once.
const BATCH: usize = 250;

impl Deliveries {
    /// Lists deliveries, the newest events first.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn list(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryKey>,
        limit: usize,
    ) -> Result<DeliveryPage, DeliveriesError> {
        let (records, next) = self
            .page(DELIVERIES, (after, limit), |record| {
                let record: DeliveryRecord = serde_json::from_slice(&record.body).ok()?;
                filter.matches(&record).then_some(record)
            })
            .await?;
        Ok(DeliveryPage {
            deliveries: records,
            next,
        })
    }

    /// Returns a delivery.
    ///
    /// # Errors
    /// [`DeliveriesError::NotFound`], also for one that is no longer kept.
    pub async fn get(&self, key: DeliveryKey) -> Result<DeliveryRecord, DeliveriesError> {
        let record = self.shared.state.record(key.record(DELIVERIES)?).await?;
        let record = record.ok_or_else(|| not_found("delivery", key))?;
        Ok(serde_json::from_slice(&record.body)?)
    }

    /// Lists dead letters, the newest events first.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<DeliveryKey>,
        limit: usize,
    ) -> Result<DeadLetterPage, DeliveriesError> {
        let (letters, next) = self
            .page(DEAD_LETTERS, (after, limit), |record| {
                let letter: DeadLetter = serde_json::from_slice(&record.body).ok()?;
                filter.matches(&letter).then_some(letter)
            })
            .await?;
        Ok(DeadLetterPage { letters, next })
    }

    /// Returns a dead letter.
    ///
    /// # Errors
    /// [`DeliveriesError::NotFound`].
    pub async fn dead_letter(&self, key: DeliveryKey) -> Result<DeadLetter, DeliveriesError> {
        let record = self.shared.state.record(key.record(DEAD_LETTERS)?).await?;
        let record = record.ok_or_else(|| not_found("dead letter", key))?;
        Ok(serde_json::from_slice(&record.body)?)
    }

    /// Counts dead letters by what they died of, the largest groups first.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn dead_letter_groups(
        &self,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetterGroup>, DeliveriesError> {
        let mut groups: BTreeMap<String, DeadLetterGroup> = BTreeMap::new();
        self.each_dead_letter(|_, letter| {
            if filter.matches(&letter)
                && let Some(key) = letter.key()
            {
                let group = groups.entry(letter.group.clone());
                let group = group.or_insert_with(|| DeadLetterGroup::of(&letter, key));
                group.add(&letter);
            }
        })
        .await?;
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.n_letters()));
        Ok(groups)
    }

    /// Has dead letters tried again: those that wait for somebody to decide, and those that were
    /// given up. In a dry run nothing is changed.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn retry(
        &self,
        choice: &DeadLetterChoice,
        rate: RedriveRate,
        (by, dry_run): (&str, bool),
    ) -> Result<Moved, DeliveriesError> {
        let mut n_set: u32 = 0;
        let moved = self.change(choice, dry_run, |letter| {
            let may = matches!(
                letter.status,
                DeadLetterStatus::PendingRetry | DeadLetterStatus::PermanentFailure
            );
            if !may {
                return None;
            }
            letter.status = DeadLetterStatus::Retrying;
            letter.reason = None;
            letter.changed_by = Some(by.to_owned());
            let wait = rate.wait(n_set);
            n_set = n_set.saturating_add(1);
            Some(Due::After(wait))
        });
        let moved = moved.await?;
        self.shared.redrive.notify_one();
        Ok(moved)
    }

    /// Decides that dead letters will not be delivered.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn give_up(
        &self,
        choice: &DeadLetterChoice,
        reason: &str,
        (by, dry_run): (&str, bool),
    ) -> Result<Moved, DeliveriesError> {
        if reason.is_empty() || reason.chars().count() > 500 {
            return Err(DeliveriesError::Invalid {
                field: "reason",
                rule: "must have 1 to 500 characters",
            });
        }
        self.change(choice, dry_run, |letter| {
            if letter.status != DeadLetterStatus::PendingRetry {
                return None;
            }
            letter.status = DeadLetterStatus::PermanentFailure;
            letter.reason = Some(reason.to_owned());
            letter.changed_by = Some(by.to_owned());
            Some(Due::Never)
        })
        .await
    }

    /// Deletes dead letters that are settled: delivered after all, or given up.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn purge(
        &self,
        choice: &DeadLetterChoice,
        dry_run: bool,
    ) -> Result<Moved, DeliveriesError> {
        let mut moved = Moved::default();
        let mut changes = Vec::new();
        for (record, letter) in self.chosen(choice).await? {
            moved.matched += 1;
            let settled = matches!(
                letter.status,
                DeadLetterStatus::Resolved | DeadLetterStatus::PermanentFailure
            );
            if settled {
                moved.changed += 1;
                let version = Precondition::Version(record.version);
                changes.push(Change::delete(record.id, version));
            }
        }
        if !dry_run {
            moved.changed = self.apply(changes).await?;
        }
        Ok(moved)
    }

    async fn change(
        &self,
        choice: &DeadLetterChoice,
        dry_run: bool,
        mut change: impl FnMut(&mut DeadLetter) -> Option<Due>,
    ) -> Result<Moved, DeliveriesError> {
        let mut moved = Moved::default();
        let mut changes = Vec::new();
        let mut chosen = self.chosen(choice).await?;
        // The oldest first, as they were appended.
        chosen.sort_by(|(left, _), (right, _)| left.id.cmp(&right.id));
        for (record, mut letter) in chosen {
            moved.matched += 1;
            let Some(due) = change(&mut letter) else {
                continue;
            };
            moved.changed += 1;
            let put = Put::new(serde_json::to_vec(&letter)?).due(due);
            let version = Precondition::Version(record.version);
            changes.push(Change::put(record.id, version, put));
        }
        if !dry_run {
            moved.changed = self.apply(changes).await?;
        }
        Ok(moved)
    }

    /// Makes changes, each for itself if one of several is refused. Returns how many were made.
    async fn apply(&self, changes: Vec<Change>) -> Result<usize, DeliveriesError> {
        let mut n_made = 0;
        for part in changes.chunks(BATCH) {
            let applied = self.shared.state.apply(Batch::of(part.to_vec())).await;
            match applied {
                Ok(_) => n_made += part.len(),
                Err(factum_store::StateError::Conflict { .. }) => {
                    for change in part {
                        let alone = Batch::of(vec![change.clone()]);
                        match self.shared.state.apply(alone).await {
                            Ok(_) => n_made += 1,
                            // Somebody else has changed it meanwhile; theirs holds.
                            Err(factum_store::StateError::Conflict { .. }) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(n_made)
    }

    async fn chosen(
        &self,
        choice: &DeadLetterChoice,
    ) -> Result<Vec<(Record, DeadLetter)>, DeliveriesError> {
        let mut chosen = Vec::new();
        match choice {
            DeadLetterChoice::Keys(keys) => {
                for key in keys {
                    let record = self.shared.state.record(key.record(DEAD_LETTERS)?).await?;
                    let record = record.ok_or_else(|| not_found("dead letter", *key))?;
                    let letter = serde_json::from_slice(&record.body)?;
                    chosen.push((record, letter));
                }
            }
            DeadLetterChoice::Matching(filter) => {
                self.each_dead_letter(|record, letter| {
                    if filter.matches(&letter) {
                        chosen.push((record, letter));
                    }
                })
                .await?;
            }
        }
        Ok(chosen)
    }

    /// Calls `each` with every dead letter, the oldest events first.
    pub(super) async fn each_dead_letter(
        &self,
        mut each: impl FnMut(Record, DeadLetter),
    ) -> Result<(), DeliveriesError> {
        let mut after = None;
        loop {
            let page = self.shared.state.scan(RecordScan {
                after,
                limit: BATCH,
                ..RecordScan::all(DEAD_LETTERS.parse()?)
            });
            let page = page.await?;
            for record in page.records {
                match serde_json::from_slice::<DeadLetter>(&record.body) {
                    Ok(letter) => each(record, letter),
                    Err(error) => {
                        tracing::error!(key = %record.id.key, %error, "a dead letter cannot be read");
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn page<T>(
        &self,
        kind: &'static str,
        (after, limit): (Option<DeliveryKey>, usize),
        mut read: impl FnMut(&Record) -> Option<T>,
    ) -> Result<(Vec<T>, Option<DeliveryKey>), DeliveriesError> {
        let limit = limit.clamp(1, 1000);
        let mut found = Vec::new();
        let mut looked_at = 0;
        let mut after = after.map(DeliveryKey::key).transpose()?;
        loop {
            let page = self.shared.state.scan(RecordScan {
                after,
                limit: BATCH,
                direction: Direction::Backwards,
                ..RecordScan::all(kind.parse()?)
            });
            let page = page.await?;
            for record in &page.records {
                looked_at += 1;
                found.extend(read(record));
                let is_last = found.len() >= limit || looked_at >= LOOKED_AT_MAX;
                if is_last {
                    let key = record.id.key.as_str().trim_start_matches('0');
                    return Ok((found, key.parse().ok()));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok((found, None));
            }
        }
    }
}

impl DeadLetterGroup {
    fn of(letter: &DeadLetter, example: DeliveryKey) -> Self {
        Self {
            group: letter.group.clone(),
            rule: letter.delivery.rule.clone(),
            target: letter.delivery.target.clone(),
            class: letter.cause.class.clone(),
            message: letter.cause.normalised(),
            pending_retry: 0,
            retrying: 0,
            resolved: 0,
            permanent_failure: 0,
            first_micros: letter.dead_micros,
            last_micros: letter.dead_micros,
            example,
        }
    }

    fn add(&mut self, letter: &DeadLetter) {
        let count = match letter.status {
            DeadLetterStatus::PendingRetry => &mut self.pending_retry,
            DeadLetterStatus::Retrying => &mut self.retrying,
            DeadLetterStatus::Resolved => &mut self.resolved,
            DeadLetterStatus::PermanentFailure => &mut self.permanent_failure,
        };
        *count += 1;
        self.first_micros = self.first_micros.min(letter.dead_micros);
        self.last_micros = self.last_micros.max(letter.dead_micros);
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn n_letters(&self) -> u64 {
        self.pending_retry + self.retrying + self.resolved + self.permanent_failure
    }
}

impl RedriveRate {
    /// Returns when the dead letter with this index is due.
    fn wait(self, index: u32) -> Duration {
        self.per_second().map_or(Duration::ZERO, |rate| {
            Duration::from_secs(1).saturating_mul(index) / rate
        })
    }
}

fn not_found(what: &'static str, key: DeliveryKey) -> DeliveriesError {
    DeliveriesError::NotFound {
        what,
        id: key.to_string(),
    }
}
