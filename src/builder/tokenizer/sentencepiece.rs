//! Converts a SentencePiece model (`tokenizer.model`) into the form of `tokenizer.json`.
//!
//! The field numbers are those of `sentencepiece_model.proto`. The converted tokenizer gives SentencePiece's own
//! ids for the text between control tokens.

use std::collections::HashSet;

use base64::Engine;
use serde_json::{Map, Value, json};

use super::merges;
use super::protobuf::{Fields, ProtobufError, Value as Field};
use super::token::{Given, TokenFields};

/// Types of pieces.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const BYTE: u64 = 6;

/// Model types.
const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

/// Why a model cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SentencePieceError {
    #[error(
        "it is not a SentencePiece model ({0}); load the tokenizer with transformers' AutoTokenizer and call `save_pretrained`"
    )]
    NotOne(#[from] ProtobufError),
    #[error(
        "it is not a SentencePiece model (it has no pieces); load the tokenizer with transformers' AutoTokenizer and call `save_pretrained`"
    )]
    NoPieces,
    #[error("it is a SentencePiece model of {0}; only unigram and BPE models are supported")]
    Unsupported(&'static str),
    #[error("its piece {0:?} occurs twice")]
    Duplicate(String),
}

/// A piece of the vocabulary; its id is its index.
struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// A SentencePiece model.
pub(super) struct SentencePiece {
    pieces: Vec<Piece>,
    model_type: u64,
    byte_fallback: bool,
    suffix_spaces: bool,
    unk_id: usize,
    /// `bos_token`, `eos_token` and `unk_token` with their texts, where the model has them.
    pub(super) named: Vec<(&'static str, String)>,
    charsmap: Vec<u8>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl SentencePiece {
    /// Parses the bytes of `tokenizer.model`.
    ///
    /// # Errors
    /// They are not such a model.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SentencePieceError> {
        let mut model = Self {
            pieces: Vec::new(),
            model_type: UNIGRAM,
            byte_fallback: false,
            suffix_spaces: false,
            unk_id: 0,
            named: Vec::new(),
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        let mut trainer = &[][..];
        for field in Fields::new(bytes) {
            match field? {
                (1, Field::Bytes(piece)) => model.pieces.push(Piece::parse(piece)?),
                (2, Field::Bytes(spec)) => trainer = spec,
                (3, Field::Bytes(spec)) => model.read_normalizer(spec)?,
                _ => {}
            }
        }
        model.read_trainer(trainer)?;
        if model.pieces.is_empty() {
            return Err(SentencePieceError::NoPieces);
        }
        Ok(model)
    }

    fn read_normalizer(&mut self, spec: &[u8]) -> Result<(), ProtobufError> {
        for field in Fields::new(spec) {
            match field? {
                (2, Field::Bytes(charsmap)) => self.charsmap = charsmap.to_vec(),
                (3, Field::Varint(flag)) => self.add_dummy_prefix = flag != 0,
                (4, Field::Varint(flag)) => self.remove_extra_whitespaces = flag != 0,
                (5, Field::Varint(flag)) => self.escape_whitespaces = flag != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_trainer(&mut self, spec: &[u8]) -> Result<(), ProtobufError> {
        // Ids are written as 64 bits, negative ones too.
        let mut ids = [0_i64, 1, 2];
        let mut texts = ["<unk>", "<s>", "</s>"].map(str::to_owned);
        for field in Fields::new(spec) {
            match field? {
                (3, Field::Varint(kind)) => self.model_type = kind,
                (24, Field::Varint(flag)) => self.suffix_spaces = flag != 0,
                (35, Field::Varint(flag)) => self.byte_fallback = flag != 0,
                (number @ 40..=42, Field::Varint(id)) => ids[number as usize - 40] = id.cast_signed(),
                (number @ 45..=47, Field::Bytes(text)) => {
                    texts[number as usize - 45] = String::from_utf8_lossy(text).into_owned();
                }
                _ => {}
            }
        }
        self.unk_id = usize::try_from(ids[0]).unwrap_or(0);
        let names = ["unk_token", "bos_token", "eos_token"];
        for ((name, text), id) in names.into_iter().zip(texts).zip(ids) {
            if id >= 0 {
                self.named.push((name, text));
            }
        }
        Ok(())
    }

    /// Control and user-defined symbols as tokens, in the order of their ids.
    pub(super) fn symbols(&self) -> Vec<Given> {
        let symbols = self.pieces.iter().filter(|piece| matches!(piece.kind, CONTROL | USER_DEFINED));
        let token = |piece: &Piece| TokenFields {
            normalized: Some(false),
            special: piece.kind == CONTROL,
            ..TokenFields::special(&piece.text)
        };
        symbols.map(|piece| Given::Token(token(piece))).collect()
    }

    /// Number of pieces.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Gives a piece another name, as a checkpoint's configuration does with pieces that were reserved for its
    /// control tokens. Does nothing if the name is taken or the piece does not exist.
    pub(super) fn rename(&mut self, id: u32, name: &str) {
        if self.pieces.iter().any(|piece| piece.text == name) {
            return;
        }
        if let Some(piece) = self.pieces.get_mut(id as usize) {
            name.clone_into(&mut piece.text);
            piece.kind = CONTROL;
        }
    }

    /// The tokenizer in the form of `tokenizer.json`.
    ///
    /// # Errors
    /// The model is of an unsupported type or inconsistent.
    pub(super) fn convert(&self) -> Result<Value, SentencePieceError> {
        let mut seen = HashSet::new();
        if let Some(piece) = self.pieces.iter().find(|piece| !seen.insert(piece.text.as_str())) {
            return Err(SentencePieceError::Duplicate(piece.text.clone()));
        }
        let model = match self.model_type {
            _ if self.suffix_spaces => {
                return Err(SentencePieceError::Unsupported("words that end with spaces"));
            }
            _ if !self.escape_whitespaces => return Err(SentencePieceError::Unsupported("plain spaces")),
            UNIGRAM => self.unigram(),
            BPE => self.bpe(),
            _ => return Err(SentencePieceError::Unsupported("words or characters")),
        };
        let mut added = Vec::new();
        for (id, piece) in self.pieces.iter().enumerate().filter(|(_, piece)| piece.kind == CONTROL) {
            added.push(json!({"id": id, "content": piece.text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}));
        }
        let space = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let decoder = if self.byte_fallback {
            json!([space, {"type": "ByteFallback"}, {"type": "Fuse"}])
        } else {
            json!([space])
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": self.normalizer(),
            "pre_tokenizer": self.pre_tokenizer(),
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoder},
            "model": model,
        }))
    }

    fn unigram(&self) -> Value {
        let normal =
            self.pieces.iter().filter(|piece| piece.kind == NORMAL).map(|piece| f64::from(piece.score));
        let (lowest, highest) =
            normal.fold((0.0_f64, f64::MIN), |(low, high), score| (low.min(score), high.max(score)));
        // A text never spells these, so they must be worse than the pieces of any such spelling.
        let never = 64.0 * lowest - 64.0;
        let vocab: Vec<Value> = (self.pieces.iter())
            .map(|piece| {
                let score = match piece.kind {
                    NORMAL => f64::from(piece.score),
                    // SentencePiece prefers them to any other spelling.
                    USER_DEFINED => piece.text.chars().count() as f64 * highest.max(lowest) - 0.1,
                    _ => never,
                };
                json!([piece.text, score])
            })
            .collect();
        json!({"type": "Unigram", "unk_id": self.unk_id, "vocab": vocab, "byte_fallback": self.byte_fallback})
    }

    fn bpe(&self) -> Value {
        let mut ranked: Vec<usize> = (0..self.pieces.len()).collect();
        ranked.sort_by(|a, b| self.pieces[*b].score.total_cmp(&self.pieces[*a].score));
        // Merges are ranked by score; ids mostly are, too.
        let mut by_score = Map::new();
        for (rank, &index) in ranked.iter().enumerate() {
            by_score.insert(self.pieces[index].text.clone(), json!(rank));
        }
        let merged = |piece: &&Piece| matches!(piece.kind, UNKNOWN | CONTROL | USER_DEFINED | BYTE);
        let skipped = self.pieces.iter().filter(merged).map(|piece| piece.text.clone()).collect();
        let merges = merges::from_vocabulary(&by_score, &skipped);
        let vocab: Map<String, Value> =
            self.pieces.iter().enumerate().map(|(id, piece)| (piece.text.clone(), json!(id))).collect();
        json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": self.pieces.get(self.unk_id).map(|piece| piece.text.as_str()),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": self.byte_fallback,
            // User-defined pieces are words of their own, and no merges make them.
            "ignore_merges": self.user_defined().next().is_some(),
            "vocab": vocab,
            "merges": merges,
        })
    }

    fn user_defined(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter(|piece| piece.kind == USER_DEFINED).map(|piece| piece.text.as_str())
    }

    /// What SentencePiece's normalizer does: characters by its map, spaces at the ends and in runs, the space
    /// before a text, and `▁` for spaces.
    fn normalizer(&self) -> Value {
        let replace = |regex: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": regex}, "content": content});
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            let charsmap = base64::engine::general_purpose::STANDARD.encode(&self.charsmap);
            steps.push(json!({"type": "Precompiled", "precompiled_charsmap": charsmap}));
        }
        if self.remove_extra_whitespaces {
            steps.push(replace(r"\A +", ""));
            steps.push(replace(" {2,}", " "));
        }
        if self.add_dummy_prefix {
            steps.push(json!({"type": "Prepend", "prepend": "▁"}));
        }
        steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        if self.remove_extra_whitespaces {
            steps.push(replace(r"▁+\z", ""));
        }
        json!({"type": "Sequence", "normalizers": steps})
    }

    /// Splits a text at the user-defined pieces of a BPE model. A unigram model finds them itself.
    fn pre_tokenizer(&self) -> Value {
        let mut pieces: Vec<&str> = self.user_defined().collect();
        if self.model_type != BPE || pieces.is_empty() {
            return Value::Null;
        }
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        let mut patterns: Vec<String> = pieces.into_iter().map(regex::escape).collect();
        if self.byte_fallback {
            // So that text which spells the name of a byte is not a word of the vocabulary.
            patterns.push("<(?=0x[0-9A-F]{2}>)".to_owned());
        }
        let pattern = patterns.join("|");
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
    }
}

impl Piece {
    fn parse(message: &[u8]) -> Result<Self, ProtobufError> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: NORMAL };
        for field in Fields::new(message) {
            match field? {
                (1, Field::Bytes(text)) => piece.text = String::from_utf8_lossy(text).into_owned(),
                (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
                (3, Field::Varint(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        Ok(piece)
    }
}
