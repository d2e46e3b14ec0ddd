//! How many bytes of text a token can have at most, for tokenizers that leave no text out.

use tokenizers::{AddedToken, ModelWrapper, PreTokenizerWrapper, Tokenizer};

use super::byte_level::{ByteLevelSplitter, letters};

/// The most bytes of text that one token of `tokenizer` can have. `None` if the tokenizer may change, drop or fuse
/// text, so that nothing follows from a text's size.
pub(super) fn most_bytes_of_a_token(tokenizer: &Tokenizer) -> Option<usize> {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
    let pre_tokenizer = tokenizer.get_pre_tokenizer();
    let is_byte_level = ByteLevelSplitter::from_pre_tokenizer(pre_tokenizer).is_some()
        || matches!(pre_tokenizer, Some(PreTokenizerWrapper::ByteLevel(_)));
    if !is_byte_level || tokenizer.get_normalizer().is_some() {
        return None;
    }
    let vocabulary = model.get_vocab();
    // A byte that the vocabulary lacks would be left out.
    if letters().iter().any(|letter| !vocabulary.contains_key(letter.encode_utf8(&mut [0; 4]) as &str)) {
        return None;
    }
    // Every letter of a word is a byte of text.
    let longest = vocabulary.keys().map(|word| word.chars().count()).max()?;
    let mut most = longest;
    for token in tokenizer.get_added_tokens_decoder().values() {
        most = most.max(bytes_of_added(token)?);
    }
    Some(most)
}

/// `None` if the token takes any number of spaces around it with it.
fn bytes_of_added(token: &AddedToken) -> Option<usize> {
    if token.lstrip || token.rstrip { None } else { Some(token.content.len()) }
}
