//! What an index would answer, from the terms that it would store, never contradicts the
//! evaluator.

use std::collections::HashSet;

use factum_model::RecordedEvent;
use factum_query::{
    Bound, Coverage, Decimal, Expression, Filter, FilterLimits, JsonCondition, JsonQuery,
    JsonScalar, JsonTest, Leaf, Part, SequenceRange, Side, TermHasher, TermLimits, TermSink,
    TextQuery, TimeRange, document_terms, narrowing,
};
use proptest::prelude::*;

use crate::shared::event;

/// The index of one event.
#[derive(Default)]
struct Index {
    terms: HashSet<u64>,
    words: HashSet<u64>,
}

impl TermSink for Index {
    fn path_term(&mut self, term: u64) {
        self.terms.insert(term);
    }

    fn word_term(&mut self, term: u64) {
        self.words.insert(term);
    }
}

const HASHER: TermHasher = TermHasher::new(*b"a key of 16 byte");

fn index(event: &RecordedEvent, limits: &TermLimits) -> (Index, Coverage) {
    let mut index = Index::default();
    let payload = document_terms(&HASHER, Part::Payload, event.payload(), limits, &mut index);
    let metadata = document_terms(
        &HASHER,
        Part::Metadata,
        event.metadata(),
        limits,
        &mut index,
    );
    (index, payload.and(metadata))
}

/// The answer of a list of the index; `None` where the event's terms are not complete.
fn is_under(leaf: &Leaf, event: &RecordedEvent, index: &(Index, Coverage)) -> Option<bool> {
    let known = |holds: bool, complete: bool| (holds || complete).then_some(holds);
    match leaf {
        Leaf::Term(fact) => known(index.0.terms.contains(&HASHER.term(fact)), index.1.paths),
        Leaf::Word(word) => known(index.0.words.contains(&HASHER.word(word)), index.1.words),
        Leaf::EventTypes(patterns) => Some(
            patterns
                .iter()
                .any(|pattern| pattern.matches(event.event_type())),
        ),
        Leaf::Sequence(range) => Some(range.contains(event.sequence_number)),
        Leaf::Timestamp(range) => Some(range.contains(event.timestamp)),
        Leaf::User(user) => Some(matches(event, |filter| filter.user_id = Some(user.clone()))),
        Leaf::Tag(tag) => Some(matches(event, |filter| filter.tags.push(tag.clone()))),
        other => panic!("not asked for here: {other:?}"),
    }
}

fn matches(event: &RecordedEvent, set: impl FnOnce(&mut Filter)) -> bool {
    let mut filter = Filter::default();
    set(&mut filter);
    filter.matches(event)
}

fn scalar_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        prop::sample::select(vec![
            "0",
            "-0.0",
            "1",
            "1.0",
            "10e-1",
            "2",
            "-1",
            "9007199254740993",
            "9007199254740992",
            "1e999999999",
        ])
        .prop_map(str::to_owned),
        prop::sample::select(vec![
            "",
            "a",
            "A",
            "red",
            "the red fox",
            "x-the red-y",
            "Straße",
            "caf\\u00e9",
            "é1",
            "\\ud83d\\ude00",
            "a\\nb",
            "1",
        ])
        .prop_map(|text| format!("\"{text}\"")),
        Just(format!("\"{}\"", "long ".repeat(300))),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let value = scalar_text().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|elements| format!("[{}]", elements.join(", "))),
            object_of(inner),
        ]
    });
    object_of(value)
}

fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let keys = prop::sample::subsequence(vec!["a", "b", "\\u00e9", "items"], 0..4);
    (keys, prop::collection::vec(value, 4)).prop_map(|(keys, values)| {
        let members: Vec<_> = keys
            .iter()
            .zip(values)
            .map(|(key, value)| format!(" \"{key}\" : {value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

fn scalar() -> impl Strategy<Value = JsonScalar> {
    scalar_text().prop_map(|text| match &*text {
        "null" => JsonScalar::Null,
        "true" => JsonScalar::Bool(true),
        "false" => JsonScalar::Bool(false),
        quoted if quoted.starts_with('"') => {
            JsonScalar::from(&*serde_json::from_str::<String>(quoted).unwrap())
        }
        number => JsonScalar::Number(number.parse::<Decimal>().unwrap()),
    })
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec![
        ".a",
        ".b",
        ".a",
        ".items",
        "['é']",
        "[*]",
        "[0]",
        "[-1]",
        ".*",
        "[0:2]",
        "..a",
        "..*",
        "['a','b']",
        "[?@.a]",
        "[?@ == 1]",
    ]);
    prop::collection::vec(segment, 0..4).prop_map(|segments| format!("${}", segments.concat()))
}

fn json_test() -> impl Strategy<Value = JsonTest> {
    let side = prop::sample::select(vec![
        Side::Greater,
        Side::GreaterOrEqual,
        Side::Less,
        Side::LessOrEqual,
    ]);
    let regex = prop::sample::select(vec!["^a$", "red", "", "[0-9]"]);
    let limits = FilterLimits::DEFAULT;
    prop_oneof![
        Just(JsonTest::Exists),
        scalar().prop_map(JsonTest::Equals),
        scalar().prop_map(JsonTest::NotEquals),
        scalar().prop_map(JsonTest::Contains),
        prop::collection::vec(scalar(), 0..3).prop_map(JsonTest::In),
        regex.prop_map(move |text| {
            JsonTest::Regex(Expression::parse_within(text, &limits).unwrap())
        }),
        (side, -2_i64..3).prop_map(|(side, number)| {
            JsonTest::Range(side, Bound::Number(number.to_string().parse().unwrap()))
        }),
        Just(JsonTest::Range(Side::Less, Bound::String("m".into()))),
    ]
}

fn json_query() -> impl Strategy<Value = JsonQuery> {
    let leaf = (path(), json_test()).prop_map(|(path, test)| {
        let path = path.parse().unwrap();
        JsonQuery::Leaf(JsonCondition { path, test })
    });
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(JsonQuery::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(JsonQuery::Or),
            inner.prop_map(|inner| JsonQuery::Not(Box::new(inner))),
        ]
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let text = prop::sample::select(vec!["red", "a", "\"the red\"", "STRASSE 1", "long"]);
    let leaf = prop_oneof![
        4 => json_query().prop_map(|query| Filter { payload: Some(query), ..Filter::default() }),
        1 => json_query().prop_map(|query| Filter { metadata: Some(query), ..Filter::default() }),
        2 => text.prop_map(|text| Filter {
            text: Some(TextQuery::parse(text).unwrap()),
            ..Filter::default()
        }),
        1 => Just(Filter { user_id: Some("ann".to_owned()), ..Filter::default() }),
        1 => Just(Filter { tags: vec!["x".to_owned()], ..Filter::default() }),
        1 => Just(Filter {
            event_types: vec!["form.*".parse().unwrap()],
            sequence: SequenceRange { from: None, to: None },
            timestamp: TimeRange::default(),
            ..Filter::default()
        }),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 0..3);
        (some.clone(), some.clone(), some, inner).prop_map(|(any_of, all_of, not, own)| Filter {
            any_of,
            all_of,
            not,
            ..own
        })
    })
}

fn check(filter: &Filter, event: &RecordedEvent, limits: &TermLimits) {
    let index = index(event, limits);
    let narrowing = narrowing(filter);
    let decided = narrowing.decide(&mut |leaf| is_under(leaf, event, &index));
    let holds = filter.matches(event);
    let story = || format!("{filter:?}\non {}\nas {narrowing:?}", event.payload());
    if let Some(decided) = decided {
        assert_eq!(decided, holds, "{}", story());
    }
    if narrowing.is_exact() && index.1.is_complete() {
        assert_eq!(decided, Some(holds), "{}", story());
    }
    assert_eq!(filter.check_condition().is_ok(), narrowing.is_exact());
}

/// `FACTUM_SLOW_TESTS=1` asks more often.
fn n_cases() -> u32 {
    match std::env::var_os("FACTUM_SLOW_TESTS") {
        Some(slow) if slow == "1" => 200_000,
        Some(_) | None => 4000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(n_cases()))]

    #[test]
    fn an_index_never_contradicts_the_evaluator(
        filter in filter(),
        payload in document(),
        metadata in document(),
        path_terms_max in prop_oneof![Just(4096_usize), 0_usize..20],
        word_terms_max in prop_oneof![Just(4096_usize), 0_usize..10],
    ) {
        let limits = TermLimits { path_terms_max, word_terms_max };
        check(&filter, &event(&payload, &metadata), &limits);
    }
}

#[test]
fn what_an_index_cannot_decide_is_named() {
    let what = |path: &str, test: JsonTest| {
        let query = JsonQuery::Leaf(JsonCondition {
            path: path.parse().unwrap(),
            test,
        });
        let filter = Filter {
            payload: Some(query),
            ..Filter::default()
        };
        filter
            .check_condition()
            .err()
            .map(|error| error.to_string())
    };
    let equals = || JsonTest::Equals("x".into());
    assert_eq!(what("$.a['b'].c", equals()), None);
    assert_eq!(what("$.a", JsonTest::Exists), None);
    assert_eq!(what("$.a", JsonTest::NotEquals("x".into())), None);
    assert_eq!(what("$.a", JsonTest::In(vec![1.into(), true.into()])), None);
    assert_eq!(what("$.tags", JsonTest::Contains(7.into())), None);
    let refused = |what: &str| {
        format!(
            "an append condition cannot ask for {what}; it can ask for types, aggregates, tags, \
             ids, conversations, words, and for members of payload and metadata that exist or \
             have a value"
        )
    };
    assert_eq!(
        what("$.a[0]", equals()),
        Some(refused("a path with an index or a slice"))
    );
    assert_eq!(
        what("$.a[*].b", equals()),
        Some(refused("a path with '*' or a filter"))
    );
    let long = JsonTest::Equals(JsonScalar::from(&*"x".repeat(2000)));
    assert_eq!(what("$.a", long), Some(refused("a long value")));
    let range = JsonTest::Range(Side::Less, Bound::Number(1_u64.into()));
    assert_eq!(what("$.a", range), Some(refused("a value in a range")));
}

#[test]
fn places_deeper_than_the_terms_are_looked_at() {
    for depth in 14..20 {
        let names = vec!["a"; depth];
        let payload = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let path = format!("$.{}", names.join("."));
        for number in [1_u64, 2] {
            let filter = Filter {
                payload: Some(JsonQuery::equals(&path, number).unwrap()),
                ..Filter::default()
            };
            let event = event(&payload, "{}");
            assert_eq!(filter.matches(&event), number == 1);
            check(&filter, &event, &TermLimits::default());
        }
        let listed = format!("{}[7]{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let query = JsonQuery::Leaf(JsonCondition {
            path: path.parse().unwrap(),
            test: JsonTest::Contains(7.into()),
        });
        let filter = Filter {
            payload: Some(query),
            ..Filter::default()
        };
        check(&filter, &event(&listed, "{}"), &TermLimits::default());
    }
}
