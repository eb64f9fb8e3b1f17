//! Which instance a hint means.

use factum_model::Timestamp;

use crate::state::{InstanceStatus, SessionState};

/// What is looked at of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) hash: String,
    pub(crate) project: String,
    /// The epics that it worked on last.
    pub(crate) epics: Vec<String>,
    pub(crate) status: InstanceStatus,
    pub(crate) last_event_at: Timestamp,
}

impl Candidate {
    pub(crate) fn of(state: &SessionState, status: InstanceStatus) -> Self {
        let last = state.last_epic.as_ref().map(|epic| epic.epic_id.clone());
        let hash = state.instance_id.rsplit('-').next();
        Self {
            id: state.instance_id.clone(),
            hash: hash.unwrap_or_default().to_owned(),
            project: state.project.clone(),
            epics: state.current_epic.iter().cloned().chain(last).collect(),
            status,
            last_event_at: state.last_event_at,
        }
    }

    const fn is_open(&self) -> bool {
        match self.status {
            InstanceStatus::Active | InstanceStatus::Stale => true,
            InstanceStatus::Closed => false,
        }
    }
}

/// What a hint means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// This one.
    One(String),
    /// One of these, those first that were heard of last.
    Several(Vec<String>),
    /// None.
    Nobody,
}

/// Finds what a hint means: a whole id, the six digits that end one, a project, an epic, or else
/// the beginning of an id; without a hint the newest that is stale, or else the newest. The first
/// of these that anything fits decides. Closed ones count only where nothing else fits.
pub(crate) fn resolve(hint: Option<&str>, mut candidates: Vec<Candidate>) -> Resolution {
    candidates.sort_by(|a, b| {
        let newest_first = b.last_event_at.cmp(&a.last_event_at);
        newest_first.then_with(|| a.id.cmp(&b.id))
    });
    let Some(hint) = hint.map(str::trim).filter(|hint| !hint.is_empty()) else {
        return newest(&candidates);
    };
    let rules: [fn(&Candidate, &str) -> bool; 5] = [
        |candidate, hint| candidate.id == hint,
        |candidate, hint| candidate.hash == hint,
        |candidate, hint| candidate.project == hint,
        |candidate, hint| candidate.epics.iter().any(|epic| epic == hint),
        |candidate, hint| candidate.id.starts_with(hint),
    ];
    for rule in rules {
        let fitting: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| rule(candidate, hint))
            .collect();
        let open: Vec<&Candidate> = fitting
            .iter()
            .copied()
            .filter(|candidate| candidate.is_open())
            .collect();
        let chosen = if open.is_empty() { fitting } else { open };
        match chosen.as_slice() {
            [] => {}
            [only] => return Resolution::One(only.id.clone()),
            several => {
                let ids = several.iter().map(|candidate| candidate.id.clone());
                return Resolution::Several(ids.collect());
            }
        }
    }
    Resolution::Nobody
}

fn newest(candidates: &[Candidate]) -> Resolution {
    let with = |status: InstanceStatus| {
        let found = candidates
            .iter()
            .find(|candidate| candidate.status == status);
        found.map(|candidate| candidate.id.clone())
    };
    with(InstanceStatus::Stale)
        .or_else(|| with(InstanceStatus::Active))
        .or_else(|| with(InstanceStatus::Closed))
        .map_or(Resolution::Nobody, Resolution::One)
}

#[cfg(test)]
mod tests {
    use InstanceStatus::{Active, Closed, Stale};

    use super::*;

    fn candidates() -> Vec<Candidate> {
        let candidate = |id: &str, epics: &[&str], status, at| {
            let (front, hash) = id.rsplit_once('-').unwrap();
            Candidate {
                id: id.to_owned(),
                hash: hash.to_owned(),
                project: front.rsplit_once('-').unwrap().0.to_owned(),
                epics: epics.iter().map(|epic| (*epic).to_owned()).collect(),
                status,
                last_event_at: Timestamp::from_micros(at).unwrap(),
            }
        };
        vec![
            candidate("shop-PS-aaaaaa", &["epic-1"], Stale, 10),
            candidate("shop-PS-bbbbbb", &["epic-2"], Closed, 50),
            candidate("shop2-PS-cccccc", &["epic-3"], Active, 40),
            candidate("bank-PS-dddddd", &["epic-4"], Active, 30),
            candidate("bank-MS-eeeeee", &["epic-4"], Stale, 20),
            candidate("old-PS-ffffff", &["epic-5"], Closed, 5),
            candidate("abcdef-PS-111111", &[], Stale, 2),
            candidate("mail-PS-abcdef", &[], Stale, 1),
        ]
    }

    fn check(hint: Option<&str>, expected: &[&str]) {
        let found = match resolve(hint, candidates()) {
            Resolution::One(id) => vec![id],
            Resolution::Several(ids) => {
                assert!(ids.len() > 1);
                ids
            }
            Resolution::Nobody => Vec::new(),
        };
        assert_eq!(found, expected, "{hint:?}");
    }

    #[test]
    fn whole_id_hash_project_epic_and_prefix() {
        check(Some("shop-PS-aaaaaa"), &["shop-PS-aaaaaa"]);
        check(Some(" shop-PS-aaaaaa "), &["shop-PS-aaaaaa"]);
        check(Some("cccccc"), &["shop2-PS-cccccc"]);
        check(Some("shop2"), &["shop2-PS-cccccc"]);
        check(Some("epic-3"), &["shop2-PS-cccccc"]);
        check(Some("shop2-P"), &["shop2-PS-cccccc"]);
        check(Some("bank-M"), &["bank-MS-eeeeee"]);
    }

    #[test]
    fn a_project_wins_over_a_prefix_and_a_hash_over_a_project() {
        check(Some("shop"), &["shop-PS-aaaaaa"]);
        check(Some("abcdef"), &["mail-PS-abcdef"]);
    }

    #[test]
    fn several_are_named_those_first_that_were_heard_of_last() {
        check(Some("bank"), &["bank-PS-dddddd", "bank-MS-eeeeee"]);
        check(Some("epic-4"), &["bank-PS-dddddd", "bank-MS-eeeeee"]);
        check(Some("sho"), &["shop2-PS-cccccc", "shop-PS-aaaaaa"]);
    }

    #[test]
    fn closed_ones_count_only_where_nothing_else_fits() {
        check(Some("epic-2"), &["shop-PS-bbbbbb"]);
        check(Some("old"), &["old-PS-ffffff"]);
        check(Some("shop-PS"), &["shop-PS-aaaaaa"]);
    }

    #[test]
    fn nothing_means_the_newest_that_is_stale() {
        check(None, &["bank-MS-eeeeee"]);
        check(Some(""), &["bank-MS-eeeeee"]);
        let only = |status| {
            let of_status = candidates().into_iter();
            resolve(
                None,
                of_status
                    .filter(|candidate| candidate.status == status)
                    .collect(),
            )
        };
        assert_eq!(only(Active), Resolution::One("shop2-PS-cccccc".to_owned()));
        assert_eq!(only(Closed), Resolution::One("shop-PS-bbbbbb".to_owned()));
        assert_eq!(resolve(None, Vec::new()), Resolution::Nobody);
    }

    #[test]
    fn none_is_none() {
        check(Some("nobody"), &[]);
        check(Some("PS-aaaaaa"), &[]);
        check(Some("aaaaa"), &[]);
    }
}
