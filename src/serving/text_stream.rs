//! Text of a sequence while it is generated: only whole characters, and nothing that may turn out to be
//! part of a stop string.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::prompt::Vocabulary;

/// What ends a text besides the model's own end tokens.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    /// Texts, none of them empty.
    pub(crate) texts: Arc<[String]>,
    /// Those of [`crate::sampling::Sampling::end_tokens`] that the request names.
    pub(crate) tokens: Arc<[u32]>,
    /// Whether what ends the text is part of it.
    pub(crate) keep: bool,
}

/// What ended a text, if it was not a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum StopReason {
    Text(String),
    Token(u32),
}

/// Turns the tokens of one sequence into text as they arrive.
#[derive(Debug)]
pub(super) struct TextStream {
    vocabulary: Arc<Vocabulary>,
    stops: Stops,
    skip_special: bool,
    /// The start of a character whose other bytes have not arrived.
    bytes: Vec<u8>,
    /// Text that may be the start of a stop string.
    held: String,
    /// The stop string that was found.
    stopped: Option<String>,
}

impl TextStream {
    /// A text that ends at the first of the stop strings. With `skip_special`, special tokens are left out of it.
    pub(super) fn new(vocabulary: Arc<Vocabulary>, stops: Stops, skip_special: bool) -> Self {
        Self { vocabulary, stops, skip_special, bytes: Vec::new(), held: String::new(), stopped: None }
    }

    /// Adds a token, and returns the text that is certain now; nothing after a stop string.
    pub(super) fn push(&mut self, token: u32) -> String {
        if self.stopped.is_some() || (self.skip_special && self.vocabulary.is_special(token)) {
            return String::new();
        }
        self.bytes.extend_from_slice(self.vocabulary.bytes(token));
        self.take_characters();
        self.take_certain()
    }

    /// Adds the token that ended the sequence, which is part of the text only if the request wants that.
    pub(super) fn push_end(&mut self, token: u32) -> String {
        if self.stops.keep { self.push(token) } else { String::new() }
    }

    /// Ends the sequence, and returns the text that was held back.
    pub(super) fn finish(&mut self) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        self.held.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        let text = self.take_certain();
        text + &std::mem::take(&mut self.held)
    }

    /// The stop string that was found.
    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Whether the request names this text or token as one that ends the text.
    pub(super) fn names(&self, stop: &StopReason) -> bool {
        match stop {
            StopReason::Text(_) => true,
            StopReason::Token(token) => self.stops.tokens.contains(token),
        }
    }

    /// Moves whole characters from `bytes` to `held`. Bytes that cannot become one are replaced by U+FFFD.
    fn take_characters(&mut self) {
        let mut done = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            let unfinished = done + invalid.len() == self.bytes.len()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !invalid.is_empty() && !unfinished {
                self.held.push(char::REPLACEMENT_CHARACTER);
                done += invalid.len();
            }
        }
        self.bytes.drain(..done);
    }

    /// Takes the text up to a stop string, or up to where one may start.
    fn take_certain(&mut self) -> String {
        let found = self.stops.texts.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)));
        if let Some((start, stop)) = found.min_by_key(|(start, _)| *start) {
            let end = if self.stops.keep { start + stop.len() } else { start };
            self.stopped = Some(stop.clone());
            let mut held = std::mem::take(&mut self.held);
            held.truncate(end);
            return held;
        }
        let starts = self.held.char_indices().map(|(at, _)| at);
        let end = starts.into_iter().find(|&at| self.may_start_stop(at)).unwrap_or(self.held.len());
        self.held.drain(..end).collect()
    }

    /// Whether a stop string may start at byte `at` of the held text.
    fn may_start_stop(&self, at: usize) -> bool {
        self.stops.texts.iter().any(|stop| stop.starts_with(&self.held[at..]))
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::Tokenizer;

    use super::*;
    use crate::manifest::PromptSpec;
    use crate::prompt::Encoder;

    fn tokenizer_json() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checkpoints/llama3-tiny/tokenizer.json");
        std::fs::read_to_string(path).unwrap()
    }

    fn vocabulary() -> Arc<Vocabulary> {
        Encoder::new(&tokenizer_json(), "{{ messages[0].content }}", &PromptSpec::default())
            .unwrap()
            .vocabulary()
    }

    fn ids(text: &str) -> Vec<u32> {
        tokenizer_json().parse::<Tokenizer>().unwrap().encode(text, false).unwrap().get_ids().to_vec()
    }

    fn stream(stop: &[&str], keep: bool) -> TextStream {
        let texts = stop.iter().map(|stop| (*stop).to_owned()).collect();
        TextStream::new(vocabulary(), Stops { texts, tokens: Arc::default(), keep }, true)
    }

    /// The pieces that the stream returns for `text`, and the stop string that it found.
    fn pieces(text: &str, stop: &[&str]) -> (Vec<String>, Option<String>) {
        pieces_of(stream(stop, false), text)
    }

    fn pieces_of(mut stream: TextStream, text: &str) -> (Vec<String>, Option<String>) {
        let mut pieces: Vec<String> = ids(text).into_iter().map(|id| stream.push(id)).collect();
        pieces.push(stream.finish());
        (pieces, stream.stopped().map(str::to_owned))
    }

    #[test]
    fn characters_of_several_tokens_are_returned_whole() {
        let text = "Die 🗼 in 東京, 👩‍👩‍👧‍👦 and ñandú";
        let (pieces, _) = pieces(text, &[]);
        assert!(pieces.len() > text.split(' ').count(), "the text has too few tokens for this test");
        assert!(pieces.iter().any(String::is_empty), "no character is split");
        assert!(!pieces.concat().contains('\u{FFFD}'));
        assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn a_stop_string_over_several_tokens_is_never_returned() {
        let text = "One sentence. And then the end, and more.";
        for stop in ["then the end", "And", ".", " more.", "One", "the end, and"] {
            let (pieces, stopped) = pieces(text, &[stop]);
            assert_eq!(stopped.as_deref(), Some(stop));
            assert_eq!(pieces.concat(), text[..text.find(stop).unwrap()], "{stop}");
        }
    }

    #[test]
    fn a_stop_string_that_is_kept_is_the_end_of_the_text() {
        let text = "One sentence. And then the end, and more.";
        for stop in ["then the end", "And", " more.", "One", "the end, and"] {
            let (pieces, stopped) = pieces_of(stream(&[stop], true), text);
            assert_eq!(stopped.as_deref(), Some(stop));
            assert_eq!(pieces.concat(), text[..text.find(stop).unwrap() + stop.len()], "{stop}");
        }
    }

    #[test]
    fn the_first_stop_string_in_the_text_ends_it() {
        let (pieces, stopped) = pieces("a b c d", &["d", "c", "xyz"]);
        assert_eq!(stopped.as_deref(), Some("c"));
        assert_eq!(pieces.concat(), "a b ");
    }

    #[test]
    fn text_that_only_resembled_a_stop_string_is_returned_in_the_end() {
        let text = "the end of the en";
        let (pieces, stopped) = pieces(text, &["the end!", "end?"]);
        assert_eq!(stopped, None);
        assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn an_incomplete_character_is_replaced_and_special_tokens_are_skipped() {
        let mut stream = stream(&[], false);
        let broken = ids("🗼")[0];
        let first = stream.push(broken);
        assert_eq!(first, "");
        let special = ids("<|eot_id|>");
        assert_eq!(special.len(), 1);
        assert_eq!(stream.push(special[0]), "");
        assert_eq!(stream.finish(), "\u{FFFD}");
    }
}
