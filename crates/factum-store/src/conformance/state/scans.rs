//! Promises about lists of records and groups.

use super::StateSubject;
use super::fixtures::{all, apply, id, put};
use crate::read::Direction;
use crate::state::{Change, GroupCount, GroupScan, Precondition, Put, Record, RecordScan};

const KEYS: [&str; 14] = [
    "-",
    "00",
    "01",
    "0:",
    "10",
    "9",
    "A",
    "Z",
    "_",
    "a",
    "aa",
    "ab",
    "ä",
    "\u{10ffff}",
];

async fn fill(subject: &StateSubject) {
    let change = |(index, key): (usize, &&str)| {
        let group = ["g", "h"][index % 2].parse().unwrap();
        let put = Put::new(index.to_string()).in_group(group);
        Change::put(id(&format!("k/{key}")), Precondition::Absent, put)
    };
    let mut changes: Vec<_> = KEYS.iter().enumerate().map(change).collect();
    changes.reverse();
    changes.push(Change::put(id("j/a"), Precondition::Absent, Put::new(*b"")));
    changes.push(Change::put(id("l/a"), Precondition::Absent, Put::new(*b"")));
    apply(&subject.store, changes).await;
}

fn scan() -> RecordScan {
    RecordScan::all("k".parse().unwrap())
}

fn keys(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record.id.key.as_str())
        .collect()
}

/// Keys are ordered as their bytes are, not as a language orders words.
pub async fn keys_are_ordered_by_bytes(subject: &StateSubject) {
    fill(subject).await;
    let records = all(&subject.store, scan()).await;
    assert_eq!(keys(&records), KEYS);
}

/// Every prefix and range, alone and together with a group, gives what it says.
pub async fn every_range_is_scanned_in_both_directions(subject: &StateSubject) {
    fill(subject).await;
    let ends = [
        None,
        Some("01"),
        Some("9"),
        Some("a"),
        Some("ä"),
        Some("zz"),
    ];
    for prefix in ["", "0", "a", "aa", "b", "\u{10ffff}"] {
        for (from, to) in ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b))) {
            for (group, direction) in [
                (None, Direction::Forwards),
                (None, Direction::Backwards),
                (Some(0), Direction::Forwards),
                (Some(1), Direction::Backwards),
            ] {
                let wanted = |(index, key): &(usize, &&str)| {
                    key.starts_with(prefix)
                        && from.is_none_or(|from| **key >= from)
                        && to.is_none_or(|to| **key <= to)
                        && group.is_none_or(|group| index % 2 == group)
                };
                let found = KEYS.iter().enumerate().filter(wanted);
                let mut expected: Vec<_> = found.map(|(_, key)| *key).collect();
                if direction == Direction::Backwards {
                    expected.reverse();
                }
                let scan = RecordScan {
                    prefix: prefix.to_owned(),
                    from: from.map(|from| from.parse().unwrap()),
                    to: to.map(|to| to.parse().unwrap()),
                    group: group.map(|group| ["g", "h"][group].parse().unwrap()),
                    direction,
                    ..scan()
                };
                let page = subject.store.scan(scan.clone()).await.unwrap();
                assert_eq!(keys(&page.records), expected, "{scan:?}");
                assert_eq!(page.next, None);
            }
        }
    }
}

/// Pages of any size, one after the other, are the whole.
pub async fn pages_of_any_size_make_the_whole(subject: &StateSubject) {
    fill(subject).await;
    for limit in 1..=KEYS.len() + 1 {
        for direction in [Direction::Forwards, Direction::Backwards] {
            let scan = RecordScan {
                limit,
                direction,
                ..scan()
            };
            let records = all(&subject.store, scan).await;
            let mut expected = KEYS.to_vec();
            if direction == Direction::Backwards {
                expected.reverse();
            }
            assert_eq!(keys(&records), expected);
        }
    }
}

/// A page with large bodies ends early and says where to go on.
pub async fn page_ends_when_its_bytes_are_full(subject: &StateSubject) {
    let limits = subject.store.limits();
    let n_full = limits.page_bytes_max / limits.body_bytes_max;
    for key in 0..n_full + 2 {
        let large = Put::new(vec![1; limits.body_bytes_max]);
        put(&subject.store, &format!("k/{key:05}"), large).await;
    }
    let page = subject.store.scan(scan()).await.unwrap();
    assert_eq!(page.records.len(), n_full);
    assert_eq!(page.next.as_ref(), Some(&page.records[n_full - 1].id.key));
    assert_eq!(all(&subject.store, scan()).await.len(), n_full + 2);
}

/// Groups are listed with how many records they have.
pub async fn groups_are_scanned_and_counted(subject: &StateSubject) {
    let store = &subject.store;
    let counts = [("B", 3), ("a", 1), ("b", 2), ("ä", 4)];
    for (group, n_records) in counts {
        for key in 0..n_records {
            let record = Put::new(*b"").in_group(group.parse().unwrap());
            put(store, &format!("k/{group}{key}"), record).await;
        }
    }
    put(store, "k/none", Put::new(*b"")).await;
    let other = Put::new(*b"").in_group("c".parse().unwrap());
    put(store, "j/other", other).await;
    let expected: Vec<_> = counts
        .iter()
        .map(|(group, n_records)| GroupCount {
            group: group.parse().unwrap(),
            n_records: *n_records,
        })
        .collect();
    for limit in 1..=5 {
        let mut groups = Vec::new();
        let mut scan = GroupScan {
            kind: "k".parse().unwrap(),
            after: None,
            limit,
        };
        loop {
            let page = store.groups(scan.clone()).await.unwrap();
            assert!(page.groups.len() <= limit);
            groups.extend(page.groups);
            scan.after = page.next;
            if scan.after.is_none() {
                break;
            }
        }
        assert_eq!(groups, expected);
    }
}
