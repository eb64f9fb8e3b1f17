//! What the operators mean, case by case, as docs/query.md says it.

use factum_query::{
    Filter, FilterLimits, JsonQuery, SequenceRange, TextQuery, narrowing, parse_text_form,
};

use crate::shared::event;

fn check(payload: &str, holding: &[&str], others: &[&str]) {
    let event = event(
        payload,
        r#"{"userId":"ann","tags":["x"],"sourceSystem":"crm"}"#,
    );
    for (expected, texts) in [(true, holding), (false, others)] {
        for text in texts {
            let filter = parse_text_form(text, &FilterLimits::DEFAULT);
            let filter = filter.unwrap_or_else(|error| panic!("{error}\n{}", error.draw(text)));
            assert_eq!(filter.matches(&event), expected, "{text} of {payload}");
            let not = Filter {
                not: vec![filter.clone()],
                ..Filter::default()
            };
            assert_eq!(not.matches(&event), !expected, "not {text} of {payload}");
        }
    }
}

#[test]
fn null_is_a_value_and_missing_is_none() {
    check(
        r#"{"n":null,"o":{},"l":[],"s":""}"#,
        &[
            "payload.n",
            "payload.n=null",
            "payload.n!=1",
            "payload.o",
            "payload.l",
            "payload.s=\"\"",
            "-payload.m",
            "payload.n=1,null",
            "payload.s:\"\"",
        ],
        &[
            "payload.m",
            "payload.m=null",
            "payload.m!=1",
            "payload.n=false",
            "payload.n=\"null\"",
            "payload.o=null",
            "payload.l[*]",
            "payload.s=null",
            "payload.n>0",
            "payload.n~n",
        ],
    );
}

#[test]
fn numbers_are_exact_and_texts_are_not_numbers() {
    check(
        r#"{"big":9007199254740993,"one":1.0,"d":0.1,"huge":1e400,"t":"10","neg":-0.0}"#,
        &[
            "payload.big=9007199254740993",
            "payload.big>9007199254740992",
            "payload.one=1",
            "payload.one=10e-1",
            "payload.d=0.10",
            "payload.d<0.1000000000000000000001",
            "payload.huge>1e399",
            "payload.huge<1e401",
            "payload.t=\"10\"",
            "payload.t<\"9\"",
            "payload.neg=0",
            "payload.big!=9007199254740992",
            "payload.one>=1 payload.one<=1",
        ],
        &[
            "payload.big=9007199254740992",
            "payload.big<=9007199254740992",
            "payload.t=10",
            "payload.t>9",
            "payload.t<9",
            "payload.one>\"0\"",
            "payload.neg<0",
            "payload.one=true",
        ],
    );
}

#[test]
fn any_selected_value_is_enough() {
    check(
        r#"{"items":[{"sku":"A","qty":1},{"sku":"B","qty":5}],"map":{"x":{"sku":"C"}},"tags":["red","blue",7]}"#,
        &[
            "payload.items[*].sku=A",
            "payload.items[*].sku=B",
            "payload.items[*].sku!=A",
            "payload.items[0].sku=A",
            "payload.items[-1].sku=B",
            "payload.map[*].sku=C",
            "payload.map.*.sku=C",
            "payload..sku=C",
            "payload.items[?@.qty>1].sku=B",
            "payload.tags:red",
            "payload.tags:7",
            "payload.tags[*]=7",
            "payload.items[0:1].qty=1",
            "payload['items','tags'][2]=7",
            "payload.tags[*]:lu",
            "payload.items[*].qty>4",
        ],
        &[
            "payload.items.sku=A",
            "payload.items[0].sku=B",
            "payload.items[?@.qty>1].sku=A",
            "payload.tags:re",
            "payload.tags:\"7\"",
            "payload.tags=red",
            "payload.items[*].sku=C",
            "payload.items:A",
            "-payload.items[*].sku!=A",
        ],
    );
}

#[test]
fn texts_are_compared_as_they_are() {
    check(
        r#"{"s":"Gr\u00fc\u00dfe aus K\u00f6ln\n","é":"x","a b":{"c'd":1}}"#,
        &[
            "payload.s:Köln",
            "payload.s~Grüße.*Köln",
            "payload.s~\\n$",
            "payload.é=x",
            "payload['a b'][\"c'd\"]=1",
            "payload['a b']['c\\'d']=1",
            "GRÜSSE",
            "\"aus köln\"",
            "payload.s~(?i)grüsse|GRÜ",
            "payload.s>A payload.s<a",
            "text:köln",
            "aus köln grüße",
        ],
        &[
            "payload.s:köln",
            "payload.s~^Köln",
            "payload.s=Grüße",
            "Grusse",
            "\"köln aus\"",
            "\"a b\"",
            "c",
        ],
    );
}

#[test]
fn everything_else_is_joined() {
    check(
        r#"{"a":1}"#,
        &[
            "metadata.sourceSystem=crm",
            "metadata.tags:x",
            "user:ann tag:x type:form.*",
            "user:bob or tag:x",
            "(user:bob or tag:x) payload.a=1",
            "sequence:1",
            "sequence:..5",
            "stream:form/f-1,form/f-2",
            "-(user:ann tag:y)",
            "-user:bob -tag:y",
            "",
            "id:01010101-0101-0101-0101-010101010101",
            "until:1970-01-02 since:1970",
        ],
        &[
            "metadata.sourceSystem=erp",
            "payload.sourceSystem=crm",
            "metadata.a",
            "crm",
            "user:bob tag:x",
            "-(user:ann tag:x)",
            "sequence:2..",
            "user:ann user:bob",
            "since:1970-01-02",
            "type:form",
            "recordedUntil:1970",
        ],
    );
}

#[test]
fn joined_by_hand_they_mean_the_same() {
    let seen = event(r#"{"a":1}"#, "{}");
    let one = Filter {
        payload: Some(JsonQuery::equals("$.a", 1_u64).unwrap()),
        ..Filter::default()
    };
    let no = Filter {
        payload: Some(JsonQuery::Or(Vec::new())),
        ..Filter::default()
    };
    assert!(!no.matches(&seen));
    let every = Filter {
        payload: Some(JsonQuery::And(Vec::new())),
        ..Filter::default()
    };
    assert!(every.matches(&seen) && !every.is_empty());
    let both = |all_of: Vec<Filter>, not: Vec<Filter>| Filter {
        all_of,
        not,
        sequence: SequenceRange::default(),
        ..Filter::default()
    };
    assert!(both(vec![one.clone(), every.clone()], vec![no.clone()]).matches(&seen));
    assert!(!both(vec![one.clone(), no], Vec::new()).matches(&seen));
    assert!(!both(Vec::new(), vec![every, one]).matches(&seen));
    assert!(narrowing(&Filter::default()).is_exact());
}

#[test]
fn a_word_ends_where_the_kind_of_character_does() {
    let seen = event(
        r#"{"file":"/var/log/foo_bar.Baz2","ansi":"\u001b[0mred\u001b[m","no":"№5","cjk":"東京都"}"#,
        "{}",
    );
    let has = |text: &str| {
        let text = TextQuery::parse(text).ok();
        let filter = Filter {
            text,
            ..Filter::default()
        };
        filter.matches(&seen)
    };
    for found in [
        "foo",
        "baz",
        "\"bar baz 2\"",
        "mred",
        "東",
        "\"京 都\"",
        "京都",
        "log foo",
    ] {
        assert!(has(found), "{found}");
    }
    for missing in [
        "foo_ba",
        "baz22",
        "file",
        "\"foo baz\"",
        "都東x",
        "\"都 東\"",
    ] {
        assert!(!has(missing), "{missing}");
    }
}
