//! Ids equal those that transformers gives with the same files; see `tools/make_tokenizer_fixtures.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::manifest::PromptSpec;
use crate::prompt::Encoder;

const PLAIN: &str = "{% for message in messages %}{{ message.content }}{% endfor %}";

fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A recorded case: the files of a checkpoint, and what transformers makes of them.
#[derive(serde::Deserialize)]
struct Case {
    base: String,
    model_type: String,
    #[serde(default)]
    tokenizer_class: Option<String>,
    changes: BTreeMap<String, Value>,
    files: BTreeMap<String, Value>,
    texts: Vec<String>,
    /// `None` for a text that the tokenizer cannot encode.
    ids: Vec<Option<Vec<u32>>>,
    /// Whether a pair has segments, where that was recorded.
    #[serde(default)]
    segments: Option<bool>,
    added: BTreeMap<String, u32>,
    special_tokens: BTreeMap<String, String>,
}

impl Case {
    fn read(&self) -> CheckpointTokenizer {
        let folder = tempfile::tempdir().unwrap();
        let base = std::fs::read_to_string(tests_folder().join(&self.base).join(TOKENIZER_FILE)).unwrap();
        let mut tokenizer: Value = serde_json::from_str(&base).unwrap();
        for (field, value) in &self.changes {
            tokenizer[field] = value.clone();
        }
        std::fs::write(folder.path().join(TOKENIZER_FILE), tokenizer.to_string()).unwrap();
        for (name, content) in &self.files {
            std::fs::write(folder.path().join(name), content.to_string()).unwrap();
        }
        let config = Object::read_if_present(&folder.path().join("tokenizer_config.json")).unwrap();
        let model_type = Some(self.model_type.clone());
        let model = ModelFields { model_type, tokenizer_class: self.tokenizer_class.clone() };
        read(folder.path(), config.as_ref(), &model).unwrap()
    }

    fn check(&self, name: &str) {
        let tokenizer = self.read();
        assert_eq!(tokenizer.special_tokens, self.special_tokens, "{name}");
        assert_eq!(self.segments.unwrap_or(tokenizer.gives_segments), tokenizer.gives_segments, "{name}");
        let parsed = parse_tokenizer(&tokenizer.json).unwrap();
        let added: BTreeMap<String, u32> =
            (parsed.get_added_tokens_decoder().into_iter()).map(|(id, token)| (token.content, id)).collect();
        assert_eq!(added, self.added, "{name}");
        let encoder = Encoder::new(&tokenizer.json, PLAIN, &PromptSpec::default()).unwrap();
        for (text, ids) in self.texts.iter().zip(&self.ids) {
            let found = encoder.encode_completion(text, false).ok();
            assert_eq!(found.unwrap_or_default(), ids.clone().unwrap_or_default(), "{name}: {text:?}");
        }
    }
}

#[test]
fn random_configurations_give_the_ids_that_transformers_gives() {
    let path = std::env::var_os("TOKENIZER_CASES");
    let path = path.map_or(tests_folder().join("golden/tokenizers/random.json"), PathBuf::from);
    let recorded: BTreeMap<String, Vec<Case>> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (number, case) in recorded["cases"].iter().enumerate() {
        case.check(&format!("case {number}"));
    }
}

#[test]
fn each_class_normalizes_and_splits_as_in_transformers_whatever_the_file_says() {
    let path = tests_folder().join("golden/tokenizers/classes.json");
    let recorded: BTreeMap<String, Vec<Case>> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in &recorded["cases"] {
        let class = case.files.get("tokenizer_config.json").and_then(|file| file.get("tokenizer_class"));
        case.check(&format!("{} of {}, {class:?}", case.model_type, case.base));
    }
}

/// Texts and the ids that SentencePiece gives them with one model.
#[derive(serde::Deserialize)]
struct Trained {
    name: String,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

#[test]
fn a_converted_model_gives_the_ids_that_sentencepiece_gives() {
    let folder = std::env::var_os("SENTENCEPIECE_CASES");
    let folder = folder.map_or(tests_folder().join("golden/sentencepiece"), PathBuf::from);
    let recorded = std::fs::read(folder.join("cases.json")).unwrap();
    let recorded: BTreeMap<String, Vec<Trained>> = serde_json::from_slice(&recorded).unwrap();
    let (mut wrong, mut total) = (Vec::new(), 0);
    for Trained { name, texts, ids } in &recorded["models"] {
        let checkpoint = tempfile::tempdir().unwrap();
        let model = folder.join(format!("{name}.model"));
        std::fs::copy(model, checkpoint.path().join(SENTENCEPIECE_FILE)).unwrap();
        let model = ModelFields { model_type: Some("internlm2".to_owned()), ..ModelFields::default() };
        let tokenizer = read(checkpoint.path(), None, &model).unwrap();
        let spec = PromptSpec { longest_match: tokenizer.longest_match, ..PromptSpec::default() };
        let encoder = Encoder::new(&tokenizer.json, PLAIN, &spec).unwrap();
        for (text, ids) in texts.iter().zip(ids) {
            let found = encoder.encode_completion(text, false).unwrap_or_default();
            total += 1;
            if found != *ids {
                wrong.push(format!("{name}: {text:?}\n  {found:?}\n  {ids:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {total}:\n{}", wrong.len(), wrong.join("\n"));
}
