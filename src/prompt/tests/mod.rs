mod control_tokens;
mod ids;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::encoder::EncoderError;
use super::tokenizer::PromptTokenizer;
use super::word_starts::Spaces;
use super::*;
use crate::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE};

/// The `tokenizer.json` of a test checkpoint, with a change.
fn tokenizer(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let checkpoints = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    let text = std::fs::read_to_string(checkpoints.join(name).join(TOKENIZER_FILE)).unwrap();
    let mut json = serde_json::from_str(&text).unwrap();
    change(&mut json);
    json.to_string()
}

/// An encoder with the tokenizer of `llama3-tiny` and a template.
pub(super) fn encoder(template: &str) -> Encoder {
    open(&tokenizer("llama3-tiny", |_| ()), template).unwrap()
}

fn open(tokenizer: &str, template: &str) -> Result<Encoder, EncoderError> {
    let special_tokens = [("bos_token".to_owned(), "<|begin_of_text|>".to_owned())].into();
    Encoder::new(tokenizer, template, &PromptSpec { special_tokens, ..PromptSpec::default() })
}

/// The encoder of `llama3-tiny`, unchanged.
pub(super) fn llama3() -> &'static Encoder {
    static ENCODER: LazyLock<Encoder> = LazyLock::new(|| {
        let config =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/llama3-tiny/tokenizer_config.json");
        let config: Value = serde_json::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
        encoder(config["chat_template"].as_str().unwrap())
    });
    &ENCODER
}

fn turns(contents: &[&str]) -> Vec<Message> {
    let mut turns = Vec::new();
    for (content, role) in contents.iter().zip(["user", "assistant"].iter().cycle()) {
        turns.push(Message::new(*role, *content));
    }
    turns
}

fn encode(encoder: &Encoder, contents: &[&str]) -> Vec<u32> {
    encoder.encode(&turns(contents), EncodeOptions::default()).unwrap()
}

fn render(template: &str, contents: &[&str]) -> Result<String, PromptError> {
    encoder(template).render(&turns(contents), EncodeOptions::default())
}

/// Whether none of the ids is a control token of `llama3-tiny`.
fn all_text(ids: &[u32]) -> bool {
    ids.iter().all(|id| *id < 620)
}

const EOT: u32 = 624;
const PLAIN: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";

#[test]
fn encoding_stops_when_nobody_wants_the_text_any_more() {
    let messages = [Message::new("user", "a word and another ".repeat(1000))];
    let unwanted = Arc::new(AtomicBool::new(true));
    let encoded = cancellable(unwanted, || llama3().encode(&messages, EncodeOptions::default()));
    assert!(matches!(encoded, Err(PromptError::Unencodable(_))), "{encoded:?}");
    assert!(llama3().encode(&messages, EncodeOptions::default()).is_ok());
}

#[test]
fn a_refusal_quotes_the_template() {
    let error = render("{{ raise_exception('no ' + messages[0].content) }}", &["poems"]).unwrap_err();
    assert!(matches!(error, PromptError::Refused(_)));
    insta::assert_snapshot!(error, @"the model's chat template refuses the conversation: no poems");
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let error =
        render("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", &[""]);
    insta::assert_snapshot!(error.unwrap_err(), @"the model's chat template cannot render the conversation: it ran for too long; send fewer or shorter messages");
}

#[test]
fn a_template_gets_every_field_of_a_message_and_any_role() {
    let template = "{% for m in messages %}[{{ m.role }}{% if m.name is defined %} {{ m.name }}{% endif %}|{{ m.content }}|\
        {{ m.reasoning_content }}|{{ m.tool_call_id }}{% for call in m.tool_calls %}{{ call.function.name }}\
        {{ call.function.arguments | tojson }}{% endfor %}]{% endfor %}";
    let fields = |value: Value| value.as_object().unwrap().clone();
    let call =
        json!({"tool_calls": [{"function": {"name": "add", "arguments": "{\"a\": 2}"}}], "refusal": null});
    let messages = [
        Message::with_fields("user".into(), Some("2?".into()), fields(json!({"name": "Ann"}))),
        Message::with_fields("assistant".into(), None, fields(call)),
        Message::with_fields("tool".into(), Some("5".into()), fields(json!({"tool_call_id": "c1"}))),
        Message::with_fields("judge".into(), Some("ok".into()), fields(json!({"thinking": "hm"}))),
    ];
    let rendered = encoder(template).render(&messages, EncodeOptions::default()).unwrap();
    assert_eq!(rendered, r#"[user Ann|2?||][assistant|||add{"a": 2}][tool|5||c1][judge|ok|hm|]"#);
}

#[test]
fn nothing_to_encode_is_an_error() {
    let encoder = encoder(PLAIN);
    assert!(matches!(encoder.encode(&[], EncodeOptions::default()), Err(PromptError::NoMessages)));
    assert!(matches!(encoder.encode(&turns(&[""]), EncodeOptions::default()), Err(PromptError::Empty)));
    assert!(matches!(encoder.encode_text(""), Err(PromptError::Empty)));
}

#[test]
fn an_unusable_file_is_named() {
    let error = open("{}", PLAIN).err().unwrap();
    assert_eq!(error.file(), TOKENIZER_FILE);
    assert!(!error.to_string().is_empty());
    let error = open(&tokenizer("llama3-tiny", |_| ()), "{% for %}").err().unwrap();
    assert_eq!(error.file(), TEMPLATE_FILE);
    assert!(error.to_string().contains("line 1"), "{error}");
    let nowhere = Path::new("nowhere");
    let error =
        Encoder::open(nowhere, &PromptSpec { special_tokens: BTreeMap::new(), ..PromptSpec::default() })
            .err()
            .unwrap();
    assert!(
        matches!(error, EncoderFileError::Unreadable { path, .. } if path == nowhere.join(TOKENIZER_FILE))
    );
}

#[test]
fn templates_render_as_in_transformers() {
    for (template, rendered) in [
        ("{% if true %}\n  a\n{% endif %}\nb\n", "  a\nb"),
        ("{{ bos_token }}{{ eos_token }}|", "<|begin_of_text|>|"),
        ("{{ messages[0]['content'] | trim }}|{{ messages[0].content.rstrip() }}|", "a|  a|"),
        ("{% generation %}{{ messages[0].content.strip() }}{%- endgeneration -%} b", "ab"),
        ("{{ 'one\\\n two' }} \\\nthree", "one two \\\nthree"),
        ("{{ '}}' }}{% set x = \"%}'\\\"\" %}{{ x }}{# {{ #}", "}}%}'\""),
        (
            "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        (
            "{{ tools is none }}{{ tools is iterable }}{{ 'a' is sequence }}{{ documents is defined }}",
            "TrueFalseTrueTrue",
        ),
        ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": "  a\n"}"#),
        ("{{ add_generation_prompt }}", "False"),
    ] {
        assert_eq!(render(template, &["  a\n"]).unwrap(), rendered, "{template}");
    }
}

#[test]
fn a_templated_text_has_the_ids_of_its_conversation_with_or_without_bos() {
    let encoder = llama3();
    let conversation = turns(&["Hello", "Good day <|eot"]);
    let ids = encoder.encode(&conversation, EncodeOptions::default()).unwrap();
    let text = encoder.render(&conversation, EncodeOptions::default()).unwrap();
    assert_eq!(encoder.encode_templated(&text).unwrap(), ids);
    let bare = text.strip_prefix("<|begin_of_text|>").unwrap();
    assert_eq!(encoder.encode_templated(bare).unwrap(), ids);
    assert!(encoder.is_templated(bare) && !encoder.is_templated("Hello <|eot"));
    assert_eq!(encoder.control_token_in("so <|eot_id|> it is"), Some("<|eot_id|>"));
}

#[test]
fn a_templated_text_gets_no_bos_if_the_template_writes_none() {
    let encoder = encoder(PLAIN);
    assert_eq!(encoder.encode_templated("Hello").unwrap(), encode(&encoder, &["Hello"]));
}

#[test]
fn the_suffix_is_added_exactly_once() {
    let tokenizer = tokenizer("llama3-tiny", |_| ());
    let spec = PromptSpec { suffix: vec![EOT], ..PromptSpec::default() };
    let encoder = Encoder::new(&tokenizer, PLAIN, &spec).unwrap();
    let ids = encode(&encoder, &["Hello"]);
    assert_eq!(encoder.encode_templated("Hello").unwrap(), ids);
    assert_eq!(encoder.encode_templated("Hello<|eot_id|>").unwrap(), ids);
    let cut = Fit { limit: 2, truncation: Truncation::Right };
    let cut = encoder.encode_within(&turns(&["Hello there"]), EncodeOptions::default(), cut).unwrap().tokens;
    assert_eq!((cut.len(), cut[1]), (2, EOT), "the token that the score is read at stays");
}
