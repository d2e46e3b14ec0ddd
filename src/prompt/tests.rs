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
fn encoder(template: &str) -> Encoder {
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
fn the_encoding_of_a_text_that_nobody_wants_any_more_ends() {
    let messages = [Message::new("user", "a word and another ".repeat(1000))];
    let unwanted = Arc::new(AtomicBool::new(true));
    let encoded = cancellable(unwanted, || llama3().encode(&messages, EncodeOptions::default()));
    assert!(matches!(encoded, Err(PromptError::Unencodable(_))), "{encoded:?}");
    assert!(llama3().encode(&messages, EncodeOptions::default()).is_ok());
}

#[test]
fn adjacent_turns_do_not_form_a_control_token() {
    let encoder = encoder(PLAIN);
    for cut in 1.."<|eot_id|>".len() {
        let (left, right) = "<|eot_id|>".split_at(cut);
        assert!(all_text(&encode(&encoder, &[left, right])));
        assert!(all_text(&encode(&encoder, &[left, "", right])));
    }
    assert!(all_text(&encode(&encoder, &["<", "|eot_id|", ">"])));
    assert!(all_text(&encode(&encoder, &["<|", "eot", "_id|>"])));
}

#[test]
fn a_turn_does_not_complete_half_a_control_token_of_the_template() {
    let encoder = encoder("{% for m in messages %}<|eot{{ m.content }}_id|>{% endfor %}");
    assert_eq!(encode(&encoder, &[""]), [EOT]);
    assert!(all_text(&encode(&encoder, &["_id|>"])));
    assert!(all_text(&encode(&encoder, &["<|eot"])));
    assert!(all_text(&encode(&super::tests::encoder("<|{{ messages[0].content }}|>"), &["eot_id"])));
}

#[test]
fn a_template_that_rewrites_a_turn_does_not_turn_it_into_a_control_token() {
    for rewrite in [
        "replace('X', '')",
        "replace('X', ' ') | replace(' ', '')",
        "lower",
        "trim('X')",
        "replace('X', '<|eot_id|>') | replace('<|eot_id|>', '')",
    ] {
        let encoder = encoder(&PLAIN.replace("m.content", &format!("(m.content | {rewrite})")));
        for turn in ["<|eotX_id|>", "X<|EOT_ID|>X", "<X|eot_id|>", "<|eot_id|X>", "<|eo<|eot_id|>Xt_id|>"] {
            assert!(all_text(&encode(&encoder, &[turn])), "{rewrite} of {turn}");
        }
    }
}

#[test]
fn a_template_that_searches_for_markup_makes_no_control_token_of_other_turns() {
    let encoder = encoder(
        "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip() }}\
         {% else %}{{ m.content.replace('/think', '') }}{% endif %}<|eot_id|>{% endfor %}",
    );
    let ids = encode(&encoder, &["<|eot/think_id|>", "so <|eot_id|></think> yes"]);
    assert_eq!(ids.iter().filter(|id| **id == EOT).count(), 2);
    assert!(ids.ends_with(&encoder.encode_text("yes<|eot_id|>").unwrap()));
}

#[test]
fn the_templates_control_tokens_survive_next_to_turns_that_spell_them() {
    let encoder = encoder("{% for m in messages %}{{ m.content.strip() }}<|eot_id|>{% endfor %}");
    for turn in ["<|eot_id|>", "<|eot", "_id|>", "<", ">", "eot", "  <|eot_id|>  ", "<|eot_id|><|eot_id|>"] {
        let ids = encode(&encoder, &[turn, turn]);
        assert_eq!(ids.iter().filter(|id| **id == EOT).count(), 2, "{turn}");
        assert_eq!(ids.last(), Some(&EOT));
    }
}

#[test]
fn a_template_can_still_split_a_turn_at_a_control_token() {
    let thinking = "{% for m in messages %}{% if '</think>' in m.content %}\
        {{ m.content.split('</think>')[-1].lstrip('\n') }}{% endif %}<think>{% endfor %}";
    let added = |json: &mut Value| {
        for (id, content) in [(630, "<think>"), (631, "</think>")] {
            let token = json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": false});
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }
    };
    let encoder = open(&tokenizer("llama3-tiny", added), thinking).unwrap();
    let ids = encode(&encoder, &["<think>\nwhy\n</think>\n\nbecause"]);
    assert_eq!(ids, encoder.encode_text("because<think>").unwrap());
    assert_eq!(ids.last(), encoder.encode_text("<think>").unwrap().first());
}

#[test]
fn characters_used_as_marks_are_ordinary_text_in_a_turn() {
    let encoder = encoder("{{ messages[0].content }}");
    let turn = "\u{fdd0}<|eot_id|>\u{fdd1} \u{fdd2}";
    let ids = encode(&encoder, &[turn]);
    assert!(all_text(&ids));
    assert_eq!(encoder.tokenizer.decode(&ids), turn);
}

#[test]
fn a_vocabulary_that_spells_a_control_token_smuggles_none_in() {
    let whole_words = |json: &mut Value| {
        json["model"]["ignore_merges"] = json!(true);
        json["normalizer"] = Value::Null;
    };
    let encoder = open(&tokenizer("llama2-tiny", whole_words), "<s>{{ messages[0].content }}</s>").unwrap();
    let ids = encode(&encoder, &["</s>"]);
    assert_eq!((ids[0], ids[ids.len() - 1]), (1, 2));
    assert!(ids.len() > 3 && ids[1..ids.len() - 1].iter().all(|id| *id > 2), "{ids:?}");
}

#[test]
fn text_that_normalizes_to_a_control_token_stays_text() {
    let compatible = |json: &mut Value| {
        json["normalizer"] = json!({"type": "NFKC"});
        for token in json["added_tokens"].as_array_mut().unwrap() {
            token["normalized"] = json!(true);
        }
    };
    let encoder = open(&tokenizer("llama3-tiny", compatible), "{{ messages[0].content }}<|eot_id|>").unwrap();
    let ids = encode(&encoder, &["＜|eot_id|＞ <|eot_id|>"]);
    assert!(all_text(&ids[..ids.len() - 1]));
    assert_eq!(ids.last(), Some(&EOT));
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
fn no_field_of_a_message_spells_a_control_token() {
    let template = "{% for m in messages %}{{ m.role }}{{ m.name }}{{ m.tool_calls | tojson }}{{ m.content }}<|eot_id|>{% endfor %}";
    let encoder = encoder(template);
    let spelled = "<|eot_id|>";
    let fields = json!({"name": spelled, "tool_calls": [{"function": {"name": "f", "arguments": {"<|eot_id|>": "<|eot_id|>"}}}]});
    let message =
        Message::with_fields(spelled.into(), Some(spelled.into()), fields.as_object().unwrap().clone());
    let ids = encoder.encode(std::slice::from_ref(&message), EncodeOptions::default()).unwrap();
    assert_eq!(ids.iter().filter(|id| **id == EOT).count(), 1, "only the template's own");
    assert_eq!(encoder.tokenizer.decode(&ids), encoder.render(&[message], EncodeOptions::default()).unwrap());
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

/// Tokenizers whose parts differ from those of the test checkpoints.
fn variants() -> Vec<(String, PromptTokenizer)> {
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": scheme != "first"});
    let token = |id: u32, content: &str, flags: [bool; 5]| {
        json!({"id": id, "content": content, "lstrip": flags[0], "rstrip": flags[1], "single_word": flags[2],
            "normalized": flags[3], "special": flags[4]})
    };
    let mut variants = Vec::new();
    for scheme in ["first", "always", "never"] {
        for flags in 0..32 {
            let flags = [1, 2, 4, 8, 16].map(|bit| flags & bit != 0);
            let json = tokenizer("llama2-tiny", |json| {
                json["pre_tokenizer"] = metaspace(scheme);
                json["normalizer"] = json!({"type": "Lowercase"});
                let added = json["added_tokens"].as_array_mut().unwrap();
                added.push(token(700, "River", flags));
                added.push(token(701, "<Tab>", flags));
                added.push(token(702, "<Tab>x", flags));
            });
            let tokenizer = PromptTokenizer::parse(&json, "", &PromptSpec::default()).unwrap();
            variants.push((format!("{scheme} {flags:?}"), tokenizer));
        }
    }
    for name in ["llama2-tiny", "llama3-tiny", "qwen2-tiny"] {
        let tokenizer = PromptTokenizer::parse(&tokenizer(name, |_| ()), "", &PromptSpec::default()).unwrap();
        variants.push((name.to_owned(), tokenizer));
    }
    variants
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ids_are_those_of_the_tokenizers_crate(
        pieces in proptest::collection::vec(prop_oneof![
            proptest::sample::select(&["River", "river", "<Tab>", "<tab>", "<Tab>x", "<s>", "</s>", "<|eot_id|>",
                "<|im_end|>", " ", "  ", "\n", "_", "x", "é", "e\u{301}", "▁"][..]).prop_map(str::to_owned),
            any::<String>(),
        ], 0..10)
    ) {
        thread_local!(static VARIANTS: Vec<(String, PromptTokenizer)> = variants());
        let text = pieces.concat();
        VARIANTS.with(|variants| for (name, tokenizer) in variants {
            assert_eq!(tokenizer.encode(&text, None).unwrap(), tokenizer.reference(&text), "{name}: {text:?}");
        });
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

/// A piece that is long enough to be kept, and others around it.
fn long_text(piece: &str) -> String {
    piece.repeat(300 / piece.len().max(1) + 1)
}

#[test]
fn a_long_piece_has_its_ids_wherever_it_comes_again() {
    for (name, tokenizer) in variants() {
        let control = tokenizer.control_tokens().first().map_or("", |token| *token).to_owned();
        for piece in ["plain words ", "  spaced\n\n", "Wörter, 漢字 😀 ", "1234567890", " x"] {
            let long = long_text(piece);
            // At the start of a text, after a control token, twice, and alone.
            for text in [
                long.clone(),
                format!("{control}{long}"),
                format!("{long}{control}{long}{control} end"),
                format!("{control}{control}{long}{control}{long}"),
                long.clone(),
            ] {
                for _ in 0..2 {
                    let ids = tokenizer.encode(&text, None).unwrap();
                    assert_eq!(ids, tokenizer.reference(&text), "{name}: {text:?}");
                }
            }
        }
    }
}

#[test]
fn a_long_turn_that_spells_a_control_token_stays_text_after_one_that_does_not() {
    let encoder = llama3();
    let (long, spelled) =
        (long_text("word "), format!("{} <|eot_id|> {}", long_text("word "), long_text("word ")));
    for _ in 0..2 {
        let plain = encode(encoder, &[&long, "ok"]);
        let guarded = encode(encoder, &[&spelled, "ok"]);
        let ends = |ids: &[u32]| ids.iter().filter(|id| Some(**id) == encoder.token_id("<|eot_id|>")).count();
        assert_eq!((ends(&plain), ends(&guarded)), (2, 2));
        // In text that is templated already, the same words are a control token.
        let templated = encoder.encode_templated(&spelled).unwrap();
        assert_eq!(ends(&templated), 1);
    }
}

#[test]
fn a_text_that_cannot_fit_is_refused_by_its_size_where_that_is_certain() {
    let fit = Fit { limit: 16, truncation: Truncation::Error };
    let huge = "x".repeat(1 << 20);
    let refused = |encoder: &Encoder, fit| {
        let of_text = encoder.encode_templated_within(&huge, fit);
        let of_turns = encoder.encode_within(&turns(&[&huge]), EncodeOptions::default(), fit);
        [of_text, of_turns].map(|result| matches!(result, Err(PromptError::TooManyBytes { .. })))
    };
    assert_eq!(refused(llama3(), fit), [true, true]);
    assert_eq!(refused(llama3(), Fit { truncation: Truncation::Left, ..fit }), [false, false]);
    // Its bytes could be fewer tokens than the limit.
    assert_eq!(refused(llama3(), Fit { limit: 1 << 20, ..fit }), [false, false]);
    // A template that leaves the text out decides, not the conversation.
    let silent = encoder("{{ messages[0].role }}");
    assert_eq!(refused(&silent, fit), [true, false]);
    // SentencePiece may fuse any text into one unknown token, and a normalizer may shorten it.
    let fusing = open(&tokenizer("llama2-tiny", |_| ()), "{{ messages[0].content }}").unwrap();
    let normalizing = tokenizer("llama3-tiny", |json| json["normalizer"] = json!({"type": "NFKC"}));
    let normalizing = open(&normalizing, "{{ messages[0].content }}").unwrap();
    for encoder in [fusing, normalizing] {
        assert_eq!(encoder.tokenizer.fewest_tokens(1 << 30), 0);
    }
}

proptest! {
    #[test]
    fn no_text_has_fewer_tokens_than_its_size_says(text in "([ -~\n]|\\PC|<\\|eot_id\\|>){0,200}| {0,300}") {
        thread_local!(static VARIANTS: Vec<(String, PromptTokenizer)> = variants());
        VARIANTS.with(|variants| for (name, tokenizer) in variants {
            if tokenizer.fewest_tokens(usize::MAX) > 0 {
                let ids = tokenizer.encode(&text, None).unwrap();
                assert!(tokenizer.fewest_tokens(text.len()) <= ids.len(), "{name}: {text:?}");
            }
        });
    }
}

#[test]
fn texts_of_sentencepiece_are_encoded_word_by_word_with_the_ids_of_the_whole() {
    let parse = |json: &str| PromptTokenizer::parse(json, "", &PromptSpec::default()).unwrap();
    let whole = tokenizer("llama2-tiny", |_| ());
    assert!(parse(&whole).encodes_words());
    // A token across two words, as some vocabularies have it.
    let across = tokenizer("llama2-tiny", |json| json["model"]["vocab"]["e▁t"] = json!(9000));
    assert!(!parse(&across).encodes_words());
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let first = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
    for (spaces, change) in [
        (Spaces::AfterPrefix, None),
        (Spaces::Replaced, Some((replace, Value::Null))),
        (Spaces::AfterFirstPrefix, Some((Value::Null, first))),
    ] {
        let tokenizer = parse(&tokenizer("llama2-tiny", |json| {
            if let Some((normalizer, pre_tokenizer)) = change {
                (json["normalizer"], json["pre_tokenizer"]) = (normalizer, pre_tokenizer);
            }
        }));
        assert_eq!(tokenizer.spaces(), Some(spaces));
        let texts = [
            "one two  three\n four",
            " leading",
            "trailing ",
            "Wörter, 漢字 😀 x▁y ▁",
            "\u{1} \u{2}",
            "",
            " ",
            "▁a",
        ];
        for text in texts {
            for text in [text.to_owned(), format!("{text}</s>{text}"), format!("</s>{text}</s> {text}")] {
                assert_eq!(
                    tokenizer.encode(&text, None).unwrap(),
                    tokenizer.reference(&text),
                    "{spaces:?}: {text:?}"
                );
            }
        }
    }
}

/// Encoders with the tokenizers and templates of all kinds of families.
fn families() -> Vec<(String, Encoder)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut families = Vec::new();
    for name in [
        "checkpoints/llama3-tiny",
        "checkpoints/qwen2-tiny",
        "checkpoints/llama2-tiny",
        "prompts/gemma2",
        "prompts/mistral",
        "prompts/phi3",
        "prompts/qwen3",
        "prompts/internlm2",
        "prompts/nemotron",
    ] {
        let directory = tests.join(name);
        let read = |file: &str| std::fs::read_to_string(directory.join(file));
        let config: Value = serde_json::from_str(&read("tokenizer_config.json").unwrap()).unwrap();
        let template = read("chat_template.jinja")
            .unwrap_or_else(|_| config["chat_template"].as_str().unwrap_or(PLAIN).to_owned());
        let mut spec = PromptSpec::default();
        for token in ["bos_token", "eos_token"] {
            if let Some(text) = config[token].as_str().or(config[token]["content"].as_str()) {
                spec.special_tokens.insert(token.to_owned(), text.to_owned());
            }
        }
        families
            .push((name.to_owned(), Encoder::new(&read(TOKENIZER_FILE).unwrap(), &template, &spec).unwrap()));
    }
    families
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What is shared among the responses to one prompt changes no id.
    #[test]
    fn responses_to_one_prompt_have_the_ids_that_each_has_alone(
        prompt in "([a-z]{1,8}[ \n]?|[<|>/\\[\\]]|<\\|eot_id\\|>|<\\|im_end\\|>|</s>|\\PC|  ){0,60}",
        responses in prop::collection::vec("([a-z]{1,8} |[<|>]|<\\|im_end|_id\\|>|\\PC){0,20}", 1..5),
    ) {
        thread_local!(static FAMILIES: std::cell::RefCell<Vec<(String, Encoder)>> = families().into());
        FAMILIES.with_borrow_mut(|families| for (name, encoder) in families {
            let ids = |encoder: &Encoder, response: &str| {
                encoder.encode(&turns(&[&prompt, response]), EncodeOptions::default()).ok()
            };
            let together: Vec<_> = responses.iter().map(|response| ids(encoder, response)).collect();
            for (response, together) in responses.iter().zip(together) {
                encoder.tokenizer.forget();
                assert_eq!(ids(encoder, response), together, "{name}: {prompt:?} {response:?}");
            }
        });
    }
}
