//! What a build makes of chat templates.

use assay::builder::cpu;
use assay::manifest::{Dtype, Manifest};
use assay::prompt::{EncodeOptions, Encoder, Message};
use serde_json::json;

use super::support::{Checkpoint, Notes, assert_names};

/// A tiny checkpoint with this text in `chat_template.jinja`.
fn with_template(template: &str) -> Checkpoint {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    std::fs::write(checkpoint.file("chat_template.jinja"), template).unwrap();
    checkpoint
}

fn build(checkpoint: &Checkpoint, date: Option<&str>) -> (Manifest, String) {
    let mut options = checkpoint.options(Dtype::F32);
    options.common.checkpoint.template_date = date.map(|date| date.parse().unwrap());
    let _ = std::fs::remove_dir_all(&options.common.output);
    let notes = Notes::default();
    let manifest = cpu::build(&options, &notes).unwrap();
    (manifest, notes.lines())
}

/// What the built engine makes of a question and its answer.
fn render(checkpoint: &Checkpoint, manifest: &Manifest) -> String {
    let encoder = Encoder::open(&checkpoint.beside("engine"), &manifest.prompt).unwrap();
    let turns = [("user", "2?"), ("assistant", "3\r\n")].map(|(role, text)| Message::new(role, text));
    encoder.render(&turns, EncodeOptions::default()).unwrap()
}

#[test]
fn line_ends_of_a_template_are_those_that_jinja_reads() {
    let template = "{% for m in messages %}\n<{{ m.role }}>\n  {{ m.content }}{{ '\\r\\n' }}\n{% endfor %}\n";
    let unix = with_template(template);
    let expected = render(&unix, &build(&unix, None).0);
    assert_eq!(expected, "<user>\n  2?\r\n\n<assistant>\n  3\r\n\r\n\n");
    for end in ["\r\n", "\r"] {
        let file = with_template(&template.replace('\n', end));
        assert_eq!(render(&file, &build(&file, None).0), expected, "{end:?} in a file");
        let config = Checkpoint::copy("llama3-tiny");
        config.edit("tokenizer_config.json", |config| {
            config["chat_template"] = json!(template.replace('\n', end))
        });
        assert_eq!(render(&config, &build(&config, None).0), expected, "{end:?} in tokenizer_config.json");
    }
}

#[test]
fn a_template_prints_a_date_that_is_fixed_when_the_engine_is_built() {
    let body = "|{% for m in messages %}{{ m.content }}{% endfor %}";
    let today = "{{ strftime_now('%d %B %Y') }}";
    let fallback = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}no date{% endif %}";
    let variable =
        "{% if date_string is not defined %}{% set date_string = '1 May' %}{% endif %}{{ date_string }}";
    for (date, template, by_default, on_a_day) in [
        (true, today, "26 July 2024", "02 January 2025"),
        (true, fallback, "no date", "2025"),
        (true, variable, "1 May", "02 Jan 2025"),
        (false, "none", "none", "none"),
    ] {
        let checkpoint = with_template(&format!("{template}{body}"));
        let (manifest, notes) = build(&checkpoint, None);
        assert_eq!(render(&checkpoint, &manifest).split('|').next().unwrap(), by_default);
        assert_eq!(notes.contains("prints"), date, "{notes}");
        let (again, _) = build(&checkpoint, None);
        assert_eq!(manifest, again);
        let (dated, notes) = build(&checkpoint, Some("2025-01-02"));
        assert_eq!(render(&checkpoint, &dated).split('|').next().unwrap(), on_a_day);
        assert!(notes.contains("2025-01-02"), "{notes}");
        assert_eq!(
            dated.profile.id == manifest.profile.id,
            !date,
            "the date is part of the engine's identity"
        );
        assert_eq!(
            dated.prompt.template_date.map(|date| date.to_string()),
            date.then(|| "2025-01-02".into())
        );
    }
}

#[test]
fn templates_are_found_where_transformers_looks_for_them() {
    let body = |name: &str| format!("{{% for m in messages %}}{name}{{{{ m.content }}}}{{% endfor %}}");
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let file = |name: &str, text: String| {
        let path = checkpoint.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let name = || render(&checkpoint, &build(&checkpoint, None).0).split('2').next().unwrap().to_owned();
    // From the last in precedence to the first.
    checkpoint.edit("tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("chat_template");
    });
    file("chat_template.json", json!({"chat_template": body("json")}).to_string());
    assert_eq!(name(), "json");
    file("processor_config.json", json!({"chat_template": body("processor")}).to_string());
    assert_eq!(name(), "processor");
    let named =
        json!([{"name": "default", "template": body("config")}, {"name": "rag", "template": body("rag")}]);
    checkpoint.edit("tokenizer_config.json", |config| config["chat_template"] = named.clone());
    assert_eq!(name(), "config");
    file("chat_template.jinja", body("file"));
    assert_eq!(name(), "file");
    file("additional_chat_templates/tool_use.jinja", body("tools"));
    let (manifest, notes) = build(&checkpoint, None);
    assert!(render(&checkpoint, &manifest).starts_with("file") && notes.contains("tool_use"), "{notes}");

    let mut options = checkpoint.options(Dtype::F32);
    options.common.checkpoint.chat_template = Some("tool_use".into());
    std::fs::remove_dir_all(&options.common.output).unwrap();
    let manifest = cpu::build(&options, &Notes::default()).unwrap();
    assert!(render(&checkpoint, &manifest).starts_with("tools"));
    options.common.checkpoint.chat_template = Some("rag".into());
    options.common.output = checkpoint.beside("other");
    let error = cpu::build(&options, &Notes::default()).unwrap_err().to_string();
    assert!(error.contains("--chat-template rag") && error.contains("tool_use"), "{error}");
}

#[test]
fn a_build_says_which_conversations_a_template_refuses_or_fails_on() {
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}\n\
        {% if m.role == 'tool' %}\n{{ m.nothing.at_all }}{% endif %}{{ m.content }}{% endfor %}";
    let (_, notes) = build(&with_template(template), None);
    assert!(notes.contains("the chat template refuses a system turn: no system turns here"), "{notes}");
    assert!(
        notes.contains("the chat template fails on a tool's answer") && notes.contains("line 3"),
        "{notes}"
    );
    let twice = with_template(
        "{% for m in messages %}{{ m.content }}{% if loop.index > 2 %}{{ nothing.at_all }}{% endif %}{% endfor %}",
    );
    let refusal = twice.refusal();
    assert!(refusal.contains("two questions and their answers") && refusal.contains("line 1"), "{refusal}");
    let huge = with_template(&"x".repeat(2 << 20));
    assert!(huge.refusal().contains("2097152 bytes"));
}

#[test]
fn an_empty_chat_template_is_named() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.edit("tokenizer_config.json", |config| config["chat_template"] = json!(""));
    assert_names(
        &checkpoint.refusal(),
        &["tokenizer_config.json", "chat template is empty", "chat_template.jinja"],
    );
}
