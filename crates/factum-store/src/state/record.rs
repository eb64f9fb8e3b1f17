//! Records: small named things with a version, and how they are listed.

use std::fmt;
use std::ops::Bound;

use factum_model::Timestamp;

use super::name::{OwnerName, RecordGroup, RecordKey, RecordKind};
use crate::read::Direction;

/// The identity of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// What it is.
    pub kind: RecordKind,
    /// Which of its kind.
    pub key: RecordKey,
}

impl RecordId {
    /// Names a record.
    #[must_use]
    pub const fn new(kind: RecordKind, key: RecordKey) -> Self {
        Self { kind, key }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}

/// Which write of a record it is that was seen.
///
/// Every write and every claim gives a record another version. A version is never given to the
/// same record twice, also not after the record was deleted and made again, so comparing it is
/// enough to know that nothing happened in between. Nothing else follows from its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordVersion(u64);

impl RecordVersion {
    /// Takes the number of a version as a store keeps it.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A record as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its identity.
    pub id: RecordId,
    /// Which write or claim this is.
    pub version: RecordVersion,
    /// What it holds; the store does not look into it.
    pub body: Vec<u8>,
    /// When it may be claimed; `None` never.
    pub due_at: Option<Timestamp>,
    /// What it has in common with others.
    pub group: Option<RecordGroup>,
    /// Who works on it; `None` also when the time of a claim is up.
    pub claim: Option<HeldClaim>,
    /// How often it was claimed since it was written: more than the attempts that its body tells
    /// of, if a worker died of it.
    pub n_claims: u32,
    /// When it was written, by the store's clock. A claim is no write in this sense.
    pub written_at: Timestamp,
}

/// Who works on a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldClaim {
    /// The worker.
    pub owner: OwnerName,
    /// When others may claim the record, by the store's clock.
    pub until: Timestamp,
}

/// Which records of a kind to list, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordScan {
    /// The kind.
    pub kind: RecordKind,
    /// Only records of this group.
    pub group: Option<RecordGroup>,
    /// Only keys that begin so; empty for all.
    pub prefix: String,
    /// The smallest key, inclusive.
    pub from: Option<RecordKey>,
    /// The largest key, inclusive.
    pub to: Option<RecordKey>,
    /// Which way.
    pub direction: Direction,
    /// Where to go on, exclusive, in scanning direction: [`RecordPage::next`] of the page before.
    pub after: Option<RecordKey>,
    /// The largest number of records to return.
    pub limit: usize,
}

impl RecordScan {
    /// Lists all records of a kind, in pages of 100.
    #[must_use]
    pub const fn all(kind: RecordKind) -> Self {
        Self {
            kind,
            group: None,
            prefix: String::new(),
            from: None,
            to: None,
            direction: Direction::Forwards,
            after: None,
            limit: 100,
        }
    }

    /// Returns the range of keys that all bounds together leave; `None` when they leave none.
    ///
    /// Keys are ordered by their bytes, which for UTF-8 is the order of its characters.
    #[must_use]
    pub fn bounds(&self) -> Option<KeyBounds<'_>> {
        let mut bounds = KeyBounds {
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            prefix_end: None,
        };
        if !self.prefix.is_empty() {
            bounds.lower = Bound::Included(&self.prefix);
            bounds.prefix_end = after_prefix(&self.prefix);
        }
        if let Some(from) = &self.from {
            bounds.raise(Bound::Included(from.as_str()));
        }
        if let Some(to) = &self.to {
            bounds.upper = Bound::Included(to.as_str());
        }
        match (&self.after, self.direction) {
            (Some(after), Direction::Forwards) => bounds.raise(Bound::Excluded(after.as_str())),
            (Some(after), Direction::Backwards) => bounds.cut(Bound::Excluded(after.as_str())),
            (None, Direction::Forwards | Direction::Backwards) => {}
        }
        bounds.is_sound().then_some(bounds)
    }
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBounds<'a> {
    /// Where it begins.
    pub lower: Bound<&'a str>,
    /// Where it ends.
    pub upper: Bound<&'a str>,
    /// What all its keys are below, besides; from a prefix.
    pub prefix_end: Option<String>,
}

impl<'a> KeyBounds<'a> {
    fn raise(&mut self, bound: Bound<&'a str>) {
        if order_of_lower(bound) > order_of_lower(self.lower) {
            self.lower = bound;
        }
    }

    fn cut(&mut self, bound: Bound<&'a str>) {
        let cut = match (self.upper, bound) {
            (_, Bound::Unbounded) => false,
            (Bound::Unbounded, _) => true,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Included(new)) => new < old,
            (Bound::Included(old), Bound::Excluded(new)) => new <= old,
            (Bound::Excluded(old), Bound::Excluded(new)) => new < old,
        };
        if cut {
            self.upper = bound;
        }
    }

    /// Returns the upper bound with the end of the prefix taken in.
    #[must_use]
    pub fn upper(&self) -> Bound<&str> {
        let Some(end) = self.prefix_end.as_deref() else {
            return self.upper;
        };
        match self.upper {
            Bound::Included(key) if key < end => self.upper,
            Bound::Excluded(key) if key <= end => self.upper,
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Excluded(end),
        }
    }

    /// Tells whether a key is in the range.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let above = match self.lower {
            Bound::Included(lower) => key >= lower,
            Bound::Excluded(lower) => key > lower,
            Bound::Unbounded => true,
        };
        let below = match self.upper() {
            Bound::Included(upper) => key <= upper,
            Bound::Excluded(upper) => key < upper,
            Bound::Unbounded => true,
        };
        above && below
    }

    fn is_sound(&self) -> bool {
        match (self.lower, self.upper()) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
            (Bound::Included(lower), Bound::Included(upper)) => lower <= upper,
            (
                Bound::Included(lower) | Bound::Excluded(lower),
                Bound::Included(upper) | Bound::Excluded(upper),
            ) => lower < upper,
        }
    }
}

/// Orders lower bounds by what they leave out.
const fn order_of_lower(bound: Bound<&str>) -> Option<(&str, bool)> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) => Some((key, false)),
        Bound::Excluded(key) => Some((key, true)),
    }
}

/// Returns the smallest text that is above all texts with a prefix; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = next_char(last) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

fn next_char(character: char) -> Option<char> {
    // No character is a surrogate.
    match character {
        '\u{d7ff}' => Some('\u{e000}'),
        _ => char::from_u32(u32::from(character) + 1),
    }
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPage {
    /// The records, in scanning direction.
    pub records: Vec<Record>,
    /// Where to go on; `None` when there is no more. A page ends at the limit of the scan, or
    /// after the record with which the bodies reach the store's `page_bytes_max`.
    pub next: Option<RecordKey>,
}

/// Which groups of a kind to list, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupScan {
    /// The kind.
    pub kind: RecordKind,
    /// Where to go on, exclusive: [`GroupPage::next`] of the page before.
    pub after: Option<RecordGroup>,
    /// The largest number of groups to return.
    pub limit: usize,
}

/// A group and how many records it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCount {
    /// The group.
    pub group: RecordGroup,
    /// Its records; at least one.
    pub n_records: u64,
}

/// A page of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPage {
    /// The groups.
    pub groups: Vec<GroupCount>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<RecordGroup>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(prefix: &str, from: &str, to: &str, after: (&str, Direction)) -> RecordScan {
        let key = |text: &str| text.parse().ok();
        RecordScan {
            prefix: prefix.to_owned(),
            from: key(from),
            to: key(to),
            after: key(after.0),
            direction: after.1,
            ..RecordScan::all("k".parse().unwrap())
        }
    }

    /// Every combination of bounds, against what each of them says alone.
    #[test]
    fn bounds_are_what_each_of_them_leaves() {
        let words = [
            "",
            "a",
            "ab",
            "aba",
            "abz",
            "ac",
            "b",
            "ä",
            "\u{d7ff}",
            "\u{e000}",
            "\u{10ffff}",
            "\u{10ffff}a",
        ];
        for prefix in words {
            for (from, to) in words
                .iter()
                .flat_map(|a| words.iter().map(move |b| (*a, *b)))
            {
                for after in words {
                    for direction in [Direction::Forwards, Direction::Backwards] {
                        let scan = scan(prefix, from, to, (after, direction));
                        let bounds = scan.bounds();
                        for key in &words[1..] {
                            let beyond = match direction {
                                Direction::Forwards => *key > after,
                                Direction::Backwards => after.is_empty() || *key < after,
                            };
                            let expected = key.starts_with(prefix)
                                && *key >= from
                                && (to.is_empty() || *key <= to)
                                && beyond;
                            let actual = bounds.as_ref().is_some_and(|bounds| bounds.contains(key));
                            assert_eq!(actual, expected, "{scan:?} {key}");
                        }
                    }
                }
            }
        }
    }
}
