//! What the failures mean that brokers answer with.

use factum_engine::{DeliverError, ErrorClass};

/// Returns nothing for 0, which is no failure, and what it means otherwise.
pub(super) fn none(code: i16, message: Option<&str>) -> Result<(), DeliverError> {
    match code {
        0 => Ok(()),
        code => Err(of(code, message)),
    }
}

/// Tells whether somebody else leads the partition, so that the leaders must be asked for again.
pub(super) const fn has_moved(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 9 | 13 | 72 | 74 | 75 | 100)
}

/// Returns what a failure means. What an operator may mend is tried again, as with every target.
pub(super) fn of(code: i16, message: Option<&str>) -> DeliverError {
    let name = name(code);
    let message = match message.map(said).filter(|said| !said.is_empty()) {
        Some(said) => format!("the broker says {name} ({code}): {said}"),
        None => format!("the broker says {name} ({code})"),
    };
    match code {
        // Too large for the topic, no topic's name, refused by what the topic demands of records.
        10 | 17 | 18 | 32 | 87 => DeliverError::lasting(ErrorClass::Rejected, message),
        29 | 31 | 33 | 34 | 54 | 58 => DeliverError::passing(ErrorClass::Authentication, message),
        7 => DeliverError::passing(ErrorClass::Timeout, message),
        _ => DeliverError::passing(ErrorClass::Rejected, message),
    }
}

/// Returns what somebody else said, cut and without control characters.
pub(super) fn said(text: &str) -> String {
    let text = text.chars().take(200);
    text.map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// The failures that a producer meets, by the names of the protocol.
const fn name(code: i16) -> &'static str {
    match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        8 => "BROKER_NOT_AVAILABLE",
        9 => "REPLICA_NOT_AVAILABLE",
        10 => "MESSAGE_TOO_LARGE",
        13 => "NETWORK_EXCEPTION",
        17 => "INVALID_TOPIC_EXCEPTION",
        18 => "RECORD_LIST_TOO_LARGE",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        32 => "INVALID_TIMESTAMP",
        33 => "UNSUPPORTED_SASL_MECHANISM",
        34 => "ILLEGAL_SASL_STATE",
        35 => "UNSUPPORTED_VERSION",
        42 => "INVALID_REQUEST",
        44 => "POLICY_VIOLATION",
        54 => "SECURITY_DISABLED",
        56 => "KAFKA_STORAGE_ERROR",
        58 => "SASL_AUTHENTICATION_FAILED",
        72 => "LISTENER_NOT_FOUND",
        74 => "FENCED_LEADER_EPOCH",
        75 => "UNKNOWN_LEADER_EPOCH",
        87 => "INVALID_RECORD",
        89 => "THROTTLING_QUOTA_EXCEEDED",
        100 => "UNKNOWN_TOPIC_ID",
        _ => "a failure without a name here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_event_itself_meets_again_is_given_up() {
        let lasting: Vec<i16> = (-1..200)
            .filter(|code| *code != 0 && !of(*code, None).is_retryable())
            .collect();
        assert_eq!(lasting, [10, 17, 18, 32, 87]);
        // A partition that has moved is worth another try.
        assert!((-1..200).all(|code| !has_moved(code) || of(code, None).is_retryable()));
        assert_eq!(of(29, None).class, ErrorClass::Authentication);
        assert_eq!(of(58, None).class, ErrorClass::Authentication);
    }

    #[test]
    fn what_a_broker_says_is_cut() {
        let error = of(2, Some(&format!("a\nb{}", "x".repeat(1000))));
        assert!(error.message.len() < 300, "{error}");
        assert!(
            error.message.contains("CORRUPT_MESSAGE (2): a b"),
            "{error}"
        );
        none(0, Some("fine")).unwrap();
        none(-1, None).unwrap_err();
    }
}
