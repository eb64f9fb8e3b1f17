//! Events that look like form submissions, the same for the same number.

use std::fmt::Write as _;

use factum_model::{EventId, JsonObject, NewEvent, StreamId, Timestamp};

use crate::Outcome;

/// The first instant of the year that the events are spread over.
pub const YEAR_STARTS: &str = "2025-07-01T00:00:00Z";
pub const DAY_MICROS: i64 = 86_400_000_000;
const YEAR_DAYS: i64 = 365;
/// Users, and sectors of applicants.
pub const N_USERS: u64 = 500;
pub const N_SECTORS: u64 = 200;
pub const STREAM_EVENTS: u64 = 100;
const N_WORDS: f64 = 4000.0;
const NOTE_WORDS: u64 = 8;

/// Types by how many events of ten have them.
const TYPES: [&str; 10] = [
    "submission.created",
    "submission.created",
    "submission.created",
    "submission.changed",
    "submission.changed",
    "submission.changed",
    "submission.approved",
    "submission.approved",
    "submission.rejected",
    "submission.commented",
];
const COUNTRIES: [&str; 10] = ["DE", "DE", "DE", "FR", "FR", "NL", "IT", "ES", "PL", "SE"];
const STATUSES: [&str; 4] = ["pending", "checked", "open", "closed"];
const CITIES: [&str; 8] = [
    "Bremen", "Köln", "Lyon", "Utrecht", "Milano", "Cádiz", "Gdańsk", "Malmö",
];

/// An event in words that both stores take.
#[derive(Debug)]
pub struct Event {
    pub id: EventId,
    pub event_type: &'static str,
    pub aggregate_id: String,
    pub user: String,
    pub tags: [String; 2],
    pub correlation: String,
    pub at: Timestamp,
    pub metadata: String,
    pub payload: String,
}

/// Numbers that look random and follow from the first.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) * limit >> 32
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Returns the word of a rank; words of small ranks are frequent.
pub fn word(rank: u64) -> String {
    const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let syllables = [rank % 70, rank / 70 % 70, rank * 31 % 70];
    let letters = syllables.into_iter().flat_map(|syllable| {
        [
            CONSONANTS[syllable as usize / 5],
            VOWELS[syllable as usize % 5],
        ]
        .map(char::from)
    });
    letters.collect()
}

/// Returns the id of an event.
pub fn id(number: u64) -> EventId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&Draws(number).next().to_be_bytes());
    id[8..].copy_from_slice(&(number | 0x8000_0000_0000_0000).to_be_bytes());
    EventId::from_bytes(id)
}

/// Returns the stream of an event. Each has a hundred events, far apart in the log.
pub fn aggregate_id(number: u64, n_events: u64) -> String {
    format!("s-{}", number % (n_events / STREAM_EVENTS).max(1))
}

/// Returns when an event happened.
pub fn at(number: u64, n_events: u64) -> Outcome<Timestamp> {
    let year = i128::from(YEAR_DAYS * DAY_MICROS);
    let into = year * i128::from(number) / i128::from(n_events.max(1));
    let start: Timestamp = YEAR_STARTS.parse()?;
    Ok(start.saturating_add_micros(i64::try_from(into)?))
}

/// Makes an event out of so many.
pub fn event(number: u64, n_events: u64) -> Outcome<Event> {
    let mut draws = Draws(number ^ 0x5bd1_e995_0000_0000);
    let user = format!("user-{}", draws.below(N_USERS));
    let form = draws.below(40);
    let tags = ["region:eu".to_owned(), format!("form:{form}")];
    let metadata = format!(
        r#"{{"userId":"{user}","sourceSystem":"portal","tags":["{}","{}"]}}"#,
        tags[0], tags[1]
    );
    let mut note = String::new();
    for index in 0..NOTE_WORDS {
        let uniform = (draws.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let space = if index == 0 { "" } else { " " };
        write!(note, "{space}{}", word((uniform.powi(3) * N_WORDS) as u64))?;
    }
    let payload = format!(
        r#"{{"form":"form-{form}","country":"{}","amount":{}.{:02},"email":"u{:x}@example.org","status":"{}","note":"{note}","applicant":{{"sector":"sector-{}","address":{{"city":"{}","zip":"{:05}"}}}},"items":[{{"sku":"sku-{}","n":{}}},{{"sku":"sku-{}","n":{}}}],"newsletter":{}}}"#,
        draws.one(&COUNTRIES),
        draws.below(20_000),
        draws.below(100),
        draws.next(),
        draws.one(&STATUSES),
        draws.below(N_SECTORS),
        draws.one(&CITIES),
        draws.below(100_000),
        draws.below(3000),
        1 + draws.below(9),
        draws.below(3000),
        1 + draws.below(9),
        draws.below(2) == 0,
    );
    Ok(Event {
        id: id(number),
        event_type: draws.one(&TYPES),
        aggregate_id: aggregate_id(number, n_events),
        user,
        tags,
        correlation: format!("case-{}", number / 5),
        at: at(number, n_events)?,
        metadata,
        payload,
    })
}

impl Event {
    /// Makes what Factum appends.
    pub fn proposed(self) -> Outcome<NewEvent> {
        let stream = StreamId::new("submission".parse()?, self.aggregate_id.parse()?);
        let payload = JsonObject::parse(self.payload)?;
        Ok(NewEvent {
            id: Some(self.id),
            timestamp: Some(self.at),
            correlation_id: Some(self.correlation.parse()?),
            metadata: JsonObject::parse(self.metadata)?,
            ..NewEvent::new(self.event_type.parse()?, stream, payload)
        })
    }

    /// Writes a line for COPY; no text has a character that must be escaped there.
    pub fn write_row(&self, position: u64, row: &mut String) -> std::fmt::Result {
        let [first, second] = &self.tags;
        writeln!(
            row,
            "{position}\t{}\t{}\tsubmission\t{}\t{}\t{{{first},{second}}}\t{}\t{at}\t{at}\t{}\t{}",
            self.id,
            self.event_type,
            self.aggregate_id,
            self.user,
            self.correlation,
            self.metadata,
            self.payload,
            at = self.at,
        )
    }
}
