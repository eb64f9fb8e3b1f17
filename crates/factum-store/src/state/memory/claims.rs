//! What is claimed, and what waits, by walking all records.

use std::collections::BTreeSet;

use factum_model::Timestamp;

use super::super::batch::later;
use super::super::name::{OwnerName, RecordGroup, RecordKind};
use super::super::queue::{Claim, ClaimOrder, Claimed, QueueStatus};
use super::super::record::{HeldClaim, RecordId, RecordVersion};
use super::{State, Stored};

impl State {
    pub(super) fn claim(&mut self, claim: &Claim, page_bytes_max: usize) -> Claimed {
        let now = self.now;
        let chosen = self.choose(claim, page_bytes_max);
        let version = RecordVersion::new(self.next_number());
        let mut records = Vec::new();
        for id in chosen {
            if let Some(stored) = self.records.get_mut(&id) {
                stored.version = version;
                stored.n_claims += 1;
                stored.claim = Some(HeldClaim {
                    owner: claim.owner.clone(),
                    until: later(now, claim.visibility),
                });
                records.push(stored.record(&id, now));
            }
        }
        let next_at = self.next_at(&claim.kind);
        Claimed {
            records,
            now,
            next_at,
        }
    }

    /// Returns the records that a claim takes, in the order in which it takes them.
    fn choose(&self, claim: &Claim, page_bytes_max: usize) -> Vec<RecordId> {
        let now = self.now;
        let mut due: Vec<_> = self
            .of_kind(&claim.kind)
            .filter(|(_, stored)| is_due(stored, now) && !stored.is_claimed(now))
            .collect();
        due.sort_by_key(|(id, stored)| (stored.due_at, *id));
        let mut busy: BTreeSet<&RecordGroup> = self
            .of_kind(&claim.kind)
            .filter(|(_, stored)| stored.is_claimed(now))
            .filter_map(|(_, stored)| stored.put.group.as_ref())
            .collect();
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for (id, stored) in due {
            if chosen.len() == claim.limit || bytes >= page_bytes_max {
                break;
            }
            if let Some(group) = &stored.put.group {
                let may = match claim.order {
                    ClaimOrder::Free => true,
                    ClaimOrder::OneAtATime => busy.insert(group),
                    ClaimOrder::InOrder => {
                        self.first_of(&claim.kind, group) == Some(id) && busy.insert(group)
                    }
                };
                if !may {
                    continue;
                }
            }
            bytes += stored.put.body.len();
            chosen.push(id.clone());
        }
        chosen
    }

    /// Returns the first record of a group, by key, that waits for anything.
    fn first_of<'a>(&'a self, kind: &'a RecordKind, group: &RecordGroup) -> Option<&'a RecordId> {
        let mut waiting = self.of_kind(kind).filter(|(_, stored)| {
            stored.put.group.as_ref() == Some(group) && stored.due_at.is_some()
        });
        waiting.next().map(|(id, _)| id)
    }

    pub(super) fn abandon(&mut self, kind: &RecordKind, owner: &OwnerName) -> u64 {
        let now = self.now;
        let version = RecordVersion::new(self.next_number());
        let mut n_abandoned = 0;
        for (id, stored) in &mut self.records {
            let held = stored.claim.as_ref().filter(|claim| claim.until > now);
            if id.kind == *kind && held.is_some_and(|claim| claim.owner == *owner) {
                stored.version = version;
                stored.claim = None;
                n_abandoned += 1;
            }
        }
        n_abandoned
    }

    pub(super) fn queue(&self, kind: &RecordKind) -> QueueStatus {
        let now = self.now;
        let mut status = QueueStatus {
            n_records: 0,
            n_waiting: 0,
            n_due: 0,
            n_claimed: 0,
            oldest_due_at: None,
            next_at: self.next_at(kind),
        };
        for (_, stored) in self.of_kind(kind) {
            status.n_records += 1;
            if stored.is_claimed(now) {
                status.n_claimed += 1;
            } else if is_due(stored, now) {
                status.n_due += 1;
                let oldest = [status.oldest_due_at, stored.due_at];
                status.oldest_due_at = oldest.into_iter().flatten().min();
            } else if stored.due_at.is_some() {
                status.n_waiting += 1;
            }
        }
        status
    }

    fn next_at(&self, kind: &RecordKind) -> Option<Timestamp> {
        let instants = self.of_kind(kind).flat_map(|(_, stored)| {
            let until = stored.claim.as_ref().map(|claim| claim.until);
            [stored.due_at, until]
        });
        instants.flatten().filter(|at| *at > self.now).min()
    }
}

fn is_due(stored: &Stored, now: Timestamp) -> bool {
    stored.due_at.is_some_and(|due_at| due_at <= now)
}
