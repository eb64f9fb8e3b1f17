use serde_json::json;

use super::*;

fn rendered(source: &str) -> Result<String, RenderError> {
    let context = json!({
        "type": "form.opened",
        "payload": {"name": "Ann <a@b>", "n": 3, "list": [1, "two", null]},
    });
    Template::compile(source, Escape::Nothing)
        .unwrap()
        .render(&context)
}

fn refused(source: &str) -> InvalidTemplate {
    Template::compile(source, Escape::Nothing).unwrap_err()
}

#[test]
fn expressions_conditions_and_loops_are_rendered() {
    for (source, expected) in [
        ("{{ type }}", "form.opened"),
        ("{{ payload.name|upper }}", "ANN <A@B>"),
        ("{{ payload.missing|default('none') }}", "none"),
        ("{% if payload.n > 2 %}many{% else %}few{% endif %}", "many"),
        (
            "{% for x in payload.list %}[{{ x }}]{% endfor %}",
            "[1][two][None]",
        ),
        (
            "{{ payload|tojson }}",
            r#"{"list":[1,"two",null],"n":3,"name":"Ann <a@b>"}"#,
        ),
        ("{{ payload.list|join('-') }}", "1-two-None"),
        ("{{ payload.name|truncate(3, end='…') }}", "Ann…"),
        ("{{ payload.name|replace('n', 'm') }}", "Amm <a@b>"),
        (
            "{# {% set %} #}{% raw %}{{ * }}{% endraw %}*~+",
            "{{ * }}*~+",
        ),
        ("{{ '}} * ~' }}", "}} * ~"),
        ("{% if payload.other is defined %}a{% endif %}", ""),
        ("{{ metadata is defined }}", "False"),
    ] {
        match rendered(source) {
            Ok(text) => assert_eq!(text, expected, "{source}"),
            Err(error) => panic!("{source}: {error}"),
        }
    }
    let html = Template::compile("{{ payload.name }}", Escape::Html).unwrap();
    let context = json!({"payload": {"name": "<b>"}});
    assert_eq!(html.render(&context).unwrap(), "&lt;b&gt;");
}

#[test]
fn faults_are_told_with_their_place() {
    for (source, line, column) in [
        ("{{ a", 1, None),
        ("one\n two {% if %}", 2, Some(12)),
        ("{% set a = 1 %}", 1, Some(1)),
        ("\n\nä {% include 'x' %}", 3, Some(3)),
        ("{% macro a() %}{% endmacro %}", 1, Some(1)),
        ("{% for x in y recursive %}{% endfor %}", 1, Some(1)),
        ("a {{ 'x' * 1000 }}", 1, Some(3)),
    ] {
        let place = refused(source).place.unwrap();
        assert_eq!(place.line, line, "{source}");
        if column.is_some() {
            assert_eq!(place.column, column, "{source}");
        }
    }
    assert!(refused(&"x".repeat(SOURCE_BYTES_MAX + 1)).place.is_none());
    let many = format!("{{{{ {} }}}}", vec!["type"; 18].join("~"));
    assert!(refused(&many).rule.contains("exceeds the limit of 16"));
    for unknown in [
        "{{ type|unknown }}",
        "{% if type is unknown %}{% endif %}",
        "{{ 1 is not\nunknown }}",
    ] {
        let error = refused(unknown);
        assert!(
            error.rule.contains("\"unknown\"") && error.place.is_some(),
            "{error}"
        );
    }
}

#[test]
fn what_the_event_does_not_have_is_an_error_of_rendering() {
    let error = rendered("a\n{{ payload.missing }}")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 2") && error.contains("does not have"),
        "{error}"
    );
}

#[test]
fn steps_and_output_are_bounded() {
    let list: Vec<u32> = (0..1000).collect();
    let context = json!({"list": list, "long": "x".repeat(900_000)});
    let render = |source| {
        let template = Template::compile(source, Escape::Nothing).unwrap();
        template.render(&context).unwrap_err().to_string()
    };
    let steps = "{% for a in list %}{% for b in list %}{% for c in list %}{{ 1 }}{% endfor %}{% endfor %}{% endfor %}";
    assert!(render(steps).contains("steps"));
    for output in [
        "{% for a in list %}{{ long }}{% endfor %}",
        "{{ long ~ long ~ long }}",
        "{{ [long, long, long] }}",
        "{{ [long, long, long]|join }}",
        "{{ [long, long, long]|tojson }}",
        "{{ long|replace('x', 'yyyy') }}",
        "{{ list|join(long) }}",
    ] {
        assert!(render(output).contains("bytes"), "{output}");
    }
}
