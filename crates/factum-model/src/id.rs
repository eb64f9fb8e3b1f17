//! Event ids and where new ones come from.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use thiserror::Error;
use uuid::Uuid;

use crate::time::Timestamp;

/// The identity of an event: a UUID, unique over the whole store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a UUID")]
pub struct InvalidEventId {
    /// The text as it came, cut to 64 characters.
    pub text: String,
}

impl EventId {
    /// Returns the id with these bytes, in network order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the sixteen bytes in network order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the id that belongs to these texts: the same for the same texts, for ever and on
    /// every node, and another one for others. It is a UUID of version 5.
    ///
    /// What must happen once, such as a scheduled event, takes its id from what it is, so that
    /// doing it again is seen as a repeat.
    #[must_use]
    pub fn derived(parts: &[&str]) -> Self {
        /// Ids of Factum are derived in a name space of their own.
        const SPACE: Uuid = Uuid::from_u128(0x6661_6374_756d_4000_8000_0000_0000_0001);
        let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            // With its length before it, no part can pass for two.
            name.extend_from_slice(&(part.len() as u64).to_be_bytes());
            name.extend_from_slice(part.as_bytes());
        }
        Self(Uuid::new_v5(&SPACE, &name).into_bytes())
    }

    /// Writes the id in its usual form into `buffer` and returns it.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; 36]) -> &'a str {
        Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    /// Accepts the hyphenated and the simple form, in either letter case.
    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        // Braces and the URN prefix are UUID syntax too, but one id must have one spelling.
        if matches!(text.len(), 32 | 36)
            && let Ok(id) = Uuid::try_parse(text)
        {
            return Ok(Self(id.into_bytes()));
        }
        Err(InvalidEventId {
            text: text.chars().take(64).collect(),
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the engine takes the ids of events from that came without one.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// Returns an id that this source has never returned, for an event of this time.
    fn next_id(&self, now: Timestamp) -> EventId;
}

/// UUIDs of version 7 that increase within one process.
///
/// The 74 bits beside the time start at random and count up while the millisecond stays, so
/// ids of one process sort in the order of their making, and two processes do not collide.
pub struct MonotonicIds {
    random: fn(&mut [u8]),
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    millisecond: u64,
    counter: u128,
}

const COUNTER_BITS: u32 = 74;

impl MonotonicIds {
    /// Makes a source that fills its random bits with `random`.
    #[must_use]
    pub fn new(random: fn(&mut [u8])) -> Self {
        Self {
            random,
            last: Mutex::new(Last::default()),
        }
    }
}

impl fmt::Debug for MonotonicIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonotonicIds").finish_non_exhaustive()
    }
}

impl IdSource for MonotonicIds {
    fn next_id(&self, now: Timestamp) -> EventId {
        let millisecond = now.as_micros().unsigned_abs() / 1000;
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if millisecond > last.millisecond {
            let mut random = [0; 16];
            (self.random)(&mut random);
            last.millisecond = millisecond;
            // The top counter bit starts at zero, which leaves room for 2^73 ids in a millisecond.
            last.counter = u128::from_be_bytes(random) >> (128 - COUNTER_BITS + 1);
        } else {
            last.counter += 1;
        }
        version_7(last.millisecond, last.counter)
    }
}

fn version_7(millisecond: u64, counter: u128) -> EventId {
    let high = (counter >> 62) & 0xfff;
    let low = counter & ((1 << 62) - 1);
    let time = u128::from(millisecond) & ((1 << 48) - 1);
    EventId(((time << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_increase() {
        let ids = MonotonicIds::new(|bytes| bytes.fill(0xff));
        let now = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
        let made: Vec<_> = (0..1000).map(|_| ids.next_id(now)).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        let text = made[0].to_string();
        assert_eq!((&text[14..15], &text[..13]), ("7", "018bcfe5-6800"));
        assert_eq!(Uuid::parse_str(&text).unwrap().get_version_num(), 7);
    }

    #[test]
    fn derived_ids_tell_where_texts_end() {
        let id = EventId::derived(&["a", "bc"]);
        assert_eq!(id, EventId::derived(&["a", "bc"]));
        for other in [&["ab", "c"][..], &["abc"], &["a", "bc", ""], &[]] {
            assert_ne!(id, EventId::derived(other));
        }
        // What was derived once is derived for ever.
        assert_eq!(id.to_string(), "89b4f3b9-d1d6-5560-8e12-e28e91bf9f6f");
    }

    #[test]
    fn only_the_two_usual_spellings_are_ids() {
        let id: EventId = "018BCFE5-6800-7fff-bfff-ffffffffffff".parse().unwrap();
        assert_eq!(id.to_string(), "018bcfe5-6800-7fff-bfff-ffffffffffff");
        assert_eq!("018bcfe568007fffbfffffffffffffff".parse(), Ok(id));
        for wrong in [
            "",
            "x",
            "{018bcfe5-6800-7fff-bfff-ffffffffffff}",
            "018bcfe5-6800-7fff-bfff-fffffffffffg",
        ] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
