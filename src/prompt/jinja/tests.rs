use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::*;

fn render_with(template: &str, given: Map<String, Value>) -> Result<String, String> {
    let jinja = Jinja::parse(template).map_err(|error| error.to_string())?;
    let variables = Variables { given, date: Some(TemplateDate::DEFAULT), marks: "", input: 0 };
    jinja.render(&variables).map_err(|error| error.to_string())
}

fn render(template: &str) -> Result<String, String> {
    render_with(template, Map::new())
}

#[test]
fn templates_give_the_text_that_jinja2_gives() {
    let recorded =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/jinja.jsonl")).unwrap();
    let mut lines = recorded.lines();
    let variables: Map<String, Value> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (mut compared, mut differences) = (0, Vec::new());
    for line in lines {
        let (template, expected): (String, Option<String>) = serde_json::from_str(line).unwrap();
        let ours = render_with(&template, variables.clone());
        if ours.as_ref().ok() != expected.as_ref() {
            differences.push(format!("{template}\n  is {ours:?}\n for {expected:?}"));
        }
        compared += 1;
    }
    assert!(differences.is_empty(), "{} of {compared}:\n{}", differences.len(), differences.join("\n"));
    assert!(compared > 2000, "{compared}");
}

#[test]
fn chat_templates_of_well_known_kinds_give_the_text_that_jinja2_gives() {
    let recorded =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/templates.jsonl"))
            .unwrap();
    let mut lines = recorded.lines();
    let conversations: Map<String, Value> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (mut templates, mut differences) = (0, Vec::new());
    for line in lines {
        let survey: Value = serde_json::from_str(line).unwrap();
        for (name, variables) in &conversations {
            let ours =
                render_with(survey["template"].as_str().unwrap(), variables.as_object().unwrap().clone());
            let expected = &survey["texts"][name];
            if ours.as_deref().ok() != expected.as_str() {
                differences.push(format!("{} on {name}\n  is {ours:?}\n for {expected}", survey["name"]));
            }
        }
        templates += 1;
    }
    assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
    assert!(templates >= 30 && conversations.len() >= 12);
}

/// Longer than a slow machine needs for anything here: work without a bound takes hours.
const BOUND: Duration = Duration::from_secs(600);

/// What a template that costs too much says, and that it is stopped.
fn refusal(template: &str) -> String {
    let started = Instant::now();
    let refusal = render(template).unwrap_err();
    assert!(started.elapsed() < BOUND, "{}", &template[..60]);
    refusal
}

#[test]
fn hostile_templates_are_stopped_in_bounded_time_and_memory() {
    let long = "it ran for too long; send fewer or shorter messages";
    let large = "it makes too much text; send fewer or shorter messages";
    let endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
    assert_eq!(refusal(endless), long);
    for double in
        ["ns.x + ns.x", "ns.x ~ ns.x", "ns.x * 9", "ns.x.replace('', ns.x)", "ns.x.join([ns.x, ns.x, ns.x])"]
    {
        let template = format!(
            "{{% set ns = namespace(x='abc') %}}{{% for i in range(99) %}}{{% set ns.x = {double} %}}{{% endfor %}}"
        );
        assert_eq!(refusal(&template), large, "{double}");
    }
    for double in ["ns.x + ns.x", "ns.x * 9"] {
        let template = format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(99) %}}{{% set ns.x = {double} %}}{{% endfor %}}"
        );
        assert!([long, large].contains(&refusal(&template).as_str()), "{double}");
    }
    for huge in [
        "'a' * 10**12",
        "[1] * 10**12",
        "'%999999999999d' % 1",
        "'{:999999999}'.format(1)",
        "'a'.ljust(10**15)",
        "'a'|center(10**15)",
        "'x'|indent(10**15)",
        "[1]|tojson(indent=10**15)",
        "'\\t'.expandtabs(10**15)",
        "'%.999999999f' % 1.5",
        "'{:.999999999f}'.format(1.5)",
        "'5'.zfill(10**15)",
        "[1]|slice(10**15)|list",
        "[1]|batch(10**15, 0)|list",
        "('a' * 1000000)|wordwrap(1, wrapstring='x' * 1000)",
    ] {
        let refusal = refusal(&format!("{{{{ {huge} }}}}"));
        assert!([long, large].contains(&refusal.as_str()), "{huge}: {refusal}");
    }
    let wide = "{% set ns = namespace(x='a'*1000) %}{% for i in range(9) %}{% set ns.x = [ns.x]*9 %}{% endfor %}{{ ns.x }}";
    assert!([long, large].contains(&refusal(wide).as_str()));
    assert!(refusal("{{ range(10**9) }}").contains("range"));
    assert!(refusal("{{ 9**9**9 }}").contains("128 bits"));
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    let deep = |open: &str, close: &str, count: usize| open.repeat(count) + "1" + &close.repeat(count);
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("-", ""),
        ("not ", ""),
        ("f(", ")"),
        ("x[", "]"),
        ("1 if 1 else ", ""),
    ] {
        let error = refusal(&format!("{{{{ {} }}}}", deep(open, close, 20_000)));
        assert!(error.contains("nested"), "{open}: {error}");
    }
    for (start, part) in
        [("1", "+1"), ("1", "|abs"), ("1", " or 1"), ("x", ".x"), ("x", "()"), ("1", " if 1")]
    {
        let error = refusal(&format!("{{{{ {start}{} }}}}", part.repeat(20_000)));
        assert!(error.contains("in a row"), "{part}: {error}");
    }
    let statements = "{% if 1 %}".repeat(20_000) + &"{% endif %}".repeat(20_000);
    assert!(refusal(&statements).contains("nested"));
    for recursive in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{% if 1 %}{{ a()|upper }}{% endif %}{% endmacro %}{{ a() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(99999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}",
    ] {
        let error = refusal(recursive);
        assert!(error.contains("nested"), "{recursive}: {error}");
    }
    // As deep as it may be, it can be evaluated and freed.
    for (open, close) in [("(", ")"), ("[", "]"), ("{1:", "}"), ("-", "")] {
        render(&format!("{{{{ {} }}}}", deep(open, close, 55))).unwrap();
    }
}

#[test]
fn long_words_are_wrapped_in_bounded_time() {
    for (text, length) in
        [("'a' * 1000000", 1_999_999), ("'-' * 1000000", 1_999_999), ("'é-' * 500000", 1_999_999)]
    {
        let started = Instant::now();
        let wrapped = render(&format!("{{{{ ({text})|wordwrap(1)|length }}}}")).unwrap();
        assert_eq!(wrapped, length.to_string(), "{text}");
        assert!(started.elapsed() < BOUND, "{text}");
    }
}

#[test]
fn an_error_names_the_line() {
    for (template, expected) in [
        ("a\n{{ nosuch.x }}", "line 2: `nosuch` is undefined, so `.x` cannot be read"),
        ("{% if true %}\n\n{{ 'a' + 1 }}\n{% endif %}", "line 3: `+` cannot join str and int"),
        (
            "{% macro m() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ m() }}",
            "line 2: a number cannot be divided by zero",
        ),
        ("\n\n{{ 1 | nosuch }}", "line 3: there is no filter `nosuch`"),
        ("\n{% if true %}\n", "line 2: the template ends where `elif` or `else` or `endif` is needed"),
        ("\n{{ 'abc }}", "line 2: a string is not closed"),
        ("{{ {}.a.b }}", "line 1: a dict has no `a`, so `.b` cannot be read"),
        ("{{ {}.a + 'b' }}", "line 1: a dict has no `a`, so it cannot be used with `+`"),
        (
            "{{ [].append(1) }}",
            "line 1: `append` would change a list, which a template cannot do, so it cannot be called",
        ),
        (
            "{{ ('a' if false).b }}",
            "line 1: an `if` without `else` has no value, as its condition is false, so `.b` cannot be read",
        ),
        ("{{ [1][2].b }}", "line 1: a list has no element 2, so `.b` cannot be read"),
    ] {
        assert_eq!(render(template).unwrap_err(), expected);
    }
}
