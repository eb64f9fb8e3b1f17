//! Queries that were made to cost much are refused, or end soon.
//!
//! Nothing here looks at a clock: without the bounds these would not end while anybody waits.

use factum_query::{
    Expression, Filter, FilterLimits, InvalidFilter, JsonCondition, JsonPath, JsonQuery, JsonTest,
    PATH_STEPS_MAX, Part, TermHasher, TermLimits, TextQuery, Verdict, document_terms,
    parse_text_form,
};

use crate::shared::event;

fn examine(path: &str, test: JsonTest, payload: &str) -> Verdict {
    let path = path.parse().unwrap();
    let filter = Filter {
        payload: Some(JsonQuery::Leaf(JsonCondition { path, test })),
        ..Filter::default()
    };
    filter.examine(&event(payload, "{}"))
}

fn refused(path: &str) -> InvalidFilter {
    path.parse::<JsonPath>().unwrap_err()
}

/// Forty thousand values, deep and wide.
fn large() -> String {
    let inner = r#"{"a":1,"b":{"c":[1,[2,[3]]]}},"#.repeat(5000);
    format!(r#"{{"a":[{inner}1],"b":"{}"}}"#, "a".repeat(100_000))
}

#[test]
fn filters_of_paths_stop_and_say_so() {
    let payload = large();
    for path in [
        "$..[?@..*]",
        "$..[?count(@..*) > 100000]",
        "$..[?@..[?@..[?@..[?@ == 'x']]]]",
        "$..[?$..[?$..[?@ == 'x']]]",
        "$.a[?@ == $.a[0] || $..[?@ == 2]]",
        "$..[?length($.b) > 1]",
        "$..[?search($.b, '(a+)+b')]",
        "$.a[?match($.b, $.b)]",
    ] {
        let verdict = examine(path, JsonTest::Equals("none".into()), &payload);
        assert!(verdict.cut && !verdict.matches, "{path}: {verdict:?}");
        let path: JsonPath = path.parse().unwrap();
        assert_eq!(path.select(&payload), None, "{path}");
    }
}

#[test]
fn what_was_selected_before_the_end_counts() {
    let n_values = usize::try_from(PATH_STEPS_MAX).unwrap();
    let payload = format!(r#"{{"a":[7{},8]}}"#, ",1".repeat(n_values));
    let first = examine("$.a[?@ > 1]", JsonTest::Equals(7.into()), &payload);
    assert_eq!((first.matches, first.cut), (true, true));
    let last = examine("$.a[?@ > 1]", JsonTest::Equals(8.into()), &payload);
    assert_eq!((last.matches, last.cut), (false, true));
    // Without a filter every value is looked at.
    let last = examine("$.a[*]", JsonTest::Equals(8.into()), &payload);
    assert_eq!((last.matches, last.cut), (true, false));
}

#[test]
fn paths_without_filters_visit_everything_and_end() {
    let payload = large();
    let all = "*,".repeat(20);
    let slices = "::1,".repeat(20);
    for path in [
        "$..*..*..*..*..*..*..*..*",
        &format!("$..[{all}*]..[{all}*]..[*]"),
        &format!("$..[{slices}::-1]..[{slices}0]"),
    ] {
        let verdict = examine(path, JsonTest::Equals("none".into()), &payload);
        assert_eq!((verdict.matches, verdict.cut), (false, false), "{path}");
        // As a list it would have more values than there is memory.
        assert_eq!(path.parse::<JsonPath>().unwrap().select(&payload), None);
    }
}

#[test]
fn absurd_paths_are_refused_with_the_place() {
    let rule = |path: &str| match refused(path) {
        InvalidFilter::Path { rule, .. } => rule,
        other => panic!("{other}"),
    };
    let nested = format!("$[?{}@{}]", "(".repeat(300), ")".repeat(300));
    assert_eq!(
        rule(&nested),
        "filters and parentheses are nested too deeply"
    );
    let nested = format!("${}@{}", "[?@".repeat(200), "]".repeat(200));
    assert_eq!(
        rule(&nested),
        "filters and parentheses are nested too deeply"
    );
    assert_eq!(
        rule(&format!("$[?{}@]", "!".repeat(200))),
        "expected a value, a query that begins with @ or $, or a function"
    );
    assert_eq!(
        rule(&format!("${}", ".a".repeat(65))),
        "the path has too many segments and selectors"
    );
    assert_eq!(
        rule(&format!("$[{}0]", "0,".repeat(100))),
        "the path has too many segments and selectors"
    );
    assert_eq!(
        rule("$[99999999999999999999]"),
        "an integer is at most 9007199254740991"
    );
    assert_eq!(
        rule(&format!("$[?{}@]", "match(@,'x')||".repeat(5))),
        "a path has at most four calls of match and search"
    );
    assert!(matches!(
        refused(&"$".repeat(5000)),
        InvalidFilter::Length { .. }
    ));
}

#[test]
fn regular_expressions_are_linear_or_refused() {
    let limits = FilterLimits::DEFAULT;
    let payload = format!(r#"{{"a":"{}"}}"#, "a".repeat(200_000));
    for bomb in [
        "(a+)+b",
        "(a|aa)+$b",
        "(a*)*(a*)*b",
        "(.*a){12}b",
        "(?:a?){40}a{40}b",
    ] {
        let regex = Expression::parse_within(bomb, &limits).unwrap();
        assert!(
            !examine("$.a", JsonTest::Regex(regex), &payload).matches,
            "{bomb}"
        );
    }
    for bomb in [
        "(\\w{50}){50}",
        "((a{100}){100}){100}",
        "\\pL{1000}",
        &"(".repeat(300),
        "(?=a)",
    ] {
        let error = Expression::parse_within(bomb, &limits).unwrap_err();
        assert!(matches!(error, InvalidFilter::Regex { .. }), "{bomb}");
    }
    let long = Expression::parse_within(&"a".repeat(513), &limits).unwrap_err();
    assert!(matches!(long, InvalidFilter::Length { actual: 513, .. }));
}

#[test]
fn numbers_with_absurd_exponents_cost_nothing() {
    for number in [
        "1e999999999999999999999",
        "-1e-999999999999999999999",
        "0e99999999999999999",
    ] {
        let payload = format!(r#"{{"a":{number}}}"#);
        let equal = JsonTest::Equals(number.parse::<factum_query::Decimal>().unwrap().into());
        assert!(examine("$.a", equal, &payload).matches);
        assert!(!examine("$.a", JsonTest::Equals(1.into()), &payload).matches);
    }
    let digits = format!(r#"{{"a":{}}}"#, "1".repeat(100_000));
    assert!(examine("$[?@ > 1e99999]", JsonTest::Exists, &digits).matches);
}

#[test]
fn long_lists_and_texts_end() {
    let payload = large();
    let values = (0..1000_u64).map(|number| (number + 10).into()).collect();
    assert!(!examine("$..*", JsonTest::In(values), &payload).matches);
    let text = format!(r#"{{"a":"{}"}}"#, "a ".repeat(50_000));
    let phrase = format!("\"{} b\"", "a ".repeat(900));
    let filter = Filter {
        text: Some(TextQuery::parse(&phrase).unwrap()),
        ..Filter::default()
    };
    assert_eq!(filter.check(FilterLimits::DEFAULT), Ok(()));
    assert!(!filter.matches(&event(&text, "{}")));
    let many = Filter {
        text: Some(TextQuery::parse(&"a ".repeat(10).repeat(10)).unwrap()),
        ..Filter::default()
    };
    assert!(many.matches(&event(&text, "{}")));
}

#[test]
fn filters_are_bounded_as_a_whole() {
    let limits = FilterLimits::DEFAULT;
    let fault = |text: &str| parse_text_form(text, &limits).unwrap_err().to_string();
    assert!(fault(&"payload.a~x ".repeat(9)).contains("9 regular expressions"));
    assert!(fault(&"payload[?@] ".repeat(5)).contains("5 paths with filter expressions"));
    assert!(fault(&"payload.a=1 ".repeat(600).repeat(2)).contains("exceeds the limit"));
    let many = format!("payload.a={}1", "1,".repeat(1200));
    assert!(fault(&many).contains("values exceeds the limit of 1000"));
    let long = format!("payload.a={}", "x".repeat(5000));
    assert!(fault(&long).contains("value to compare with of 5000 bytes"));
}

#[test]
fn terms_of_absurd_texts_are_bounded() {
    let hasher = TermHasher::new([0; 16]);
    let limits = TermLimits::default();
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for payload in [
        &large(),
        &deep,
        "",
        "{",
        "[1",
        "{\"a\":\"\\",
        "{\"a\" 1}",
        "nul",
        "]",
    ] {
        let mut terms = Vec::new();
        let _coverage = document_terms(&hasher, Part::Payload, payload, &limits, &mut terms);
        assert!(terms.len() <= limits.path_terms_max + limits.word_terms_max);
        // Neither does the evaluator mind what no store holds.
        examine("$..*", JsonTest::Exists, payload);
    }
}
