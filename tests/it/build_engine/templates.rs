//! What a build makes of chat templates.

use std::sync::Mutex;

use assay::builder::{Progress, cpu};
use assay::manifest::{Dtype, Manifest};
use assay::prompt::{EncodeOptions, Encoder, Message};
use serde_json::json;

use super::support::Checkpoint;

/// Collects the lines that a build shows.
#[derive(Default)]
struct Notes(Mutex<String>);

impl Progress for Notes {
    fn note(&self, text: &str) {
        let mut notes = self.0.lock().unwrap();
        notes.push_str(text);
        notes.push('\n');
    }
}

/// A tiny checkpoint with this text in `chat_template.jinja`.
fn with_template(template: &str) -> Checkpoint {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    std::fs::write(checkpoint.file("chat_template.jinja"), template).unwrap();
    checkpoint
}

fn build(checkpoint: &Checkpoint, date: Option<&str>) -> (Manifest, String) {
    let mut options = checkpoint.options(Dtype::F32);
    options.common.template_date = date.map(|date| date.parse().unwrap());
    let _ = std::fs::remove_dir_all(&options.common.output);
    let notes = Notes::default();
    let manifest = cpu::build(&options, &notes).unwrap();
    (manifest, notes.0.into_inner().unwrap())
}

/// What the built engine makes of a question and its answer.
fn render(checkpoint: &Checkpoint, manifest: &Manifest) -> String {
    let encoder = Encoder::open(&checkpoint.beside("engine"), &manifest.prompt).unwrap();
    let turns = [("user", "2?"), ("assistant", "3\r\n")]
        .map(|(role, text)| Message { role: role.into(), content: text.into() });
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
