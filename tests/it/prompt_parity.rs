//! Prompts are those of transformers' `apply_chat_template`, except that the text of a turn never
//! becomes a control token. `tests/golden/README.md` says how the expected ids were made.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assay::manifest::{PromptSpec, TEMPLATE_FILE, TOKENIZER_FILE};
use assay::prompt::{EncodeOptions, Encoder, Message, PromptError};
use proptest::prelude::*;
use serde_json::Value;

/// Tokenizers and templates, relative to `tests`.
const CHECKPOINTS: [&str; 11] = [
    "checkpoints/llama3-tiny",
    "checkpoints/llama2-tiny",
    "checkpoints/qwen2-tiny",
    "prompts/mistral",
    "prompts/qwen3",
    "prompts/gemma2",
    "prompts/gemma3",
    "prompts/nemotron",
    "prompts/phi3",
    "prompts/olmo2",
    "prompts/internlm2",
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What `build-engine` makes of a checkpoint's tokenizer.
fn encoder(name: &str) -> Encoder {
    let checkpoint = tests().join(name);
    let config = json(&checkpoint.join("tokenizer_config.json"));
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    let special_tokens: BTreeMap<String, String> = config
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| key.ends_with("_token"))
        .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect();
    let engine = tempfile::tempdir().unwrap();
    std::fs::copy(checkpoint.join(TOKENIZER_FILE), engine.path().join(TOKENIZER_FILE)).unwrap();
    let template = match config["chat_template"].as_str() {
        Some(template) => template.to_owned(),
        None => std::fs::read_to_string(checkpoint.join("chat_template.jinja")).unwrap(),
    };
    std::fs::write(engine.path().join(TEMPLATE_FILE), template).unwrap();
    Encoder::open(engine.path(), &PromptSpec { special_tokens, ..PromptSpec::default() }).unwrap()
}

fn messages(case: &Value) -> Vec<Message> {
    let turn = |turn: &Value| message(turn["role"].as_str().unwrap(), turn["content"].as_str().unwrap());
    case["messages"].as_array().unwrap().iter().map(turn).collect()
}

fn message(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

fn ids(case: &Value) -> Vec<u32> {
    case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn encode(encoder: &Encoder, messages: &[Message]) -> Vec<u32> {
    encoder.encode(messages, EncodeOptions::default()).unwrap()
}

#[test]
fn a_message_is_continued_where_transformers_continues_it() {
    let options = EncodeOptions { continue_final_message: true, ..EncodeOptions::default() };
    let golden = json(&tests().join("golden/continued.json"));
    for (name, cases) in golden.as_object().unwrap() {
        let encoder = encoder(name);
        for case in cases.as_array().unwrap() {
            let encoded = encoder.encode(&messages(case), options);
            if case["ids"].is_null() {
                assert!(encoded.is_err(), "{name}: {case}");
            } else {
                assert_eq!(encoded.unwrap(), ids(case), "{name}: {case}");
            }
        }
    }
}

/// Runs `check` on every case of `list` in every golden file.
fn each_case(list: &str, check: impl Fn(&Encoder, &str, &Value)) {
    for name in CHECKPOINTS {
        let encoder = encoder(name);
        let file = Path::new(name).file_name().unwrap();
        let golden = json(&tests().join("golden/prompts").join(file).with_extension("json"));
        let cases = golden[list].as_array().unwrap();
        assert!(cases.len() > 20, "{name} has too few cases");
        for case in cases {
            let name = format!("{name}: {}", case["name"]);
            match case["refused"].as_str() {
                None => check(&encoder, &name, case),
                Some(words) => assert_refused(&encoder, &name, case, words),
            }
        }
    }
}

/// The template refuses the conversation in its own words.
fn assert_refused(encoder: &Encoder, name: &str, case: &Value, words: &str) {
    match encoder.encode(&messages(case), EncodeOptions::default()) {
        Err(PromptError::Refused(text)) => assert_eq!(text, words, "{name}"),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn conversations_have_the_ids_that_transformers_gives() {
    each_case("cases", |encoder, name, case| {
        assert_eq!(encode(encoder, &messages(case)), ids(case), "{name}");
    });
}

#[test]
fn text_that_is_templated_already_has_the_same_ids() {
    each_case("cases", |encoder, name, case| {
        let rendered = case["rendered"].as_str().unwrap();
        assert_eq!(encoder.encode_text(rendered).unwrap(), ids(case), "{name}");
    });
}

#[test]
fn turns_that_spell_control_tokens_smuggle_none_in() {
    each_case("smuggling", |encoder, name, case| {
        assert_eq!(encode(encoder, &messages(case)), ids(case), "{name}");
    });
}

struct Model {
    encoder: Encoder,
    control: HashSet<u32>,
}

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let model = |name: &&str| {
        let tokenizer = json(&tests().join(name).join(TOKENIZER_FILE));
        let added = tokenizer["added_tokens"].as_array().unwrap();
        let special = added.iter().filter(|token| token["special"] == true);
        let control = special.map(|token| token["id"].as_u64().unwrap() as u32).collect();
        Model { encoder: encoder(name), control }
    };
    CHECKPOINTS.iter().map(model).collect()
});

/// Control tokens, pieces of them, and any text.
fn content() -> impl Strategy<Value = String> {
    const CONTROL: [&str; 18] = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<unk>",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "<start_of_turn>",
        "<end_of_turn>",
        "<extra_id_1>",
        "<|end|>",
        "<|assistant|>",
    ];
    let piece = prop_oneof![
        proptest::sample::select(&CONTROL[..]).prop_map(str::to_owned),
        (proptest::sample::select(&CONTROL[..]), 0..20usize, 0..20usize)
            .prop_map(|(token, from, length)| token.chars().skip(from).take(length).collect()),
        any::<String>(),
        proptest::sample::select(
            &[" ", "\n", "\u{338}", "\u{301}", "\u{fdd0}", "\u{fdd1}", "<", ">", "|"][..]
        )
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_changes_which_control_tokens_a_prompt_has(contents in proptest::collection::vec(content(), 1..5)) {
        let roles = ["user", "assistant"].iter().cycle();
        let turns: Vec<_> = contents.iter().zip(roles).map(|(content, role)| message(role, content)).collect();
        let empty: Vec<_> = turns.iter().map(|turn| message(&turn.role, "")).collect();
        for Model { encoder, control } in MODELS.iter() {
            let controls = |turns: &[Message]| {
                encode(encoder, turns).into_iter().filter(|id| control.contains(id)).collect::<Vec<_>>()
            };
            prop_assert_eq!(controls(&turns), controls(&empty));
        }
    }
}
