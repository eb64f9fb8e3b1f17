//! Asks every oracle a few hundred times: `FACTUM_SLOW_TESTS=1` asks more often.
#![expect(clippy::panic, reason = "a broken promise is the failure of its test")]

use factum_oracles::{ALL, Oracle};
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::{Config, TestRunner};
use proptest::{collection, prop_oneof, sample};

fn n_cases() -> u32 {
    match std::env::var_os("FACTUM_SLOW_TESTS") {
        Some(slow) if slow == "1" => 20_000,
        Some(_) | None => 300,
    }
}

/// Pieces of which texts that nearly mean something are made.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "d800",
    "dc00",
    "0000",
    "null",
    "true",
    "-",
    "0",
    "1.5e",
    "a",
    "é",
    " ",
    "\n",
    "\t",
    "\u{0}",
    "&",
    "=",
    "%",
    "+",
    ".",
    "*",
    ">",
    "Z",
    "T",
    "2026-11-21",
    "08:35:60",
    "\"type\":",
    "\"payload\":{}",
    "\"filter\":",
    "\"anyOf\":[",
    "\"tags\":[",
    "\"a\":",
    "\"payloadQuery\":",
    "\"operator\":\"",
    "\"not\":",
    "$",
    "..",
    "[*]",
    "[?@.a",
    "[-1]",
    "'",
    "(",
    ")",
    "~",
    "!=",
    "payload.a",
    " or ",
    "1e99999999999999999999",
    "event.payload",
    " && ",
    "?",
    ".exists(x, ",
    ".map(y, ",
    "has(",
    "matches('",
    "9223372036854775807",
    "//",
];

/// A change of a text: at a place, so many bytes are replaced by these.
fn change() -> impl Strategy<Value = (sample::Index, usize, Vec<u8>)> {
    let bytes = prop_oneof![
        collection::vec(any::<u8>(), 0..4),
        sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    (any::<sample::Index>(), 0..4_usize, bytes)
}

fn inputs(oracle: &Oracle) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds: Vec<Vec<u8>> = oracle
        .seeds
        .iter()
        .map(|seed| seed.as_bytes().to_vec())
        .collect();
    let changed = (sample::select(seeds), collection::vec(change(), 0..6)).prop_map(
        |(mut bytes, changes)| {
            for (at, length, new) in changes {
                let at = at.index(bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                bytes.splice(at..end, new);
            }
            bytes
        },
    );
    prop_oneof![
        2 => changed,
        1 => collection::vec(sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => collection::vec(any::<u8>(), 0..200),
        1 => (0..200_usize, Just(b"{\"a\":".to_vec())).prop_map(|(depth, piece)| piece.repeat(depth)),
    ]
}

fn ask(name: &str) {
    let oracle = ALL.iter().find(|oracle| oracle.name == name);
    let Some(oracle) = oracle else {
        panic!("there is no oracle {name}");
    };
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(n_cases())
    };
    let result = TestRunner::new(config).run(&inputs(oracle), |bytes| {
        (oracle.check)(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

macro_rules! oracles {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            ask(stringify!($name));
        })*

        #[test]
        fn every_oracle_is_asked_and_has_a_fuzz_target() {
            let asked = [$(stringify!($name)),*];
            let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/fuzz_targets");
            for oracle in ALL {
                assert!(asked.contains(&oracle.name), "{}", oracle.name);
                let target = format!("{targets}/{}.rs", oracle.name);
                assert!(std::path::Path::new(&target).exists(), "{target}");
            }
        }
    };
}

oracles!(json metadata names time cursor events queries bodies filters text_form cel live bulk store);
