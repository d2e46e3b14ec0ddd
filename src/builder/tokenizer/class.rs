//! The tokenizer classes of transformers that assemble a tokenizer of their own.
//!
//! From transformers 5 on, a class such as `LlamaTokenizer` takes vocabulary, merges and post-processor from
//! `tokenizer.json`, but normalizes, splits and decodes in its own way. All other classes take the file as it
//! is. Which class loads a checkpoint depends on `tokenizer_class` and `model_type`, as in `AutoTokenizer`.

use serde_json::{Value, json};

use super::merges;
use super::settings::Settings;

/// Qwen's pattern of words.
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Special tokens that encoders have unless a file says otherwise.
const DEBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const BERT_TOKENS: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

/// A `tokenizer.json` without a vocabulary.
#[derive(Debug, thiserror::Error)]
#[error("its model has no vocabulary")]
pub(super) struct NoVocabulary;

/// How transformers assembles the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// From `tokenizer.json` as it is.
    File,
    Llama,
    Qwen2,
    Gemma,
    DebertaV2,
    Bert,
}

/// The class that transformers knows for a `model_type`.
struct Registered {
    class: Class,
    /// Whether it overrides a class that the checkpoint names.
    overrides: bool,
}

impl Registered {
    fn find(model_type: &str) -> Option<Self> {
        let (class, overrides) = match model_type {
            "qwen2" => (Class::Qwen2, true),
            "qwen3" => (Class::Qwen2, false),
            "deberta-v2" => (Class::DebertaV2, false),
            "bert" => (Class::Bert, false),
            "gemma" | "gemma2" | "gemma3" | "gemma3_text" => (Class::Gemma, false),
            "mistral" | "mistral3" | "ministral" | "ministral3" | "nemotron" | "internlm2" | "phi3"
            | "olmo2" => (Class::File, true),
            _ => return None,
        };
        Some(Self { class, overrides })
    }
}

impl Class {
    /// Chooses the class for a checkpoint of `model_type`. `is_byte_level` says whether its `tokenizer.json`
    /// spells bytes in GPT-2's alphabet.
    pub(super) fn choose(settings: &Settings, model_type: Option<&str>, is_byte_level: bool) -> Self {
        let registered = model_type.and_then(Registered::find);
        let named = settings.class.as_deref().map(|name| name.strip_suffix("Fast").unwrap_or(name));
        let Some(named) = named.map(Self::named) else {
            return registered.map_or(Self::File, |registered| registered.class);
        };
        match registered {
            // Many checkpoints with byte-level tokenizers name Llama's class, which would misread them.
            _ if named == Self::Llama && is_byte_level && registered_is_open(model_type) => Self::File,
            Some(Registered { class, overrides: true }) if !settings.has_own_code => class,
            _ => named,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "LlamaTokenizer" => Self::Llama,
            "Qwen2Tokenizer" => Self::Qwen2,
            "GemmaTokenizer" => Self::Gemma,
            "DebertaV2Tokenizer" => Self::DebertaV2,
            "BertTokenizer" => Self::Bert,
            _ => Self::File,
        }
    }

    /// Whether the class gives a model the segments of a pair.
    pub(super) fn gives_segments(self) -> bool {
        matches!(self, Self::Bert | Self::DebertaV2)
    }

    /// Special tokens that the class has unless a file says otherwise.
    pub(super) fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::File => &[],
            Self::DebertaV2 => DEBERTA_TOKENS,
            Self::Bert => BERT_TOKENS,
            Self::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Self::Qwen2 => &[
                ("unk_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
            Self::Gemma => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
        }
    }

    /// Replaces the parts of `tokenizer.json` that the class assembles itself.
    ///
    /// # Errors
    /// [`NoVocabulary`].
    pub(super) fn assemble(self, mut file: Value, settings: &Settings) -> Result<Value, NoVocabulary> {
        if matches!(self, Self::File | Self::DebertaV2 | Self::Bert) {
            return Ok(file);
        }
        let model = self.model(file["model"].take(), settings)?;
        file["model"] = model;
        file["added_tokens"] = json!([]);
        file["normalizer"] = match self {
            Self::File | Self::Llama | Self::DebertaV2 | Self::Bert => Value::Null,
            Self::Qwen2 => json!({"type": "NFC"}),
            Self::Gemma => json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
        };
        file["pre_tokenizer"] = self.pre_tokenizer(settings);
        file["decoder"] = self.decoder(settings);
        Ok(file)
    }

    fn model(self, mut model: Value, settings: &Settings) -> Result<Value, NoVocabulary> {
        let vocab = match model["vocab"].take() {
            Value::Object(vocab) => vocab,
            // Pieces and their scores, in the order of their ids.
            Value::Array(pieces) => (pieces.iter().enumerate())
                .filter_map(|(id, piece)| Some((piece.get(0)?.as_str()?.to_owned(), json!(id))))
                .collect(),
            _ => return Err(NoVocabulary),
        };
        let merges = match model["merges"].take() {
            Value::Null => {
                let skipped = settings.special_contents();
                json!(merges::from_vocabulary(&vocab, &skipped))
            }
            merges => merges,
        };
        let unknown = match self {
            // Python spells an absent token.
            Self::Gemma => json!(settings.named_or("unk_token", "<unk>").unwrap_or("None")),
            _ => Value::Null,
        };
        let affix = if self == Self::Qwen2 { json!("") } else { Value::Null };
        Ok(json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": affix,
            "end_of_word_suffix": affix,
            "fuse_unk": self != Self::Qwen2,
            "byte_fallback": self != Self::Qwen2,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        }))
    }

    fn pre_tokenizer(self, settings: &Settings) -> Value {
        match self {
            Self::File | Self::DebertaV2 | Self::Bert => Value::Null,
            Self::Llama => {
                let scheme = match (settings.add_prefix_space.unwrap_or(true), settings.legacy) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false})
            }
            Self::Qwen2 => {
                let space = settings.add_prefix_space.unwrap_or(false);
                json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false},
                    {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": false},
                ]})
            }
            Self::Gemma => json!({"type": "Split", "pattern": {"String": " "},
                "behavior": "MergedWithPrevious", "invert": false}),
        }
    }

    fn decoder(self, settings: &Settings) -> Value {
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        match self {
            Self::File | Self::DebertaV2 | Self::Bert => return Value::Null,
            Self::Qwen2 => {
                return json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                    "use_regex": true});
            }
            Self::Llama if settings.add_prefix_space.unwrap_or(true) => {
                steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            }
            Self::Llama | Self::Gemma => {}
        }
        json!({"type": "Sequence", "decoders": steps})
    }
}

/// Whether a `model_type` may be loaded with the file's own parts although its class is Llama's.
fn registered_is_open(model_type: Option<&str>) -> bool {
    !matches!(model_type, Some("qwen2"))
}
