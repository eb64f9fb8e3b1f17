//! Terms are stored: what is hashed today must be hashed tomorrow.

use super::*;

const HASHER: TermHasher = TermHasher::new(*b"sixteen bytes !!");

#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    paths: Vec<u64>,
    words: Vec<u64>,
}

impl TermSink for Taken {
    fn path_term(&mut self, term: u64) {
        self.paths.push(term);
    }

    fn word_term(&mut self, term: u64) {
        self.words.push(term);
    }
}

fn taken(part: Part, json: &str) -> Taken {
    let mut taken = Taken::default();
    let coverage = document_terms(&HASHER, part, json, &TermLimits::default(), &mut taken);
    assert!(coverage.is_complete());
    taken
}

/// Reads a path such as `a.[].b`.
fn fact(part: Part, path: &str, value: TermValue) -> u64 {
    let step = |step: &str| match step {
        "[]" => PathStep::Element,
        name => PathStep::Member(name.into()),
    };
    HASHER.term(&TermKey {
        part,
        path: path.split('.').map(step).collect(),
        value,
    })
}

fn check(part: Part, json: &str, facts: &[(&str, TermValue)], words: &[&str]) {
    let taken = taken(part, json);
    let facts: Vec<u64> = facts
        .iter()
        .map(|(path, value)| fact(part, path, value.clone()))
        .collect();
    assert_eq!(taken.paths, facts, "{json}");
    let words: Vec<u64> = words.iter().map(|word| HASHER.word(word)).collect();
    assert_eq!(taken.words, words, "{json}");
}

fn is(value: impl Into<JsonScalar>) -> TermValue {
    TermValue::Is(value.into())
}

#[test]
fn every_place_and_value_has_a_term() {
    use TermValue::{Array, Exists, Object};
    check(Part::Payload, "{}", &[], &[]);
    check(
        Part::Payload,
        r#" { "a" : "Red fox2", "n": -10.50e1, "z":null, "t":true,"f":false } "#,
        &[
            ("a", Exists),
            ("a", is("Red fox2")),
            ("n", Exists),
            ("n", is("-105".parse::<crate::Decimal>().unwrap())),
            ("z", Exists),
            ("z", TermValue::Is(JsonScalar::Null)),
            ("t", Exists),
            ("t", is(true)),
            ("f", Exists),
            ("f", is(false)),
        ],
        &["red", "fox", "2"],
    );
    check(
        Part::Payload,
        r#"{"o":{"\u00e9":[{"k":1},[],[2,3],{}]},"e":[]}"#,
        &[
            ("o", Exists),
            ("o", Object),
            ("o.é", Exists),
            ("o.é", Array),
            ("o.é.[]", Exists),
            ("o.é.[]", Object),
            ("o.é.[].k", Exists),
            ("o.é.[].k", is(1)),
            ("o.é.[]", Array),
            ("o.é.[]", Array),
            ("o.é.[].[]", Exists),
            ("o.é.[].[]", is(2)),
            ("o.é.[].[]", is(3)),
            ("o.é.[]", Object),
            ("e", Exists),
            ("e", Array),
        ],
        &[],
    );
    // Metadata have no words.
    check(
        Part::Metadata,
        r#"{"a":"b"}"#,
        &[("a", Exists), ("a", is("b"))],
        &[],
    );
}

#[test]
fn long_values_and_deep_places_have_only_what_is_said() {
    let long = "x".repeat(VALUE_BYTES_MAX);
    let json = format!(r#"{{"a":"{long}","b":"{long}x"}}"#);
    let words = [long.clone(), format!("{long}x")];
    let facts = [
        ("a", TermValue::Exists),
        ("a", is(&*long)),
        ("b", TermValue::Exists),
    ];
    check(Part::Payload, &json, &facts, &[&words[0], &words[1]]);
    let deep = format!("{}\"w\"{}", r#"{"a":"#.repeat(17), "}".repeat(17));
    let deep = taken(Part::Payload, &deep);
    // Sixteen places, all with an object; the word that is deeper is there.
    assert_eq!((deep.paths.len(), deep.words.len()), (32, 1));
}

#[test]
fn what_does_not_fit_is_told() {
    let json = r#"{"a":1,"b":"x y"}"#;
    for (paths, words, complete) in [
        (4, 2, (true, true)),
        (3, 2, (false, true)),
        (4, 1, (true, false)),
    ] {
        let limits = TermLimits {
            path_terms_max: paths,
            word_terms_max: words,
        };
        let mut terms = Vec::new();
        let coverage = document_terms(&HASHER, Part::Payload, json, &limits, &mut terms);
        assert_eq!((coverage.paths, coverage.words), complete);
        assert_eq!(terms.len(), paths + words);
    }
}

/// If this fails, stored indexes cannot be read any more: the layout in `TERMS_VERSION` goes up,
/// and then these numbers may be changed.
#[test]
fn terms_are_what_they_were() {
    let json = r#"{"a":[{"b":"Straße 12"},-0.5,null]}"#;
    let taken = taken(Part::Payload, json);
    agreed(&taken.paths, PATHS);
    agreed(&taken.words, WORDS);
    assert_eq!(TERMS_VERSION >> 24, 3);
}

fn agreed(taken: &[u64], before: &[u64]) {
    assert_eq!(taken, before, "{taken:#018x?}");
}

const PATHS: &[u64] = &[
    0xa0a6_92a0_7da5_3366,
    0x4efc_8a7c_d083_e501,
    0xa4ab_e409_8d84_0039,
    0xf6b3_2ca7_b867_7ff3,
    0xd9bf_97bf_1025_0ea3,
    0x541b_a883_6d60_160a,
    0x0bbd_0339_a947_9b75,
    0x1a9f_8b63_08c0_805a,
];
const WORDS: &[u64] = &[0x7d35_d9a5_ee3f_dd6d, 0xec0d_9b21_df9b_c4de];

#[test]
fn what_is_left_out_has_the_terms_that_say_so_and_no_others() {
    let place = |path: &str| fact(Part::Payload, path, TermValue::Exists);
    let left_out = [place("body"), place("items.[].note")];
    let taken = |json: &str| {
        let mut taken = Taken::default();
        let source = TermSource {
            part: Part::Payload,
            json,
            left_out: &left_out,
        };
        assert!(source_terms(&HASHER, source, &TermLimits::default(), &mut taken).is_complete());
        taken
    };
    let marks = |path: &str| [place(path), HASHER.left_out(place(path))];
    for body in [
        r#""two words""#,
        "1",
        r#"{"a":{"b":["word"]},"c":[[]]}"#,
        "[[1],[{}]]",
        "{}",
        "[]",
    ] {
        let json = [r#"{"body":"#, body, r#","id":7}"#].concat();
        let mut paths = marks("body").to_vec();
        paths.push(place("id"));
        paths.push(fact(Part::Payload, "id", is(7)));
        paths.push(HASHER.words_left_out());
        assert_eq!(
            taken(&json),
            Taken {
                paths,
                words: vec![]
            },
            "{json}"
        );
    }
    let inside = taken(r#"{"items":[{"note":"word","id":"x"},{"id":[]}]}"#);
    let without = taken_without(r#"{"items":[{"id":"x"},{"id":[]}]}"#);
    let mut marks = marks("items.[].note").to_vec();
    marks.push(HASHER.words_left_out());
    let rest = inside.paths.iter().filter(|term| !marks.contains(term));
    assert!(rest.eq(&without.paths));
    assert_eq!(inside.words, without.words);
    assert_eq!(
        taken(r#"{"Body":1,"other":"x"}"#),
        taken_without(r#"{"Body":1,"other":"x"}"#)
    );
}

/// The budget of terms was used up before what is left out came, and nothing said that its words
/// are missing.
#[test]
fn that_words_are_left_out_is_said_whatever_the_limits() {
    let limits = TermLimits {
        path_terms_max: 3,
        word_terms_max: 10,
    };
    let source = TermSource {
        part: Part::Payload,
        json: r#"{"a":[1,2,3,4,5],"body":"needle"}"#,
        left_out: &[fact(Part::Payload, "body", TermValue::Exists)],
    };
    let mut taken = Taken::default();
    let coverage = source_terms(&HASHER, source, &limits, &mut taken);
    assert!(!coverage.paths && coverage.words);
    assert!(taken.paths.contains(&HASHER.words_left_out()));
    assert_eq!(taken.words, Vec::<u64>::new());
}

fn taken_without(json: &str) -> Taken {
    taken(Part::Payload, json)
}
