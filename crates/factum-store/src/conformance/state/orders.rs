//! Promises about what records of the same group mean to each other.

use super::StateSubject;
use super::fixtures::{apply, claim, id, keys, put, seconds, work};
use crate::state::{Change, Claim, ClaimOrder, Due, Precondition, Put, Record};

async fn fill(subject: &StateSubject) {
    for (key, group) in [("1", "g"), ("2", "g"), ("3", "h"), ("4", ""), ("5", "h")] {
        put(&subject.store, &format!("q/{key}"), work(group)).await;
    }
}

fn complete(record: &Record) -> Change {
    Change::delete(record.id.clone(), Precondition::Version(record.version))
}

/// Puts a record back, to be tried again in a minute.
fn retry(record: &Record) -> Change {
    let put = Put {
        body: record.body.clone(),
        due: Due::After(seconds(60)),
        group: record.group.clone(),
    };
    Change::put(
        record.id.clone(),
        Precondition::Version(record.version),
        put,
    )
}

/// Without an order all that is due is claimed.
pub async fn free_order_ignores_groups(subject: &StateSubject) {
    fill(subject).await;
    let claimed = claim(&subject.store, "w", ClaimOrder::Free).await;
    assert_eq!(keys(&claimed), ["1", "2", "3", "4", "5"]);
}

/// Of a group one record is claimed at a time, the oldest first.
pub async fn one_at_a_time_claims_one_record_of_a_group(subject: &StateSubject) {
    let store = &subject.store;
    let order = ClaimOrder::OneAtATime;
    fill(subject).await;
    let early = work("g").due(Due::At(factum_model::Timestamp::MIN));
    put(store, "q/9", early).await;
    let first = claim(store, "one", order).await;
    assert_eq!(keys(&first), ["9", "3", "4"]);
    assert!(claim(store, "two", order).await.records.is_empty());
    apply(store, vec![complete(&first.records[0])]).await;
    assert_eq!(keys(&claim(store, "two", order).await), ["1"]);
    // When the time of the claims is up, whatever is oldest comes first again.
    subject.pass(10);
    let again = claim(store, "three", order).await;
    assert_eq!(keys(&again), ["1", "3", "4"]);
}

/// A record that waits for its retry does not hold up its group.
pub async fn one_at_a_time_lets_a_retry_be_overtaken(subject: &StateSubject) {
    let store = &subject.store;
    let order = ClaimOrder::OneAtATime;
    fill(subject).await;
    let first = claim(store, "one", order).await;
    assert_eq!(keys(&first), ["1", "3", "4"]);
    apply(store, vec![retry(&first.records[0])]).await;
    assert_eq!(keys(&claim(store, "one", order).await), ["2"]);
}

/// A record that waits for its retry holds up its group, and no other.
pub async fn in_order_waits_for_the_first_of_a_group(subject: &StateSubject) {
    let store = &subject.store;
    let order = ClaimOrder::InOrder;
    fill(subject).await;
    let first = claim(store, "one", order).await;
    assert_eq!(keys(&first), ["1", "3", "4"]);
    let done = complete(&first.records[1]);
    apply(store, vec![retry(&first.records[0]), done]).await;
    let second = claim(store, "two", order).await;
    assert_eq!(keys(&second), ["5"]);
    subject.pass(60);
    let third = claim(store, "two", order).await;
    // The retry is due after those whose claims have run out.
    assert_eq!(keys(&third), ["4", "5", "1"]);
    apply(store, vec![complete(&third.records[2])]).await;
    assert_eq!(keys(&claim(store, "two", order).await), ["2"]);
}

/// A record that was set aside waits for nothing, so the others of its group go on.
pub async fn parked_record_holds_up_nobody(subject: &StateSubject) {
    let store = &subject.store;
    let order = ClaimOrder::InOrder;
    fill(subject).await;
    let first = claim(store, "one", order).await.records.remove(0);
    let parked = Put {
        body: first.body,
        due: Due::Never,
        group: first.group,
    };
    let park = Change::put(first.id, Precondition::Version(first.version), parked);
    apply(store, vec![park]).await;
    assert_eq!(keys(&claim(store, "one", order).await), ["2"]);
}

/// Order is a matter of groups; what has none is never held up.
pub async fn records_without_group_are_free(subject: &StateSubject) {
    let store = &subject.store;
    for key in ["1", "2", "3"] {
        put(store, &format!("q/{key}"), work("")).await;
    }
    for order in [ClaimOrder::OneAtATime, ClaimOrder::InOrder] {
        let limited = Claim {
            kind: "q".parse().unwrap(),
            owner: "w".parse().unwrap(),
            limit: 2,
            visibility: seconds(10),
            order,
        };
        assert_eq!(store.claim(limited).await.unwrap().records.len(), 2);
        assert_eq!(claim(store, "w", order).await.records.len(), 1);
        subject.pass(10);
    }
}

/// A group belongs to its kind.
pub async fn groups_of_other_kinds_are_others(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "other/0", work("g")).await;
    put(store, "q/1", work("g")).await;
    let other = Claim {
        kind: id("other/0").kind,
        owner: "w".parse().unwrap(),
        limit: 1,
        visibility: seconds(10),
        order: ClaimOrder::InOrder,
    };
    assert_eq!(store.claim(other).await.unwrap().records.len(), 1);
    assert_eq!(keys(&claim(store, "w", ClaimOrder::InOrder).await), ["1"]);
}
