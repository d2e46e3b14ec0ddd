//! Turns token ids back into text.

use std::collections::HashMap;

use tokenizers::Tokenizer;

use super::byte_level;

/// The bytes of every token. The text of a sequence is the concatenation of its tokens' bytes.
///
/// The supported families have two kinds of tokenizers: byte-level ones, whose vocabulary spells bytes
/// in GPT-2's alphabet, and SentencePiece's, which spell a space as `▁` and a byte without a token of
/// its own as `<0xE2>`.
#[derive(Debug)]
pub struct Vocabulary {
    tokens: Vec<Option<Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    name: String,
    bytes: Box<[u8]>,
    special: bool,
}

impl Vocabulary {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let decoder = serde_json::to_string(&tokenizer.get_decoder()).unwrap_or_default();
        let alphabet = decoder.contains("\"ByteLevel\"").then(byte_level_alphabet);
        let vocabulary = tokenizer.get_vocab(true);
        let size = vocabulary.values().map(|&id| id as usize + 1).max().unwrap_or(0);
        let mut tokens = vec![None; size];
        for (name, id) in vocabulary {
            let (bytes, special) = match (added.get(&id), &alphabet) {
                (Some(token), _) => (token.content.clone().into_bytes(), token.special),
                (None, Some(alphabet)) => (byte_level_bytes(&name, alphabet), false),
                (None, None) => (sentence_piece_bytes(&name), false),
            };
            tokens[id as usize] = Some(Token { name, bytes: bytes.into(), special });
        }
        Self { tokens }
    }

    fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)?.as_ref()
    }

    /// Bytes of the token `id`; empty if the tokenizer has no such token.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.token(id).map_or(&[], |token| &token.bytes)
    }

    /// Whether a token is a marker, such as the end of a turn, rather than text.
    pub fn is_special(&self, id: u32) -> bool {
        self.token(id).is_some_and(|token| token.special)
    }

    /// The token `id` as the vocabulary spells it.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.token(id).map(|token| token.name.as_str())
    }

    /// Text of tokens, special ones included. Bytes that are not valid UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The byte that each letter of GPT-2's alphabet represents.
fn byte_level_alphabet() -> HashMap<char, u8> {
    byte_level::letters().into_iter().zip(0..=u8::MAX).collect()
}

fn byte_level_bytes(name: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    for character in name.chars() {
        match alphabet.get(&character) {
            Some(&byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn sentence_piece_bytes(name: &str) -> Vec<u8> {
    let byte = name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    match byte.filter(|hex| hex.len() == 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => vec![byte],
        None => name.replace('▁', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINTS: [&str; 3] = ["llama3-tiny", "qwen2-tiny", "llama2-tiny"];

    fn tokenizer(checkpoint: &str) -> Tokenizer {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checkpoints");
        Tokenizer::from_file(format!("{folder}/{checkpoint}/tokenizer.json")).unwrap()
    }

    #[test]
    fn decoding_the_tokens_of_a_text_gives_the_text() {
        for checkpoint in CHECKPOINTS {
            let tokenizer = tokenizer(checkpoint);
            let vocabulary = Vocabulary::new(&tokenizer);
            for text in
                ["Hello, world!", " two  spaces\n\ttab", "naïve façade", "東京 🗼 и Москва", "a\u{0}b"]
            {
                let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
                // SentencePiece adds a space before a text, and its decoder removes it.
                let decoded = vocabulary.decode(&ids);
                let expected = tokenizer.decode(&ids, false).unwrap();
                let plain = decoded == expected || decoded.strip_prefix(' ') == Some(&expected);
                assert!(plain, "{checkpoint}: {decoded:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn the_alphabet_contains_every_byte_once() {
        let alphabet = byte_level_alphabet();
        let mut bytes: Vec<u8> = alphabet.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(alphabet[&'Ġ'], b' ');
        assert_eq!(alphabet[&'Ċ'], b'\n');
    }
}
