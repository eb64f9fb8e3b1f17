//! What is asked, in the words of Factum and in SQL.

use factum_model::StreamId;
use factum_query::{
    Bound, Expression, Filter, FilterLimits, JsonCondition, JsonQuery, JsonTest, Side, TextQuery,
    TimeRange,
};
use factum_store::CountBy;

use crate::Outcome;
use crate::events::{self, DAY_MICROS, N_SECTORS, N_USERS, YEAR_STARTS};

/// How many events a page has.
pub const PAGE: usize = 100;

/// A question; each round asks for other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    Equalities,
    Newest,
    Window,
    Words,
    Auditor,
    Stream,
    Id,
    TotalOfType,
    TotalOfCountry,
    Days,
    DaysOfType,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The positions of the events, in order.
    Events(Vec<u64>),
    Total(u64),
    Groups(Vec<(String, u64)>),
}

impl Answer {
    /// Returns how many events the answer is about.
    pub fn n_events(&self) -> u64 {
        match self {
            Self::Events(positions) => positions.len() as u64,
            Self::Total(total) => *total,
            Self::Groups(groups) => groups.iter().map(|(_, n_events)| n_events).sum(),
        }
    }
}

/// How Factum is asked.
#[derive(Debug)]
pub enum Asked {
    Newest(Filter),
    Stream(StreamId),
    Id(factum_model::EventId),
    Count(Filter, Option<CountBy>),
}

const COLUMNS: &str = "position, id, type, aggregate_type, aggregate_id, user_id, tags, correlation, ts, recorded, metadata, payload";

impl Question {
    pub const ALL: [Self; 11] = [
        Self::Equalities,
        Self::Newest,
        Self::Window,
        Self::Words,
        Self::Auditor,
        Self::Stream,
        Self::Id,
        Self::TotalOfType,
        Self::TotalOfCountry,
        Self::Days,
        Self::DaysOfType,
    ];
    /// Those that are asked of a store whose files are not in memory.
    pub const COLD: [Self; 5] = [
        Self::Equalities,
        Self::Words,
        Self::Auditor,
        Self::Stream,
        Self::Id,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Equalities => "three payload equalities, newest 100",
            Self::Newest => "newest 100 of a type",
            Self::Window => "one day and a regex on the payload",
            Self::Words => "text of two words, newest 100",
            Self::Auditor => "the auditor's question",
            Self::Stream => "a stream of 100 events",
            Self::Id => "an event by id",
            Self::TotalOfType => "total of a type",
            Self::TotalOfCountry => "total of a payload equality",
            Self::Days => "counts by day, all",
            Self::DaysOfType => "counts by day, one type",
        }
    }

    /// Says the question in the words of Factum.
    pub fn asked(self, round: u64, n_events: u64) -> Outcome<Asked> {
        let some = values(round, n_events);
        let filter = match self {
            Self::Equalities => Filter {
                payload: Some(JsonQuery::And(vec![
                    JsonQuery::equals("$.country", "DE")?,
                    JsonQuery::equals("$.status", "pending")?,
                    JsonQuery::equals("$.applicant.sector", &*some.sector)?,
                ])),
                ..Filter::default()
            },
            Self::Newest => of_type("submission.approved")?,
            Self::Window => Filter {
                timestamp: span(some.day, some.day + 1)?,
                payload: Some(leaf(
                    "$.email",
                    JsonTest::Regex(Expression::parse_within(
                        &some.regex,
                        &FilterLimits::DEFAULT,
                    )?),
                )?),
                ..Filter::default()
            },
            Self::Words => Filter {
                text: Some(TextQuery::words(&some.words)?),
                ..Filter::default()
            },
            Self::Auditor => Filter {
                user_id: Some(some.user),
                timestamp: span(MARCH.0, MARCH.1)?,
                payload: Some(JsonQuery::And(vec![
                    JsonQuery::equals("$.country", "DE")?,
                    leaf(
                        "$.amount",
                        JsonTest::Range(Side::Greater, Bound::Number(10_000.into())),
                    )?,
                ])),
                ..of_type("submission.approved")?
            },
            Self::Stream => {
                let stream = events::aggregate_id(some.number, n_events).parse()?;
                return Ok(Asked::Stream(StreamId::new("submission".parse()?, stream)));
            }
            Self::Id => return Ok(Asked::Id(events::id(some.number))),
            Self::TotalOfType => return Ok(Asked::Count(of_type("submission.created")?, None)),
            Self::TotalOfCountry => {
                let payload = Some(JsonQuery::equals("$.country", "DE")?);
                return Ok(Asked::Count(
                    Filter {
                        payload,
                        ..Filter::default()
                    },
                    None,
                ));
            }
            Self::Days => return Ok(Asked::Count(Filter::default(), Some(CountBy::Day))),
            Self::DaysOfType => {
                return Ok(Asked::Count(
                    of_type("submission.approved")?,
                    Some(CountBy::Day),
                ));
            }
        };
        Ok(Asked::Newest(filter))
    }

    /// Says the question in SQL.
    pub fn sql(self, round: u64, n_events: u64) -> Outcome<String> {
        let some = values(round, n_events);
        let newest = |condition: String| {
            format!(
                "SELECT {COLUMNS} FROM events WHERE {condition} ORDER BY position DESC LIMIT {PAGE}"
            )
        };
        let days = |condition: &str| {
            format!(
                "SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FROM events {condition} GROUP BY 1 ORDER BY 1"
            )
        };
        Ok(match self {
            Self::Equalities => newest(format!(
                r#"payload @> '{{"country":"DE","status":"pending","applicant":{{"sector":"{}"}}}}'"#,
                some.sector
            )),
            Self::Newest => newest("type = 'submission.approved'".to_owned()),
            Self::Window => newest(format!(
                "{} AND payload->>'email' ~ '{}'",
                sql_span(some.day, some.day + 1)?,
                some.regex
            )),
            Self::Words => newest(format!(
                r#"jsonb_to_tsvector('simple', payload, '["string"]') @@ plainto_tsquery('simple', '{}')"#,
                some.words
            )),
            Self::Auditor => newest(format!(
                r#"type = 'submission.approved' AND user_id = '{}' AND {} AND payload @> '{{"country":"DE"}}' AND (payload->>'amount')::numeric > 10000"#,
                some.user,
                sql_span(MARCH.0, MARCH.1)?
            )),
            Self::Stream => format!(
                "SELECT {COLUMNS} FROM events WHERE aggregate_type = 'submission' AND aggregate_id = '{}' ORDER BY position",
                events::aggregate_id(some.number, n_events)
            ),
            Self::Id => {
                format!(
                    "SELECT {COLUMNS} FROM events WHERE id = '{}'",
                    events::id(some.number)
                )
            }
            Self::TotalOfType => {
                "SELECT count(*) FROM events WHERE type = 'submission.created'".to_owned()
            }
            Self::TotalOfCountry => {
                r#"SELECT count(*) FROM events WHERE payload @> '{"country":"DE"}'"#.to_owned()
            }
            Self::Days => days(""),
            Self::DaysOfType => days("WHERE type = 'submission.approved'"),
        })
    }
}

/// March 2026 in days of the year.
const MARCH: (i64, i64) = (243, 274);

struct Values {
    sector: String,
    words: String,
    user: String,
    regex: String,
    day: i64,
    number: u64,
}

fn values(round: u64, n_events: u64) -> Values {
    Values {
        sector: format!("sector-{}", round * 7 % N_SECTORS),
        words: format!(
            "{} {}",
            events::word(20 + round % 40),
            events::word(300 + round % 97)
        ),
        user: format!("user-{}", round * 11 % N_USERS),
        regex: format!("[0-4]{:x}[0-9]{:x}@example", round % 16, round / 3 % 16),
        day: (round * 37 % 365) as i64,
        number: round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % n_events,
    }
}

fn of_type(name: &str) -> Outcome<Filter> {
    Ok(Filter {
        event_types: vec![name.parse()?],
        ..Filter::default()
    })
}

fn leaf(path: &str, test: JsonTest) -> Outcome<JsonQuery> {
    Ok(JsonQuery::Leaf(JsonCondition {
        path: path.parse()?,
        test,
    }))
}

fn span(first_day: i64, end_day: i64) -> Outcome<TimeRange> {
    let start: factum_model::Timestamp = YEAR_STARTS.parse()?;
    let day = |day: i64| Some(start.saturating_add_micros(day * DAY_MICROS));
    Ok(TimeRange {
        from: day(first_day),
        to: day(end_day),
    })
}

fn sql_span(first_day: i64, end_day: i64) -> Outcome<String> {
    let TimeRange {
        from: Some(from),
        to: Some(to),
    } = span(first_day, end_day)?
    else {
        return Err("a span has two ends".into());
    };
    Ok(format!("ts >= '{from}' AND ts < '{to}'"))
}
