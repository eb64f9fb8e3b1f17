//! Two stores of bookkeeping, one random history, one clock: whatever one answers, the other must.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use factum_model::LogicalClock;
use factum_store::{
    Acquire, Acquired, Action, Batch, Change, Claim, ClaimOrder, Claimed, Direction, Due, Epoch,
    Fence, GroupScan, Lease, LeaseScan, Precondition, Put, Record, RecordId, RecordScan,
    RecordVersion, StateError, StateStore,
};

use crate::random::Random;

/// A history that can be stopped, for example to close and open the subject again, and gone on.
///
/// Versions and epochs are each store's own. What is compared is which of them are the same, and
/// that epochs of a lease grow.
#[derive(Debug)]
pub struct StateHistory {
    seed: u64,
    step: u64,
    random: Random,
    clock: Arc<LogicalClock>,
    /// Versions of the model and what the subject calls them.
    versions: HashMap<RecordVersion, RecordVersion>,
    /// The same the other way.
    reversed: HashMap<RecordVersion, RecordVersion>,
    /// Records as they were seen at some time, by the model.
    seen: Vec<(RecordId, RecordVersion)>,
    /// Leases that were granted: by the model, and by the subject.
    leases: Vec<(Lease, Lease)>,
}

/// The model, and what is compared with it.
pub type Stores<'a> = (&'a Arc<dyn StateStore>, &'a Arc<dyn StateStore>);

impl StateHistory {
    /// Begins a history of two empty stores that use the same clock.
    #[must_use]
    pub fn new(seed: u64, clock: Arc<LogicalClock>) -> Self {
        Self {
            seed,
            step: 0,
            random: Random::seeded(seed),
            clock,
            versions: HashMap::new(),
            reversed: HashMap::new(),
            seen: Vec::new(),
            leases: Vec::new(),
        }
    }

    /// Takes some more steps.
    ///
    /// # Panics
    /// At the first difference, with the seed and the step.
    pub async fn go(&mut self, n_steps: u64, stores: Stores<'_>) {
        for _ in 0..n_steps {
            self.step += 1;
            match self.random.below(20) {
                0..6 => self.apply(stores).await,
                6..10 => self.claim(stores).await,
                10..12 => self.scan(stores).await,
                12..14 => self.lease(stores).await,
                14 => self.renew_or_release(stores).await,
                15 => self.abandon(stores).await,
                16 => self.look_around(stores).await,
                _ => self.pass_time(),
            }
        }
        self.compare_whole(stores).await;
    }

    fn compare<T: PartialEq + Debug>(&self, what: impl Debug, model: &T, subject: &T) {
        assert!(
            model == subject,
            "seed {} step {}: {what:?}\n  model:   {model:?}\n  subject: {subject:?}",
            self.seed,
            self.step
        );
    }

    /// Notes that two versions are the same, which they must be whenever they are met.
    fn same(&mut self, model: RecordVersion, subject: RecordVersion) {
        let known = *self.versions.entry(model).or_insert(subject);
        self.compare(("version", model), &known, &subject);
        let known = *self.reversed.entry(subject).or_insert(model);
        self.compare(("version of subject", subject), &known, &model);
    }

    fn compare_records(&mut self, what: impl Debug, model: &[Record], subject: &[Record]) {
        let anonymous = |records: &[Record]| -> Vec<_> {
            let no_version = RecordVersion::new(0);
            let records = records.iter().cloned();
            records
                .map(|record| Record {
                    version: no_version,
                    ..record
                })
                .collect()
        };
        self.compare(what, &anonymous(model), &anonymous(subject));
        for (ours, theirs) in model.iter().zip(subject) {
            self.same(ours.version, theirs.version);
            self.see(ours.id.clone(), ours.version);
        }
    }

    fn see(&mut self, id: RecordId, version: RecordVersion) {
        if self.seen.len() < 64 {
            self.seen.push((id, version));
            return;
        }
        let at = self.random.index(self.seen.len());
        self.seen[at] = (id, version);
    }

    fn compare_errors(&mut self, what: impl Debug, model: &StateError, subject: &StateError) {
        self.compare(&what, &model.code(), &subject.code());
        if let (
            StateError::Conflict { index, id, actual },
            StateError::Conflict {
                index: their_index,
                id: their_id,
                actual: theirs,
            },
        ) = (model, subject)
        {
            self.compare(&what, &(index, id), &(their_index, their_id));
            self.compare(&what, &actual.is_some(), &theirs.is_some());
            if let (Some(ours), Some(theirs)) = (actual, theirs) {
                self.same(*ours, *theirs);
            }
        }
        if let (StateError::LeaseLost { fence }, StateError::LeaseLost { fence: theirs }) =
            (model, subject)
        {
            self.compare(what, &fence.name, &theirs.name);
        }
    }

    fn pass_time(&mut self) {
        let micros = self.random.below(4_000_000);
        self.clock.advance(i64::try_from(micros).unwrap());
    }

    fn id(&mut self) -> RecordId {
        let kind = self.random.pick(&["q", "r"]).parse().unwrap();
        let key = format!("{:02}", self.random.below(16)).parse().unwrap();
        RecordId::new(kind, key)
    }

    fn put(&mut self) -> Put {
        let due = match self.random.below(6) {
            0 => Due::Never,
            1 => Due::At(self.near()),
            2 | 3 => Due::After(Duration::ZERO),
            _ => Due::After(Duration::from_millis(self.random.below(8000))),
        };
        let length = self.random.index(40);
        let group = self.random.below(5);
        Put {
            body: vec![u8::try_from(length).unwrap(); length],
            due,
            group: (group > 0).then(|| format!("g{group}").parse().unwrap()),
        }
    }

    fn near(&mut self) -> factum_model::Timestamp {
        use factum_model::Clock as _;
        let micros = i64::try_from(self.random.below(20_000_000)).unwrap();
        self.clock.now().saturating_add_micros(micros - 10_000_000)
    }

    /// Makes a change, in the words of the model.
    fn change(&mut self) -> Change {
        let mut id = self.id();
        let precondition = match self.random.below(6) {
            0 | 1 => Precondition::Any,
            2 => Precondition::Absent,
            _ => match self.random.index(self.seen.len().max(1)) {
                at if at < self.seen.len() => {
                    let (seen, version) = self.seen[at].clone();
                    id = seen;
                    Precondition::Version(version)
                }
                _ => Precondition::Any,
            },
        };
        let action = match self.random.below(10) {
            0..6 => Action::Put(self.put()),
            6 | 7 => Action::Delete,
            8 => Action::Extend(Duration::from_millis(1 + self.random.below(8000))),
            _ => Action::Check,
        };
        Change {
            id,
            precondition,
            action,
        }
    }

    async fn apply(&mut self, (model, subject): Stores<'_>) {
        let n_changes = self.random.below(4) + 1;
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..n_changes {
            let change = self.change();
            if self.random.one_in(30) || changes.iter().all(|other| other.id != change.id) {
                changes.push(change);
            }
        }
        let mut fences = (Vec::new(), Vec::new());
        while self.random.one_in(4) && !self.leases.is_empty() {
            let (ours, theirs) = self.random.pick(&self.leases);
            fences.0.push(ours.fence());
            fences.1.push(theirs.fence());
        }
        let translated = |change: &Change| match change.precondition {
            Precondition::Version(version) => Change {
                precondition: Precondition::Version(self.versions[&version]),
                ..change.clone()
            },
            Precondition::Any | Precondition::Absent => change.clone(),
        };
        let theirs = Batch {
            changes: changes.iter().map(translated).collect(),
            fences: fences.1,
        };
        let ours = Batch {
            changes: changes.clone(),
            fences: fences.0,
        };
        let what = ours.clone();
        match (model.apply(ours).await, subject.apply(theirs).await) {
            (Ok(ours), Ok(theirs)) => {
                self.compare(&what, &ours.at, &theirs.at);
                self.same(ours.version, theirs.version);
                for change in changes {
                    if matches!(change.action, Action::Put(_)) {
                        self.see(change.id, ours.version);
                    }
                }
            }
            (Err(ours), Err(theirs)) => self.compare_errors(what, &ours, &theirs),
            (ours, theirs) => self.compare(what, &ours, &theirs),
        }
    }

    async fn claim(&mut self, (model, subject): Stores<'_>) {
        let orders = [
            ClaimOrder::Free,
            ClaimOrder::OneAtATime,
            ClaimOrder::InOrder,
        ];
        let claim = Claim {
            kind: self.random.pick(&["q", "r"]).parse().unwrap(),
            owner: format!("w{}", self.random.below(3)).parse().unwrap(),
            limit: 1 + self.random.index(6),
            visibility: Duration::from_millis(1 + self.random.below(8000)),
            order: *self.random.pick(&orders),
        };
        let ours = model.claim(claim.clone()).await.unwrap();
        let theirs = subject.claim(claim.clone()).await.unwrap();
        let times = |claimed: &Claimed| (claimed.now, claimed.next_at);
        self.compare(&claim, &times(&ours), &times(&theirs));
        self.compare_records(claim, &ours.records, &theirs.records);
    }

    async fn abandon(&mut self, (model, subject): Stores<'_>) {
        let kind: factum_store::RecordKind = self.random.pick(&["q", "r"]).parse().unwrap();
        let owner: factum_store::OwnerName = format!("w{}", self.random.below(3)).parse().unwrap();
        let ours = model.abandon(kind.clone(), owner.clone()).await.unwrap();
        let theirs = subject.abandon(kind, owner).await.unwrap();
        self.compare("abandoned", &ours, &theirs);
    }

    async fn scan(&mut self, (model, subject): Stores<'_>) {
        let id = self.id();
        let key = |random: &mut Random| {
            let key = format!("{:02}", random.below(16)).parse().unwrap();
            random.one_in(3).then_some(key)
        };
        let scan = RecordScan {
            kind: id.kind,
            group: self.random.one_in(3).then(|| "g2".parse().unwrap()),
            prefix: (*self.random.pick(&["", "", "0", "1"])).to_owned(),
            from: key(&mut self.random),
            to: key(&mut self.random),
            direction: *self
                .random
                .pick(&[Direction::Forwards, Direction::Backwards]),
            after: key(&mut self.random),
            limit: 1 + self.random.index(20),
        };
        let ours = model.scan(scan.clone()).await.unwrap();
        let theirs = subject.scan(scan.clone()).await.unwrap();
        self.compare(&scan, &ours.next, &theirs.next);
        self.compare_records(scan, &ours.records, &theirs.records);
    }

    async fn lease(&mut self, (model, subject): Stores<'_>) {
        let acquire = Acquire {
            name: format!("l{}", self.random.below(4)).parse().unwrap(),
            owner: format!("w{}", self.random.below(3)).parse().unwrap(),
            ttl: Duration::from_millis(1 + self.random.below(8000)),
        };
        let ours = model.acquire(acquire.clone()).await.unwrap();
        let theirs = subject.acquire(acquire.clone()).await.unwrap();
        match (ours, theirs) {
            (Acquired::Granted(ours), Acquired::Granted(theirs)) => {
                self.compare_leases(&acquire, &ours, &theirs);
                let mut earlier = self.leases.iter().map(|(_, theirs)| theirs);
                let of_name = |lease: &&Lease| lease.name == theirs.name;
                let last = earlier.rfind(of_name).map(|lease| lease.epoch);
                assert!(Some(theirs.epoch) > last, "seed {}: {theirs:?}", self.seed);
                self.leases.push((ours, theirs));
            }
            (Acquired::Held(ours), Acquired::Held(theirs)) => {
                self.compare_leases(&acquire, &ours, &theirs);
            }
            (ours, theirs) => self.compare(acquire, &ours, &theirs),
        }
    }

    fn compare_leases(&self, what: impl Debug, ours: &Lease, theirs: &Lease) {
        let anonymous = |lease: &Lease| Lease {
            epoch: Epoch::new(0),
            ..lease.clone()
        };
        self.compare(&what, &anonymous(ours), &anonymous(theirs));
        // An epoch that is named again is the one that was granted.
        let granted = |lease: &(Lease, Lease)| lease.0.epoch == ours.epoch;
        if let Some((_, granted)) = self.leases.iter().find(|lease| granted(lease)) {
            self.compare(what, &granted.epoch, &theirs.epoch);
        }
    }

    async fn renew_or_release(&mut self, (model, subject): Stores<'_>) {
        if self.leases.is_empty() {
            return;
        }
        // Mostly recent ones, which may still be held.
        let n_back = self.random.index(self.leases.len().min(5)) + 1;
        let (ours, theirs) = &self.leases[self.leases.len() - n_back];
        let (ours, theirs): (Fence, Fence) = (ours.fence(), theirs.fence());
        if self.random.one_in(3) {
            model.release(ours).await.unwrap();
            subject.release(theirs).await.unwrap();
            return;
        }
        let ttl = Duration::from_millis(1 + self.random.below(8000));
        let what = ours.clone();
        match (
            model.renew(ours, ttl).await,
            subject.renew(theirs, ttl).await,
        ) {
            (Ok(ours), Ok(theirs)) => self.compare_leases(what, &ours, &theirs),
            (Err(ours), Err(theirs)) => self.compare_errors(what, &ours, &theirs),
            (ours, theirs) => self.compare(what, &ours, &theirs),
        }
    }

    async fn look_around(&mut self, (model, subject): Stores<'_>) {
        let (ours, theirs) = (model.now().await.unwrap(), subject.now().await.unwrap());
        self.compare("now", &ours, &theirs);
        for kind in ["q", "r"] {
            let kind: factum_store::RecordKind = kind.parse().unwrap();
            let ours = model.queue(kind.clone()).await.unwrap();
            let theirs = subject.queue(kind.clone()).await.unwrap();
            self.compare("queue", &ours, &theirs);
            let scan = GroupScan {
                kind,
                after: None,
                limit: 1 + self.random.index(5),
            };
            let ours = model.groups(scan.clone()).await.unwrap();
            let theirs = subject.groups(scan.clone()).await.unwrap();
            self.compare(scan, &ours, &theirs);
        }
        let scan = LeaseScan {
            prefix: (*self.random.pick(&["", "l", "l2"])).to_owned(),
            after: None,
            limit: 1 + self.random.index(5),
        };
        let ours = model.leases(scan.clone()).await.unwrap();
        let theirs = subject.leases(scan).await.unwrap();
        self.compare("next lease", &ours.next, &theirs.next);
        self.compare("leases", &ours.leases.len(), &theirs.leases.len());
        for (ours, theirs) in ours.leases.iter().zip(&theirs.leases) {
            self.compare_leases("lease", ours, theirs);
        }
    }

    async fn compare_whole(&mut self, (model, subject): Stores<'_>) {
        for kind in ["q", "r"] {
            let scan = RecordScan::all(kind.parse().unwrap());
            let ours = model.scan(scan.clone()).await.unwrap();
            let theirs = subject.scan(scan).await.unwrap();
            self.compare_records(kind, &ours.records, &theirs.records);
            for record in ours.records {
                let theirs = subject.record(record.id.clone()).await.unwrap();
                self.compare_records("record", &[record], theirs.as_slice());
            }
        }
        self.look_around((model, subject)).await;
    }
}
