//! Token ids become text again: what each token stands for, in bytes.

use std::collections::HashMap;

use tokenizers::Tokenizer;

/// The bytes of every token. The text of a sequence is its tokens' bytes, one after the other.
///
/// Tokenizers of all families here are of two kinds: those whose vocabulary spells bytes by GPT-2's
/// alphabet, and SentencePiece's, which spells a space as `▁` and a byte that no token has as `<0xE2>`.
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
    /// The vocabulary of a tokenizer.
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let decoder = serde_json::to_string(&tokenizer.get_decoder()).unwrap_or_default();
        let alphabet = decoder.contains("\"ByteLevel\"").then(gpt2_bytes);
        let vocabulary = tokenizer.get_vocab(true);
        let size = vocabulary.values().map(|&id| id as usize + 1).max().unwrap_or(0);
        let mut tokens = vec![None; size];
        for (name, id) in vocabulary {
            let (bytes, special) = match (added.get(&id), &alphabet) {
                (Some(token), _) => (token.content.clone().into_bytes(), token.special),
                (None, Some(alphabet)) => (byte_level(&name, alphabet), false),
                (None, None) => (sentence_piece(&name), false),
            };
            tokens[id as usize] = Some(Token { name, bytes: bytes.into(), special });
        }
        Self { tokens }
    }

    fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)?.as_ref()
    }

    /// What a token stands for; nothing if the tokenizer has none of that id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.token(id).map_or(&[], |token| &token.bytes)
    }

    /// Whether a token marks something and is no part of a text.
    pub fn is_special(&self, id: u32) -> bool {
        self.token(id).is_some_and(|token| token.special)
    }

    /// A token as the vocabulary spells it.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.token(id).map(|token| token.name.as_str())
    }

    /// Text of tokens, special ones included. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// GPT-2's alphabet: printable characters of Latin-1 stand for themselves, the other bytes for the
/// characters from U+0100 on, in order.
fn gpt2_bytes() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=u8::MAX).filter(|byte| !printable(byte));
    let themselves = (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte));
    themselves.chain(('\u{100}'..).zip(others)).collect()
}

fn byte_level(name: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    for character in name.chars() {
        match alphabet.get(&character) {
            Some(&byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn sentence_piece(name: &str) -> Vec<u8> {
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
    fn tokens_of_a_text_give_back_the_text() {
        for checkpoint in CHECKPOINTS {
            let tokenizer = tokenizer(checkpoint);
            let vocabulary = Vocabulary::new(&tokenizer);
            for text in
                ["Hello, world!", " two  spaces\n\ttab", "naïve façade", "東京 🗼 и Москва", "a\u{0}b"]
            {
                let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
                // SentencePiece puts a space before a text, which its decoder takes away again.
                let decoded = vocabulary.decode(&ids);
                let expected = tokenizer.decode(&ids, false).unwrap();
                let plain = decoded == expected || decoded.strip_prefix(' ') == Some(&expected);
                assert!(plain, "{checkpoint}: {decoded:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let alphabet = gpt2_bytes();
        let mut bytes: Vec<u8> = alphabet.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(alphabet[&'Ġ'], b' ');
        assert_eq!(alphabet[&'Ċ'], b'\n');
    }
}
