//! The tokenizer that serves is the one that all of a checkpoint's files describe together.

use assay::builder::cpu::build;
use assay::manifest::{Dtype, TOKENIZER_FILE};
use assay::prompt::{ControlPolicy, EncodeOptions, Encoder, Message, PromptError};
use serde_json::{Value, json};

use super::support::{Checkpoint, Notes, assert_names};

const CHATML: &str =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";

fn encoder(checkpoint: &Checkpoint) -> Encoder {
    let manifest = checkpoint.build(Dtype::F32).unwrap();
    let encoder = Encoder::open(&checkpoint.beside("engine"), &manifest.prompt).unwrap();
    encoder.with_embedding_rows(manifest.model.vocab_size)
}

fn encode(encoder: &Encoder, content: &str) -> Result<Vec<u32>, PromptError> {
    let turn = Message::new("user", content);
    encoder.encode(&[turn], EncodeOptions::default())
}

/// `llama3-tiny` with a ChatML template and a change to its `tokenizer_config.json`.
fn chatml(change: impl FnOnce(&mut Value)) -> Checkpoint {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    std::fs::write(checkpoint.file("chat_template.jinja"), CHATML).unwrap();
    checkpoint.edit("tokenizer_config.json", change);
    checkpoint
}

#[test]
fn tokens_that_only_the_configuration_names_have_one_id_each() {
    let plain = encoder(&chatml(|_| ()));
    assert!(encode(&plain, "Hi").unwrap().iter().all(|id| *id < 625));
    let token = |content: &str| {
        json!({"content": content, "lstrip": false, "rstrip": false, "single_word": false,
            "normalized": false, "special": true})
    };
    for change in [
        json!({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}),
        json!({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}),
        json!({"extra_special_tokens": {"start_token": "<|im_start|>", "end_token": "<|im_end|>"}}),
        json!({"model_specific_special_tokens": {"start": "<|im_start|>", "end": "<|im_end|>"}}),
        // As transformers saves them.
        json!({"model_specific_special_tokens": {"start": token("<|im_start|>"), "end": token("<|im_end|>")},
            "start": "<|im_start|>", "end": "<|im_end|>"}),
        json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}),
        json!({"added_tokens_decoder": {"625": token("<|im_start|>"), "626": token("<|im_end|>")}}),
    ] {
        let checkpoint = chatml(|config| {
            for (name, value) in change.as_object().unwrap() {
                config[name] = value.clone();
            }
        });
        let ids = encode(&encoder(&checkpoint), "Hi").unwrap();
        let count = |id: u32| ids.iter().filter(|other| **other == id).count();
        assert_eq!((ids[0], count(625), count(626)), (625, 1, 1), "{change}");
    }
}

#[test]
fn a_template_prints_tokens_that_a_model_names_for_itself() {
    let checkpoint =
        chatml(|config| config["model_specific_special_tokens"] = json!({"start": "<|im_start|>"}));
    let template = "{% for m in messages %}{{ start }}{{ m.content }}{% endfor %}";
    std::fs::write(checkpoint.file("chat_template.jinja"), template).unwrap();
    assert_eq!(encode(&encoder(&checkpoint), "Hi").unwrap()[0], 625);
    checkpoint.edit("tokenizer_config.json", |config| config["model_specific_special_tokens"] = json!(["a"]));
    assert_names(&checkpoint.refusal(), &["tokenizer_config.json", "model_specific_special_tokens"]);
}

/// Transformers reads the ids of added tokens as numbers that order them.
#[test]
fn the_id_of_an_added_token_may_be_negative() {
    let token = json!({"content": "<|im_start|>", "special": true});
    let checkpoint = chatml(|config| config["added_tokens_decoder"] = json!({"-1": token}));
    assert_eq!(encode(&encoder(&checkpoint), "Hi").unwrap()[0], 625);
}

#[test]
fn a_class_that_is_not_assembled_is_named() {
    let checkpoint = chatml(|config| config["tokenizer_class"] = json!("T5Tokenizer"));
    assert_names(&checkpoint.said().1, &["tokenizer_class T5Tokenizer", "as it is"]);
    let checkpoint = chatml(|config| config["tokenizer_class"] = json!("HouseTokenizer"));
    assert!(!checkpoint.said().1.contains("tokenizer_class"));
}

#[test]
fn the_build_lists_tokens_that_tokenizer_json_does_not_have() {
    let checkpoint =
        chatml(|config| config["additional_special_tokens"] = json!(["<|im_start|>", "<|im_end|>"]));
    let notes = Notes::default();
    build(&checkpoint.options(Dtype::F32), &notes).unwrap();
    let lines = notes.lines();
    assert_names(&lines, &["\"<|im_start|>\" (625)", "\"<|im_end|>\" (626)"]);
}

#[test]
fn the_build_says_which_tokens_messages_may_spell_and_an_option_is_stricter() {
    let template =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n<think>{{ m.content }}<|im_end|>{% endfor %}";
    let checkpoint = Checkpoint::copy("qwen3-tiny");
    std::fs::write(checkpoint.file("chat_template.jinja"), template).unwrap();
    checkpoint.edit(TOKENIZER_FILE, |file| {
        for (index, content) in ["<think>", "<|User|>", "<tool_call>"].iter().enumerate() {
            let token = json!({"id": 620 + index, "content": content, "special": false, "lstrip": false,
                "rstrip": false, "single_word": false, "normalized": false});
            file["added_tokens"].as_array_mut().unwrap().push(token);
        }
    });
    checkpoint.edit("tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("added_tokens_decoder");
    });
    let mut options = checkpoint.options(Dtype::F32);
    for (policy, structure, words, line) in [
        (ControlPolicy::Structure, vec![], vec!["<think>", "<tool_call>"], "can spell: <think>, <tool_call>"),
        (ControlPolicy::All, vec!["<think>"], vec!["<tool_call>"], "<think> (4 in all)"),
    ] {
        options.common.checkpoint.control_tokens = policy;
        let notes = Notes::default();
        let manifest = build(&options, &notes).unwrap();
        let control = manifest.prompt.control_tokens.unwrap();
        assert_eq!(
            (control.structure, control.words),
            (
                structure.iter().map(|s| (*s).to_owned()).collect(),
                words.iter().map(|s| (*s).to_owned()).collect()
            )
        );
        assert_names(&notes.lines(), &["cannot spell", "<|im_start|>", line]);
        std::fs::remove_dir_all(checkpoint.beside("engine")).unwrap();
    }
}

#[test]
fn an_engine_serves_the_tokenizer_file_itself_if_nothing_overrides_it() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.build(Dtype::F32).unwrap();
    let read = |path| std::fs::read(path).unwrap();
    assert_eq!(read(checkpoint.beside("engine").join(TOKENIZER_FILE)), read(checkpoint.file(TOKENIZER_FILE)));
}

#[test]
fn dropout_truncation_and_padding_of_the_file_change_no_text() {
    let text = "A long text, which is cut, padded or encoded at random if those settings count. ".repeat(8);
    let expected = encode(&encoder(&Checkpoint::copy("llama3-tiny")), &text).unwrap();
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.edit(TOKENIZER_FILE, |file| {
        file["model"]["dropout"] = json!(0.5);
        file["truncation"] =
            json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
        file["padding"] = json!({"strategy": {"Fixed": 600}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 621, "pad_type_id": 0, "pad_token": "<|end_of_text|>"});
    });
    let encoder = encoder(&checkpoint);
    for _ in 0..8 {
        assert_eq!(encode(&encoder, &text).unwrap(), expected);
    }
}

#[test]
fn files_are_read_with_a_byte_order_mark_and_numbers_that_json_does_not_have() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let expected = encode(&encoder(&checkpoint), "Hi").unwrap();
    std::fs::remove_dir_all(checkpoint.beside("engine")).unwrap();
    for (file, unused) in [(TOKENIZER_FILE, ""), ("tokenizer_config.json", "\"unused\": [NaN, -Infinity],")] {
        let text = std::fs::read_to_string(checkpoint.file(file)).unwrap();
        let text = text.replacen('{', &format!("{{{unused}"), 1);
        std::fs::write(checkpoint.file(file), format!("\u{feff}{text}")).unwrap();
    }
    assert_eq!(encode(&encoder(&checkpoint), "Hi").unwrap(), expected);
}

#[test]
fn a_token_without_a_row_in_the_embedding_is_refused_only_where_a_text_has_it() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.set("pad_token_id", json!(-1));
    let tokens: Vec<String> = (0..16).map(|index| format!("[PAD{index}]")).collect();
    checkpoint.edit("tokenizer_config.json", |config| config["additional_special_tokens"] = json!(tokens));
    let encoder = encoder(&checkpoint);
    // The embedding has 640 rows.
    encode(&encoder, "Hi").unwrap();
    encoder.encode_text("Hi [PAD14]").unwrap();
    let error = encoder.encode_text("Hi [PAD15]").unwrap_err().to_string();
    assert_names(&error, &["[PAD15]", "640", "640 rows", "remove"]);
    assert!(encoder.encode_completion("[PAD15]", true).is_err());
}

#[test]
fn what_the_configuration_gets_wrong_is_named() {
    for (field, value, words) in [
        ("eos_token", json!(7), "neither a token's text"),
        ("extra_special_tokens", json!("x"), "neither a list"),
        ("added_tokens_decoder", json!({"x": {"content": "y"}}), "not a token id"),
        ("added_tokens_decoder", json!({"4294967296": {"content": "y"}}), "not a token id"),
        ("added_tokens_decoder", json!({"7": {"lstrip": true}}), "without content"),
        ("added_tokens_decoder", json!({"7": {"content": "y", "lstrip": 1}}), "true or false"),
        ("split_special_tokens", json!(true), "set it to false"),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.edit("tokenizer_config.json", |config| config[field] = value);
        assert_names(&checkpoint.refusal(), &["tokenizer_config.json", field, words]);
    }
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.edit("tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("added_tokens_decoder");
    });
    std::fs::write(checkpoint.file("added_tokens.json"), r#"{"x": "y"}"#).unwrap();
    assert_names(&checkpoint.refusal(), &["added_tokens.json", "x", "token id"]);
}

/// `internlm2-tiny` with a SentencePiece model in place of `tokenizer.json`.
fn with_model(name: &str) -> Checkpoint {
    let checkpoint = Checkpoint::copy("internlm2-tiny");
    std::fs::remove_file(checkpoint.file(TOKENIZER_FILE)).unwrap();
    let model =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentencepiece").join(name);
    std::fs::copy(model, checkpoint.file("tokenizer.model")).unwrap();
    checkpoint
}

#[test]
fn a_sentencepiece_model_serves_if_there_is_no_tokenizer_json() {
    let checkpoint = with_model("bpe-internlm.model");
    checkpoint.edit("tokenizer_config.json", |config| {
        let token = |content: &str| json!({"content": content, "special": true});
        // Reserved pieces get the names of control tokens, as in InternLM2's own files.
        config["added_tokens_decoder"] = json!({"490": token("<|im_start|>"), "491": token("<|im_end|>")});
        config["add_bos_token"] = json!(true);
    });
    let encoder = encoder(&checkpoint);
    let ids = encoder.encode_text("<|im_start|>the river<|im_end|>").unwrap();
    assert_eq!((ids[0], ids[ids.len() - 1]), (490, 491));
    assert_eq!(encoder.encode_text("<s></s><ctrl>").unwrap().len(), 3);
    assert_eq!(encoder.vocabulary().decode(&ids[1..ids.len() - 1]), "the river");
    // BOS goes before texts that are completed, and user text cannot spell it.
    assert_eq!(encoder.encode_completion("the", true).unwrap()[0], 1);
    assert!(encode(&encoder, "<|im_end|>").unwrap().iter().filter(|id| **id == 1).count() <= 1);
}

#[test]
fn files_that_are_not_sentencepiece_models_are_refused() {
    for (content, words) in [
        (&b"IQ== 0\nIg== 1\n"[..], "not a SentencePiece model"),
        (b"", "no piece"),
        (b"\x0a\xff\xff\xff\xff\x0f", "cut off"),
        (
            b"\x0a\x03\x0a\x01x\x0a\x03\x0a\x01y\x0a\x03\x0a\x01z\x0a\x03\x0a\x01a\x0a\x03\x0a\x01a",
            "occurs twice",
        ),
        (b"\x0a\x03\x0a\x01a\x12\x02\x18\x04", "words or characters"),
    ] {
        let checkpoint = with_model("unigram.model");
        std::fs::write(checkpoint.file("tokenizer.model"), content).unwrap();
        assert_names(&checkpoint.refusal(), &["tokenizer.model", words]);
    }
    let checkpoint = with_model("unigram.model");
    std::fs::remove_file(checkpoint.file("tokenizer.model")).unwrap();
    assert_names(&checkpoint.refusal(), &["tokenizer.json", "tokenizer.model", "save_pretrained"]);
}

#[test]
fn hostile_normalizers_are_refused_in_bounded_time() {
    let bomb = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaaaaaa"});
    let long = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(1 << 20)});
    let map = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="});
    for (normalizer, words) in [
        (json!({"type": "Sequence", "normalizers": vec![bomb; 40]}), "normalizer"),
        (long, "normalizer"),
        (map, "tokeniz"),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.edit(TOKENIZER_FILE, |file| file["normalizer"] = normalizer);
        if let Err(error) = checkpoint.build(Dtype::F32) {
            assert_names(&error.to_string(), &[words]);
        } else {
            assert_eq!(words, "tokeniz", "a map of characters that matches nothing may build");
        }
    }
}

#[test]
fn patterns_that_backtrack_without_bound_are_refused_by_name() {
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    for pattern in ["(a+a+)+b", r"(\s|\w)*(\s|\w)*!"] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.edit(TOKENIZER_FILE, |file| {
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split(pattern)]});
        });
        assert_names(&checkpoint.refusal(), &["tokenizer.json", "pattern", "backtracks"]);
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.edit(TOKENIZER_FILE, |file| {
            file["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": " "});
        });
        assert_names(&checkpoint.refusal(), &["tokenizer.json", "pattern", "backtracks"]);
    }
}

/// Files of earlier versions of transformers normalize and split texts in other ways than its present classes.
#[test]
fn an_encoders_class_normalizes_and_splits_whatever_the_file_says() {
    for name in ["deberta-tiny", "bert-tiny"] {
        let texts = ["It  is\tso, \u{fb01}ne\n", "No.", "a b"];
        let ids = |checkpoint: &Checkpoint| {
            let encoder = encoder(checkpoint);
            texts.map(|text| encode(&encoder, text).unwrap())
        };
        let expected = ids(&Checkpoint::copy(name));
        let checkpoint = Checkpoint::copy(name);
        checkpoint.edit("tokenizer.json", |file| {
            file["normalizer"] = json!({"type": "NFKD"});
            file["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
                "prepend_scheme": "always", "split": false});
        });
        assert_eq!(ids(&checkpoint), expected, "{name}");
    }
}

/// Transformers gives a model the segments of a pair if `model_input_names` or the tokenizer's class says so.
#[test]
fn the_tokenizers_class_decides_whether_a_pair_has_segments() {
    let separator = |class: &str, inputs: Value| {
        let checkpoint = Checkpoint::copy("bert-tiny");
        checkpoint.edit("tokenizer_config.json", |config| {
            config["tokenizer_class"] = json!(class);
            config.as_object_mut().unwrap().remove("model_input_names");
            if !inputs.is_null() {
                config["model_input_names"] = inputs;
            }
        });
        checkpoint.build(Dtype::F32).unwrap().model.variant.bidirectional.unwrap().segments.unwrap().separator
    };
    assert!(separator("BertTokenizer", json!(null)).is_some());
    assert_eq!(separator("PreTrainedTokenizerFast", json!(null)), None);
    assert_eq!(separator("TokenizersBackend", json!(null)), None);
    assert!(separator("TokenizersBackend", json!(["input_ids", "token_type_ids"])).is_some());
}

#[test]
fn the_class_in_config_json_counts_if_the_tokenizers_configuration_has_none() {
    let ids = |named_by: &str, class: &str| {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.edit("tokenizer_config.json", |config| {
            config.as_object_mut().unwrap().remove("tokenizer_class");
        });
        checkpoint.edit(named_by, |config| config["tokenizer_class"] = json!(class));
        checkpoint.edit(TOKENIZER_FILE, |file| file["normalizer"] = json!({"type": "Lowercase"}));
        encode(&encoder(&checkpoint), "The RIVER, \u{fb01}ne 1234").unwrap()
    };
    let named = ids("tokenizer_config.json", "Qwen2Tokenizer");
    assert_eq!(ids("config.json", "Qwen2Tokenizer"), named);
    assert_ne!(ids("config.json", "PreTrainedTokenizerFast"), named);
}
