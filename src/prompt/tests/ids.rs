//! Token ids are those of the tokenizers crate, and each response has those that it has alone.

use super::*;

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

/// A piece that is long enough to be kept, and others around it.
pub(super) fn long_text(piece: &str) -> String {
    piece.repeat(300 / piece.len().max(1) + 1)
}

#[test]
fn a_repeated_long_piece_has_the_same_ids_everywhere() {
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
fn a_text_that_cannot_fit_is_refused_by_its_size_where_that_is_certain() {
    let fit = Fit { limit: 16, truncation: Truncation::Error };
    let huge = "x".repeat(1 << 20);
    let refused = |encoder: &Encoder, fit| {
        let of_text = encoder.check_size(&huge, fit);
        let of_turns = encoder.encode_within(&turns(&[&huge]), EncodeOptions::default(), fit);
        [of_text, of_turns.map(|_| ())].map(|result| matches!(result, Err(PromptError::TooManyBytes { .. })))
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

/// Templates that put no control token between a prompt and its response, with which tokens may have parts of both.
const WITHOUT_CONTROL_TOKENS: [&str; 3] = [
    "{% for message in messages %}{{ message.content }}{% endfor %}",
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}",
    "[INST] {{ messages[0].content }} [/INST] {{ messages[1].content }}",
];

/// Encoders with these templates.
fn without_control_tokens() -> Vec<(String, Encoder)> {
    let mut encoders = Vec::new();
    for name in ["llama2-tiny", "llama3-tiny", "qwen2-tiny"] {
        for template in WITHOUT_CONTROL_TOKENS {
            let encoder = open(&tokenizer(name, |_| ()), template).unwrap();
            encoders.push((format!("{name} {template}"), encoder));
        }
    }
    encoders
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A prompt that is encoded once for all of its responses changes no id of any, cut or not.
    #[test]
    fn responses_after_a_prompt_without_control_tokens_have_the_ids_that_each_has_alone(
        prompt in "([a-zA-Z]{1,8}[ \n]?|'[a-z]{0,2} |[0-9]{1,5}[ .]|[<|>/\\[\\]]|</s>|\u{e9}|\u{2581}|\\PC|  |\t){0,60}[a-z]{0,4}",
        responses in prop::collection::vec("[a-z]{0,4}([a-z]{1,8} |[<|>]|<\\|im_end|_id\\|>|\\PC){0,20}", 1..4),
        limit in 1..80usize,
    ) {
        thread_local!(static ENCODERS: std::cell::RefCell<Vec<(String, Encoder)>> = without_control_tokens().into());
        ENCODERS.with_borrow_mut(|encoders| for (name, encoder) in encoders {
            for truncation in [Truncation::Error, Truncation::Left, Truncation::Right] {
                let ids = |encoder: &Encoder, response: &str| {
                    let turns = turns(&[&prompt, response]);
                    encoder.encode_within(&turns, EncodeOptions::default(), Fit { limit, truncation }).ok()
                };
                encoder.tokenizer.forget();
                let together: Vec<_> = responses.iter().map(|response| ids(encoder, response)).collect();
                for (response, together) in responses.iter().zip(together) {
                    encoder.tokenizer.forget();
                    assert_eq!(ids(encoder, response), together, "{name}: {prompt:?} {response:?}");
                    let whole = ids(encoder, response).map(|prompt| prompt.tokens);
                    let text = encoder.render(&turns(&[&prompt, response]), EncodeOptions::default()).unwrap();
                    if truncation == Truncation::Error && encoder.control_token_in(&text).is_none() {
                        let reference = Some(encoder.tokenizer.reference(&text)).filter(|ids| !ids.is_empty());
                        assert_eq!(whole, reference, "{name}: {text:?}");
                    }
                }
            }
        });
    }
}

#[test]
fn a_prompt_is_encoded_once_for_all_of_its_responses() {
    let prompt = "some words of a long prompt, and more of them ".repeat(200);
    for (name, encoder) in without_control_tokens() {
        for truncation in [Truncation::Error, Truncation::Left, Truncation::Right] {
            let mut remembered = Vec::new();
            for response in ["first", "second", "third"] {
                let fit = Fit { limit: 1 << 20, truncation };
                encoder.encode_within(&turns(&[&prompt, response]), EncodeOptions::default(), fit).unwrap();
                remembered.push(encoder.tokenizer.remembered());
            }
            assert!(remembered[0] > 2 && remembered[2] <= remembered[0] + 4, "{name}: {remembered:?}");
        }
    }
}
