//! The tokenizer classes of transformers that assemble a tokenizer of their own.
//!
//! From transformers 5 on, a class such as `LlamaTokenizer` takes vocabulary, merges and post-processor from
//! `tokenizer.json`, but normalizes, splits and decodes in its own way. Which class loads a checkpoint is chosen in
//! [`super::registered`].

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
const ROBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

/// A `tokenizer.json` without a vocabulary.
#[derive(Debug, thiserror::Error)]
#[error("its model has no vocabulary")]
pub(super) struct NoVocabulary;

/// How transformers assembles the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenizerClass {
    /// From `tokenizer.json` as it is.
    File,
    Llama,
    Qwen2,
    Gemma,
    /// GPT-2's and CodeGen's.
    Gpt2,
    GptNeoX,
    Cohere,
    DebertaV2,
    Bert,
    /// BERT's without segments.
    DistilBert,
    Roberta,
    XlmRoberta,
}

impl TokenizerClass {
    /// Whether the class gives a model the segments of a pair.
    pub(super) fn gives_segments(self) -> bool {
        matches!(self, Self::Bert | Self::DebertaV2)
    }

    /// Special tokens that the class has unless a file says otherwise.
    pub(super) fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::File => &[],
            Self::DebertaV2 => DEBERTA_TOKENS,
            Self::Bert | Self::DistilBert => BERT_TOKENS,
            Self::Roberta | Self::XlmRoberta => ROBERTA_TOKENS,
            Self::Gpt2 => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
            Self::GptNeoX => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
                ("pad_token", "<|padding|>"),
            ],
            Self::Cohere => &[
                ("bos_token", "<BOS_TOKEN>"),
                ("eos_token", "<|END_OF_TURN_TOKEN|>"),
                ("unk_token", "<UNK>"),
                ("sep_token", "<SEP>"),
                ("pad_token", "<PAD>"),
                ("cls_token", "<CLS>"),
                ("mask_token", "<MASK_TOKEN>"),
            ],
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
        if !matches!(self, Self::Llama | Self::Gemma) && !self.is_byte_level() {
            return Ok(file);
        }
        let model = self.model(file["model"].take(), settings)?;
        file["model"] = model;
        file["added_tokens"] = json!([]);
        file["normalizer"] = match self {
            Self::Qwen2 | Self::GptNeoX | Self::Cohere => json!({"type": "NFC"}),
            Self::Gemma => json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
            _ => Value::Null,
        };
        if self == Self::GptNeoX {
            file["post_processor"] = Value::Null;
        }
        file["pre_tokenizer"] = self.pre_tokenizer(settings);
        file["decoder"] = self.decoder(settings);
        Ok(file)
    }

    /// Whether it splits into words whose bytes are spelt in GPT-2's alphabet.
    fn is_byte_level(self) -> bool {
        matches!(self, Self::Qwen2 | Self::Gpt2 | Self::GptNeoX | Self::Cohere | Self::Roberta)
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
            // As in Python, an absent token becomes the text `None`.
            Self::Gemma => json!(settings.named_or("unk_token", "<unk>").unwrap_or("None")),
            _ => Value::Null,
        };
        let affix = if self.is_byte_level() { json!("") } else { Value::Null };
        Ok(json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": affix,
            "end_of_word_suffix": affix,
            "fuse_unk": !self.is_byte_level(),
            "byte_fallback": !self.is_byte_level(),
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        }))
    }

    fn pre_tokenizer(self, settings: &Settings) -> Value {
        let space = settings.add_prefix_space.unwrap_or(false);
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": use_regex});
        match self {
            Self::Llama => {
                let scheme = match (settings.add_prefix_space.unwrap_or(true), settings.legacy) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false})
            }
            Self::Qwen2 => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false},
                bytes(false),
            ]}),
            Self::Cohere => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true},
                bytes(true),
            ]}),
            Self::Gpt2 | Self::GptNeoX | Self::Roberta => bytes(true),
            Self::Gemma => json!({"type": "Split", "pattern": {"String": " "},
                "behavior": "MergedWithPrevious", "invert": false}),
            _ => Value::Null,
        }
    }

    fn decoder(self, settings: &Settings) -> Value {
        if self.is_byte_level() {
            return json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        }
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self == Self::Llama && settings.add_prefix_space.unwrap_or(true) {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }
}
