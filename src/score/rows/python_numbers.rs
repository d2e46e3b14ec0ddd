//! NaN and the infinities as Python's `json.dumps` writes them, for which JSON has no numbers.

use std::collections::VecDeque;
use std::io::{BufRead, Bytes, Read, Result};
use std::iter::Peekable;

/// Words outside of texts, and what they are replaced by. NaN is how Python has a missing value.
const WORDS: [(&[u8], &[u8]); 3] =
    [(b"NaN", b"null"), (b"Infinity", b"\"Infinity\""), (b"-Infinity", b"\"-Infinity\"")];

/// JSON in which the words are replaced.
pub(super) struct PythonNumbers<R: Read> {
    bytes: Peekable<Bytes<R>>,
    /// What is not passed on yet.
    ready: VecDeque<u8>,
    in_text: bool,
    escaped: bool,
}

impl<R: BufRead> PythonNumbers<R> {
    pub(super) fn new(text: R) -> Self {
        Self { bytes: text.bytes().peekable(), ready: VecDeque::new(), in_text: false, escaped: false }
    }

    /// Reads a byte, or a word and what it is replaced by. Returns false at the end.
    fn advance(&mut self) -> Result<bool> {
        let Some(byte) = self.bytes.next().transpose()? else { return Ok(false) };
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
        } else if matches!(byte, b'N' | b'I' | b'-') {
            self.take_word(byte)?;
            return Ok(true);
        } else {
            self.in_text = byte == b'"';
        }
        self.ready.push_back(byte);
        Ok(true)
    }

    fn take_word(&mut self, first: u8) -> Result<()> {
        let mut word = vec![first];
        while let Some(Ok(next)) = self.bytes.peek()
            && next.is_ascii_alphabetic()
            && word.len() < 16
        {
            word.push(*next);
            self.bytes.next();
        }
        let known = WORDS.iter().find(|(known, _)| *known == word);
        self.ready.extend(known.map_or(word.as_slice(), |(_, replaced)| replaced));
        Ok(())
    }
}

impl<R: BufRead> Read for PythonNumbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.ready.len() < buffer.len() && self.advance()? {}
        self.ready.read(buffer)
    }
}

/// A line in which the words are replaced.
pub(super) fn replaced(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    // Reading from memory cannot fail.
    let _ = PythonNumbers::new(line).read_to_end(&mut text);
    text
}
