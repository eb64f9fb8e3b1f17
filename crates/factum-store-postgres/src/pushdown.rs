//! What of a filter the server can decide, as SQL.
//!
//! The server only narrows: it returns every event that matches and perhaps some that do not, and
//! [`factum_query::Filter::matches`] decides on each. A condition that the server must not use to
//! leave something out that might match is not sent.

use factum_query::{
    Answer, JsonScalar, Leaf, Narrowing, Part, PathStep, TermKey, TermValue, TimeRange,
};
use factum_query::{SequenceRange, TypePattern};
use tokio_postgres::types::{ToSql, Type};

use crate::values::{Time, Uuid, bigint, is_searchable};

type Value = Box<dyn ToSql + Sync + Send>;

/// A condition on a row `e` of the table of events, with its parameters.
#[derive(Debug)]
pub(crate) struct Condition {
    /// ` AND …`, or nothing.
    pub(crate) sql: String,
    pub(crate) values: Vec<(Value, Type)>,
    /// The server decides on the filter alone.
    pub(crate) is_exact: bool,
}

/// What is known of a set of events.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Set {
    All,
    Nothing,
    Sql(String),
}

/// Says a narrowing in SQL. The parameters are numbered from `first` on; `$1` is the log.
pub(crate) fn condition(narrowing: &Narrowing, schema: &str, first: usize) -> Condition {
    let mut writer = Writer {
        schema,
        first,
        values: Vec::new(),
    };
    let possible = writer.possible(narrowing);
    let sql = match possible {
        Set::All => String::new(),
        Set::Nothing => " AND false".to_owned(),
        Set::Sql(sql) => format!(" AND {sql}"),
    };
    let is_exact = is_exact(narrowing);
    Condition {
        sql,
        values: writer.values,
        is_exact,
    }
}

/// Tells whether what is possible is certain as well.
fn is_exact(narrowing: &Narrowing) -> bool {
    match narrowing {
        Narrowing::Anything { .. } => false,
        Narrowing::Leaf { leaf, .. } => match leaf {
            Leaf::EventTypes(patterns) => patterns.iter().all(TypePattern::is_exact),
            Leaf::AggregateTypes(_)
            | Leaf::AggregateIds(_)
            | Leaf::Streams(_)
            | Leaf::Ids(_)
            | Leaf::Correlation(_)
            | Leaf::Causation(_)
            | Leaf::Timestamp(_)
            | Leaf::Recorded(_)
            | Leaf::Sequence(_) => true,
            Leaf::Tag(_) | Leaf::User(_) | Leaf::Term(_) | Leaf::Word(_) => false,
        },
        Narrowing::And(inner) | Narrowing::Or(inner) => inner.iter().all(is_exact),
        Narrowing::Not(inner) => is_exact(inner),
    }
}

struct Writer<'a> {
    schema: &'a str,
    first: usize,
    values: Vec<(Value, Type)>,
}

impl Writer<'_> {
    /// Returns the events outside of which none matches.
    fn possible(&mut self, narrowing: &Narrowing) -> Set {
        match narrowing {
            Narrowing::Anything { .. } => Set::All,
            Narrowing::Leaf { leaf, .. } => self.leaf(leaf),
            Narrowing::And(inner) => self.possible_in_all(inner),
            Narrowing::Or(inner) => any(inner.iter().map(|inner| self.possible(inner)).collect()),
            Narrowing::Not(inner) => match self.certain(inner) {
                Set::All => Set::Nothing,
                Set::Nothing => Set::All,
                Set::Sql(sql) => Set::Sql(format!("NOT {sql}")),
            },
        }
    }

    /// Returns the events that are possible in each of some narrowings. What one document must
    /// contain is said at once, so that the index looks for all of it together.
    fn possible_in_all(&mut self, inner: &[Narrowing]) -> Set {
        let mut documents: Vec<(Part, Contained)> = Vec::new();
        let mut sets = Vec::new();
        for narrowing in inner {
            let wanted = match narrowing {
                Narrowing::Leaf { leaf, .. } => contained(leaf),
                Narrowing::Anything { .. }
                | Narrowing::And(_)
                | Narrowing::Or(_)
                | Narrowing::Not(_) => None,
            };
            let Some((part, wanted)) = wanted else {
                sets.push(self.possible(narrowing));
                continue;
            };
            let mut left = Some(wanted);
            for (_, document) in documents.iter_mut().filter(|(of, _)| *of == part) {
                left = left.and_then(|wanted| document.add(wanted));
            }
            documents.extend(left.map(|wanted| (part, wanted)));
        }
        for (part, wanted) in documents {
            sets.push(self.contains(part, wanted.json()));
        }
        all(sets)
    }

    /// Returns events that match for certain. Its SQL is never null.
    fn certain(&mut self, narrowing: &Narrowing) -> Set {
        match narrowing {
            Narrowing::Anything { .. } => Set::Nothing,
            Narrowing::Leaf { leaf, answer } => self.certain_leaf(leaf, *answer),
            Narrowing::And(inner) => all(inner.iter().map(|inner| self.certain(inner)).collect()),
            Narrowing::Or(inner) => any(inner.iter().map(|inner| self.certain(inner)).collect()),
            Narrowing::Not(inner) => match self.possible(inner) {
                Set::All => Set::Nothing,
                Set::Nothing => Set::All,
                Set::Sql(sql) => Set::Sql(format!("({sql} IS NOT TRUE)")),
            },
        }
    }

    fn certain_leaf(&mut self, leaf: &Leaf, answer: Answer) -> Set {
        if let (Leaf::Term(term), Answer::Exact) = (leaf, answer)
            && let TermValue::Is(value) = &term.value
            && let Some(json) = containing(&term.path, value)
        {
            let document = document(term.part);
            let json = self.value(json, Type::TEXT);
            return Set::Sql(format!("(({document} @> {json}::jsonb) IS TRUE)"));
        }
        let narrowing = Narrowing::Leaf {
            leaf: leaf.clone(),
            answer,
        };
        if !is_exact(&narrowing) {
            return Set::Nothing;
        }
        match self.leaf(leaf) {
            Set::Sql(sql) => Set::Sql(format!("({sql} IS TRUE)")),
            set @ (Set::All | Set::Nothing) => set,
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Set {
        let schema = self.schema;
        match leaf {
            Leaf::EventTypes(patterns) => self.types(patterns),
            Leaf::AggregateTypes(types) => {
                let types = self.texts(types.iter().map(|name| name.as_str()));
                Set::Sql(format!("e.aggregate_type = ANY ({types})"))
            }
            Leaf::AggregateIds(ids) => {
                let ids = self.texts(ids.iter().map(|name| name.as_str()));
                Set::Sql(format!(
                    "e.stream = ANY (ARRAY(SELECT s.first_position FROM {schema}.streams s \
                     WHERE s.log_id = $1 AND s.aggregate_id = ANY ({ids})))"
                ))
            }
            Leaf::Streams(streams) => {
                let types = streams.iter().map(|stream| stream.aggregate_type.as_str());
                let types = self.texts(types);
                let ids = streams.iter().map(|stream| stream.aggregate_id.as_str());
                let ids = self.texts(ids);
                Set::Sql(format!(
                    "e.stream = ANY (ARRAY(SELECT s.first_position \
                     FROM unnest({types}, {ids}) AS u (type, id) JOIN {schema}.streams s \
                     ON s.log_id = $1 AND s.aggregate_id = u.id AND s.aggregate_type = u.type))"
                ))
            }
            Leaf::Ids(ids) => {
                let ids: Vec<_> = ids.iter().map(|id| Uuid::from(*id)).collect();
                let ids = self.value(ids, Type::UUID_ARRAY);
                Set::Sql(format!(
                    "e.position = ANY (ARRAY(SELECT i.position FROM {schema}.event_ids i \
                     WHERE i.log_id = $1 AND i.event_id = ANY ({ids})))"
                ))
            }
            Leaf::Correlation(id) => {
                let id = self.value(id.as_str().to_owned(), Type::TEXT);
                Set::Sql(format!("e.correlation_id = {id}"))
            }
            Leaf::Causation(id) => {
                let id = self.value(Uuid::from(*id), Type::UUID);
                Set::Sql(format!("e.causation_id = {id}"))
            }
            Leaf::Tag(_) | Leaf::User(_) => self.contains_leaf(leaf),
            Leaf::Timestamp(range) => self.times("e.timestamp", *range),
            Leaf::Recorded(range) => self.times("e.recorded_at", *range),
            Leaf::Sequence(range) => self.sequences(*range),
            Leaf::Term(term) => match term.value {
                TermValue::Is(_) => self.contains_leaf(leaf),
                TermValue::Exists | TermValue::Object | TermValue::Array => self.exists(term),
            },
            Leaf::Word(_) => Set::All,
        }
    }

    fn types(&mut self, patterns: &[TypePattern]) -> Set {
        let (exact, open): (Vec<_>, Vec<_>) = patterns
            .iter()
            .map(TypePattern::as_str)
            .partition(|text| !text.contains(['*', '>']));
        let mut sets = Vec::new();
        if !exact.is_empty() {
            let exact = self.texts(exact.into_iter());
            sets.push(Set::Sql(format!("e.event_type = ANY ({exact})")));
        }
        for pattern in open {
            let end = pattern.find(['*', '>']).unwrap_or_default();
            // What is before the first wildcard is empty, or whole segments with their dots.
            let Some(name) = pattern.get(..end).and_then(|text| text.strip_suffix('.')) else {
                return Set::All;
            };
            let from = self.value(format!("{name}."), Type::TEXT);
            // The character that comes after the dot.
            let to = self.value(format!("{name}/"), Type::TEXT);
            sets.push(Set::Sql(format!(
                "(e.event_type >= {from} AND e.event_type < {to})"
            )));
        }
        any(sets)
    }

    fn times(&mut self, column: &str, range: TimeRange) -> Set {
        let mut sets = Vec::new();
        if let Some(from) = range.from {
            let from = self.value(Time(from), Type::TIMESTAMPTZ);
            sets.push(Set::Sql(format!("{column} >= {from}")));
        }
        if let Some(to) = range.to {
            let to = self.value(Time(to), Type::TIMESTAMPTZ);
            sets.push(Set::Sql(format!("{column} < {to}")));
        }
        all(sets)
    }

    fn sequences(&mut self, range: SequenceRange) -> Set {
        let mut sets = Vec::new();
        if let Some(from) = range.from {
            let from = self.value(bigint(from.get()), Type::INT8);
            sets.push(Set::Sql(format!("e.sequence >= {from}")));
        }
        if let Some(to) = range.to {
            let to = self.value(bigint(to.get()), Type::INT8);
            sets.push(Set::Sql(format!("e.sequence <= {to}")));
        }
        all(sets)
    }

    /// Returns the events whose document has anything at a place.
    fn exists(&mut self, term: &TermKey) -> Set {
        let Some(path) = json_path(&term.path) else {
            return Set::All;
        };
        let document = document(term.part);
        let path = self.value(path, Type::TEXT);
        // As a function, so that no index is tried that cannot help.
        Set::Sql(format!(
            "(NOT e.searchable OR jsonb_path_exists({document}, {path}::jsonpath, '{{}}', true))"
        ))
    }

    fn contains_leaf(&mut self, leaf: &Leaf) -> Set {
        match contained(leaf) {
            Some((part, wanted)) => self.contains(part, wanted.json()),
            None => Set::All,
        }
    }

    /// Returns the events whose document contains another.
    fn contains(&mut self, part: Part, json: String) -> Set {
        let document = document(part);
        let json = self.value(json, Type::TEXT);
        Set::Sql(format!("(NOT e.searchable OR {document} @> {json}::jsonb)"))
    }

    fn texts<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> String {
        let texts: Vec<String> = texts.map(str::to_owned).collect();
        self.value(texts, Type::TEXT_ARRAY)
    }

    fn value(&mut self, value: impl ToSql + Sync + Send + 'static, kind: Type) -> String {
        let number = self.first + self.values.len();
        self.values.push((Box::new(value), kind));
        format!("${number}")
    }
}

/// The expression that is indexed; it must be written as the index has it.
const fn document(part: Part) -> &'static str {
    match part {
        Part::Payload => "(CASE WHEN e.searchable THEN e.payload::jsonb END)",
        Part::Metadata => "(CASE WHEN e.searchable THEN e.metadata::jsonb END)",
    }
}

/// What a document contains, in the sense of `@>`.
#[derive(Debug)]
enum Contained {
    /// A value, or an array with one in it, as JSON.
    Value(String),
    /// Members, by their names as JSON.
    Members(Vec<(String, Self)>),
}

impl Contained {
    fn of(path: &[PathStep], value: &JsonScalar) -> Option<Self> {
        Some(match path.split_first() {
            Some((PathStep::Member(name), rest)) => {
                Self::Members(vec![(json_string(name)?, Self::of(rest, value)?)])
            }
            Some((PathStep::Element, _)) | None => Self::Value(containing(path, value)?),
        })
    }

    /// Adds what lies at one more place, or returns it: a place has one value.
    fn add(&mut self, other: Self) -> Option<Self> {
        let Self::Members(members) = self else {
            return Some(other);
        };
        let (name, value) = match other {
            Self::Members(mut others) if others.len() == 1 => others.pop()?,
            other => return Some(other),
        };
        match members.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                let left = known.add(value)?;
                Some(Self::Members(vec![(name, left)]))
            }
            None => {
                members.push((name, value));
                None
            }
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Value(json) => json.clone(),
            Self::Members(members) => {
                let each = members.iter();
                let each: Vec<_> = each
                    .map(|(name, value)| format!("{name}:{}", value.json()))
                    .collect();
                format!("{{{}}}", each.join(","))
            }
        }
    }
}

/// Returns what a document of the events that a leaf means contains, if that says anything.
fn contained(leaf: &Leaf) -> Option<(Part, Contained)> {
    let metadata = |name: &str, step: Option<PathStep>, text: &str| {
        let path: Vec<_> = [Some(PathStep::Member(name.into())), step]
            .into_iter()
            .flatten()
            .collect();
        let wanted = Contained::of(&path, &JsonScalar::String(text.into()))?;
        Some((Part::Metadata, wanted))
    };
    match leaf {
        Leaf::Tag(tag) => metadata("tags", Some(PathStep::Element), tag),
        Leaf::User(user) => metadata("userId", None, user),
        Leaf::Term(term) => match &term.value {
            TermValue::Is(value) => Some((term.part, Contained::of(&term.path, value)?)),
            TermValue::Exists | TermValue::Object | TermValue::Array => None,
        },
        Leaf::EventTypes(_)
        | Leaf::AggregateTypes(_)
        | Leaf::AggregateIds(_)
        | Leaf::Streams(_)
        | Leaf::Ids(_)
        | Leaf::Correlation(_)
        | Leaf::Causation(_)
        | Leaf::Timestamp(_)
        | Leaf::Recorded(_)
        | Leaf::Sequence(_)
        | Leaf::Word(_) => None,
    }
}

/// Returns the JSON text that a document contains, in the sense of `@>`, if it has a value at a
/// place. `None` where PostgreSQL may not be able to read it.
fn containing(path: &[PathStep], value: &JsonScalar) -> Option<String> {
    let mut json = match value {
        JsonScalar::Null => "null".to_owned(),
        JsonScalar::Bool(value) => value.to_string(),
        JsonScalar::Number(number) => number.to_string(),
        JsonScalar::String(text) => json_string(text)?,
    };
    for step in path.iter().rev() {
        json = match step {
            PathStep::Member(name) => format!("{{{}:{json}}}", json_string(name)?),
            PathStep::Element => format!("[{json}]"),
        };
    }
    is_searchable(&json).then_some(json)
}

/// Returns a path in the language of PostgreSQL. It leads at least to what the steps lead to.
fn json_path(path: &[PathStep]) -> Option<String> {
    let mut text = "$".to_owned();
    for step in path {
        match step {
            PathStep::Member(name) => {
                text.push('.');
                text += &json_string(name)?;
            }
            PathStep::Element => text += "[*]",
        }
    }
    Some(text)
}

/// Returns a JSON string, or `None` for a text that no text of PostgreSQL can have in it.
fn json_string(text: &str) -> Option<String> {
    if text.contains('\0') {
        return None;
    }
    serde_json::to_string(text).ok()
}

fn all(sets: Vec<Set>) -> Set {
    join(sets, " AND ", &Set::All, &Set::Nothing)
}

fn any(sets: Vec<Set>) -> Set {
    join(sets, " OR ", &Set::Nothing, &Set::All)
}

/// Joins sets, of which one adds nothing and another decides everything.
fn join(sets: Vec<Set>, with: &str, neutral: &Set, decisive: &Set) -> Set {
    if sets.contains(decisive) {
        return decisive.clone();
    }
    let parts: Vec<_> = sets
        .into_iter()
        .filter_map(|set| match set {
            Set::Sql(sql) => Some(sql),
            Set::All | Set::Nothing => None,
        })
        .collect();
    match parts.as_slice() {
        [] => neutral.clone(),
        [only] => Set::Sql(only.clone()),
        _ => Set::Sql(format!("({})", parts.join(with))),
    }
}

#[cfg(test)]
mod tests {
    use factum_query::{Filter, JsonQuery, narrowing};

    use super::*;

    /// Returns what documents must contain, in the order in which it is asked for.
    fn check(filter: &Filter, expected: &[&str]) {
        let condition = condition(&narrowing(filter), "factum", 2);
        assert_eq!(condition.sql.matches("@>").count(), expected.len());
        // What a value is can only be seen by how it shows: texts as JSON has them.
        let shown = condition
            .values
            .iter()
            .map(|(value, _)| format!("{value:?}"));
        let texts = shown.filter_map(|shown| serde_json::from_str::<String>(&shown).ok());
        let asked: Vec<serde_json::Value> = texts
            .filter_map(|text| serde_json::from_str(&text).ok())
            .collect();
        for json in expected {
            // In which order the members of an object stand means nothing.
            let json: serde_json::Value = serde_json::from_str(json).unwrap();
            assert!(asked.contains(&json), "{json} in {asked:?}");
        }
    }

    #[test]
    fn what_one_document_contains_is_asked_for_at_once() {
        let equals = |path: &str, value: &str| JsonQuery::equals(path, value).unwrap();
        let payload = JsonQuery::And(vec![
            equals("$.country", "DE"),
            equals("$.applicant.sector", "x"),
            equals("$.applicant.city", "y"),
            equals("$.country", "FR"),
        ]);
        let filter = Filter {
            payload: Some(payload),
            ..Filter::default()
        };
        check(
            &filter,
            &[
                r#"{"country":"DE","applicant":{"sector":"x","city":"y"}}"#,
                r#"{"country":"FR"}"#,
            ],
        );
        let filter = Filter {
            user_id: Some("ann".to_owned()),
            tags: vec!["t".to_owned()],
            ..Filter::default()
        };
        check(&filter, &[r#"{"userId":"ann","tags":["t"]}"#]);
    }
}
