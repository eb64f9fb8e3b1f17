//! The bounds on what one request may bring, and the checks that are the same for every store.

use std::collections::HashSet;
use std::time::Duration;

use factum_model::LimitExceeded;

use super::batch::{Action, Batch};
use super::error::StateError;
use super::lease::{Acquire, LeaseScan};
use super::name::RecordKey;
use super::queue::Claim;
use super::record::{GroupScan, RecordScan};

/// The bounds on what one request may bring. Those of names are in their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// The largest body of a record.
    pub body_bytes_max: usize,
    /// The largest number of changes in a batch.
    pub batch_changes_max: usize,
    /// The largest number of leases that a batch names.
    pub batch_fences_max: usize,
    /// The largest batch, names and bodies together.
    pub batch_bytes_max: usize,
    /// The largest number of records, groups or leases in a page or a claim.
    pub page_records_max: usize,
    /// A page or a claim ends after the record with which its bodies reach this many bytes.
    pub page_bytes_max: usize,
    /// The longest lease or claim.
    pub hold_max: Duration,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            batch_changes_max: 1000,
            batch_fences_max: 16,
            batch_bytes_max: 8 << 20,
            page_records_max: 1000,
            page_bytes_max: 8 << 20,
            hold_max: Duration::from_hours(24),
        }
    }
}

fn within(what: &'static str, limit: usize, actual: usize) -> Result<(), StateError> {
    if actual > limit {
        let exceeded = LimitExceeded {
            what,
            limit,
            actual,
        };
        return Err(exceeded.into());
    }
    Ok(())
}

impl StateLimits {
    /// Checks a batch.
    ///
    /// # Errors
    /// `limit_exceeded`, or `invalid_request` when a record stands twice.
    pub fn check_batch(&self, batch: &Batch) -> Result<(), StateError> {
        let n_changes = batch.changes.len();
        within("number of changes", self.batch_changes_max, n_changes)?;
        let n_fences = batch.fences.len();
        within("number of fences", self.batch_fences_max, n_fences)?;
        let mut bytes: usize = 0;
        let mut records = HashSet::with_capacity(n_changes);
        for change in &batch.changes {
            bytes += change.id.kind.as_str().len() + change.id.key.as_str().len();
            match &change.action {
                Action::Put(put) => {
                    let length = put.body.len();
                    within("body size in bytes", self.body_bytes_max, length)?;
                    let group = put.group.as_ref();
                    bytes += length + group.map_or(0, |group| group.as_str().len());
                }
                Action::Extend(hold) => self.check_hold(*hold)?,
                Action::Delete | Action::Check => {}
            }
            if !records.insert(&change.id) {
                let rule = "a record stands twice in the batch";
                return Err(StateError::Invalid { rule });
            }
        }
        within("batch size in bytes", self.batch_bytes_max, bytes)
    }

    fn check_hold(&self, hold: Duration) -> Result<(), StateError> {
        if hold.is_zero() {
            let rule = "a lease or claim of no duration";
            return Err(StateError::Invalid { rule });
        }
        let millis = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        let what = "duration of a lease or claim in milliseconds";
        within(what, millis(self.hold_max), millis(hold))
    }

    /// A prefix is the beginning of a name, so what no name has is not in it either.
    fn check_prefix(prefix: &str) -> Result<(), StateError> {
        within("prefix in bytes", RecordKey::BYTES_MAX, prefix.len())?;
        if prefix.contains(char::is_control) {
            let rule = "a prefix has a control character";
            return Err(StateError::Invalid { rule });
        }
        Ok(())
    }

    fn check_page(&self, limit: usize) -> Result<(), StateError> {
        if limit == 0 {
            let rule = "a page of no records";
            return Err(StateError::Invalid { rule });
        }
        within("number of records in a page", self.page_records_max, limit)
    }

    /// Checks a scan of records.
    ///
    /// # Errors
    /// `limit_exceeded`, or `invalid_request` when the page has no room or no key can have the
    /// prefix.
    pub fn check_scan(&self, scan: &RecordScan) -> Result<(), StateError> {
        Self::check_prefix(&scan.prefix)?;
        self.check_page(scan.limit)
    }

    /// Checks a scan of groups.
    ///
    /// # Errors
    /// As for records.
    pub fn check_groups(&self, scan: &GroupScan) -> Result<(), StateError> {
        self.check_page(scan.limit)
    }

    /// Checks a scan of leases.
    ///
    /// # Errors
    /// As for records.
    pub fn check_leases(&self, scan: &LeaseScan) -> Result<(), StateError> {
        Self::check_prefix(&scan.prefix)?;
        self.check_page(scan.limit)
    }

    /// Checks a claim.
    ///
    /// # Errors
    /// `limit_exceeded`, or `invalid_request` when it asks for nothing or for no time.
    pub fn check_claim(&self, claim: &Claim) -> Result<(), StateError> {
        self.check_page(claim.limit)?;
        self.check_hold(claim.visibility)
    }

    /// Checks what is asked for a lease.
    ///
    /// # Errors
    /// `limit_exceeded`, or `invalid_request` when it is for no time.
    pub fn check_acquire(&self, acquire: &Acquire) -> Result<(), StateError> {
        self.check_hold(acquire.ttl)
    }

    /// Checks for how long a lease is renewed.
    ///
    /// # Errors
    /// As for [`StateLimits::check_acquire`].
    pub fn check_renew(&self, ttl: Duration) -> Result<(), StateError> {
        self.check_hold(ttl)
    }
}
