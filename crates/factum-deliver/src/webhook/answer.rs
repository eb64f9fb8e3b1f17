//! What the answer to a webhook means.

use std::time::Duration;

use factum_engine::{Again, DeliverError, Delivered, ErrorClass};
use factum_model::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::classify;
use crate::excerpt::Excerpt;
use crate::outside::DeliverLimits;

/// How much of an answer is read, and thrown away, so that its connection can be used again.
const DRAINED_BYTES_MAX: usize = 64 * 1024;

/// Reads the beginning of an answer and says what it means.
pub(super) async fn read(
    mut answer: Response,
    limits: &DeliverLimits,
    now: Timestamp,
) -> Result<Delivered, DeliverError> {
    let status = answer.status();
    let wish = answer.headers().get(RETRY_AFTER);
    let wish = wish.and_then(|value| retry_after(value.to_str().ok()?, now));
    let mut excerpt = Excerpt::new(limits.excerpt_bytes_max);
    let mut drained = 0;
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(part)) => {
                drained += part.len();
                excerpt.add(&part);
                if drained > DRAINED_BYTES_MAX {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let excerpt = excerpt.finish();
    if status.is_success() {
        // The status says that the event was taken; what else it says is not needed.
        return Ok(Delivered {
            status: Some(status.as_u16()),
            excerpt,
        });
    }
    let source = broken.map(classify);
    let mut error = meaning(status, wish.map(|wish| wish.min(limits.retry_after_max)));
    error.status = Some(status.as_u16());
    error.excerpt = excerpt;
    Err(match source {
        Some(source) => error.because(source),
        None => error,
    })
}

/// Says what a status that is no success means. Whatever may be mended on the other side is tried
/// again, also what calls itself the fault of the client.
fn meaning(status: StatusCode, wish: Option<Duration>) -> DeliverError {
    let said = match status.canonical_reason() {
        Some(reason) => format!("answered {} {reason}", status.as_u16()),
        None => format!("answered {}", status.as_u16()),
    };
    let (class, again) = match status {
        StatusCode::GONE => (ErrorClass::Gone, Again::DisableTarget),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (ErrorClass::Authentication, Again::Yes { after: wish })
        }
        status if status.is_redirection() => {
            let message = format!("{said}, and redirects are not followed");
            let again = Again::Yes { after: wish };
            return DeliverError::new(ErrorClass::Rejected, again, message);
        }
        _ => (ErrorClass::Rejected, Again::Yes { after: wish }),
    };
    DeliverError::new(class, again, said)
}

/// Reads `Retry-After`: seconds, or a date. One that has passed means at once.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    let seconds = at.timestamp().as_second() - now.as_micros().div_euclid(1_000_000);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = Timestamp::from_micros(1_445_412_480_000_000).unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:10 GMT", Some(10)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let read = retry_after(text, now).map(|wish| wish.as_secs());
            assert_eq!(read, seconds, "{text}");
        }
    }

    #[test]
    fn only_what_is_gone_is_not_tried_again() {
        for status in (300..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            let error = meaning(status, Some(Duration::from_secs(7)));
            match status {
                StatusCode::GONE => assert_eq!(error.again, Again::DisableTarget),
                _ => assert_eq!(
                    error.again,
                    Again::Yes {
                        after: Some(Duration::from_secs(7))
                    }
                ),
            }
        }
    }
}
