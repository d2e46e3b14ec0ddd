//! The filter `wordwrap`, which is Python's `textwrap`.

use std::collections::VecDeque;

use super::super::arguments::{Given, int, text};
use super::super::fault::{Fault, fault};
use super::super::interpreter::Interpreter;
use super::super::split::split_lines;
use super::super::unicode::is_alpha;
use super::super::value::{Value, char_count};

pub(super) fn wordwrap(run: &mut Interpreter<'_>, value: &Value, given: Given) -> Result<Value, Fault> {
    let parameters = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, break_long, wrap, break_hyphens] = given.bind("wordwrap", parameters, 0)?;
    let width = width.map_or(Ok(79), |width| int(&width, "wordwrap", "width"))?;
    let wrap = match wrap {
        None | Some(Value::None) => "\n".to_owned(),
        Some(wrap) => text(&wrap, "wordwrap", "wrapstring")?.to_owned(),
    };
    let is_set = |flag: Option<Value>| flag.is_none_or(|flag| flag.is_true());
    let (break_long, break_hyphens) = (is_set(break_long), is_set(break_hyphens));
    let Some(width) = usize::try_from(width).ok().filter(|width| *width > 0) else {
        return fault!("`wordwrap` needs a width above 0");
    };
    let text = text(value, "wordwrap", "the value")?;
    run.budget.bytes(text.len().saturating_mul(2))?;
    run.budget.steps(text.len())?;
    let paragraphs = split_lines(text, false).into_iter();
    let paragraphs: Vec<Vec<String>> =
        paragraphs.map(|line| wrapped(line, width, break_long, break_hyphens)).collect();
    let lines: usize = paragraphs.iter().map(|lines| lines.len().max(1)).sum();
    run.budget.items(lines)?;
    run.budget.bytes(text.len().saturating_add(wrap.len().saturating_mul(lines)))?;
    let paragraphs: Vec<String> = paragraphs.into_iter().map(|lines| lines.join(&wrap)).collect();
    Ok(Value::str(paragraphs.join(&wrap)))
}

/// White space as `textwrap` knows it.
fn is_space(c: char) -> bool {
    "\t\n\u{b}\u{c}\r ".contains(c)
}

/// Words and the white space between them; words with hyphens in parts.
fn chunks(line: &str, break_hyphens: bool) -> VecDeque<&str> {
    let mut chunks = VecDeque::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let in_space = is_space(first);
        let end = rest.find(|c| is_space(c) != in_space).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        if in_space || !break_hyphens {
            chunks.push_back(chunk);
        } else {
            chunks.extend(hyphenated(chunk));
        }
        rest = after;
    }
    chunks
}

/// Splits a word after hyphens between letters, and at dashes between words.
fn hyphenated(word: &str) -> Vec<&str> {
    let (offsets, chars): (Vec<usize>, Vec<char>) = word.char_indices().unzip();
    let offset = |at: usize| offsets.get(at).copied().unwrap_or(word.len());
    let is_letter = |at: usize| chars.get(at).is_some_and(|c| is_alpha(*c) || *c == '_');
    // Where the part that is not complete yet starts.
    let (mut parts, mut start) = (Vec::new(), 0);
    let mut at = 0;
    while at < chars.len() {
        // Within a run of dashes there is nothing to split, so it is counted once.
        let in_run = at > 0 && chars[at - 1] == '-';
        let dashes = if in_run { 0 } else { chars[at..].iter().take_while(|c| **c == '-').count() };
        let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || "_!\"'&.,?".contains(chars[at - 1]));
        let before_word = chars.get(at + dashes).is_some_and(|c| c.is_alphanumeric() || *c == '_');
        if dashes >= 2 && after_word && before_word {
            parts.push(&word[offset(start)..offset(at)]);
            parts.push(&word[offset(at)..offset(at + dashes)]);
            at += dashes;
            start = at;
            continue;
        }
        let before = at >= 2 && is_letter(at - 1) && is_letter(at - 2);
        if dashes == 1 && before && is_letter(at + 1) && is_letter(at + 2) {
            parts.push(&word[offset(start)..offset(at + 1)]);
            start = at + 1;
        }
        at += 1;
    }
    if start < chars.len() {
        parts.push(&word[offset(start)..]);
    }
    parts
}

fn wrapped(line: &str, width: usize, break_long: bool, break_hyphens: bool) -> Vec<String> {
    let is_blank = |chunk: &&str| chunk.chars().all(is_space);
    let mut rest = chunks(line, break_hyphens);
    let mut lines = Vec::new();
    while !rest.is_empty() {
        if !lines.is_empty() && rest.front().is_some_and(is_blank) {
            rest.pop_front();
        }
        let mut current: Vec<&str> = Vec::new();
        let mut length = 0;
        while rest.front().is_some_and(|chunk| !is_longer(chunk, width - length)) {
            let chunk = rest.pop_front().unwrap_or_default();
            length += char_count(chunk);
            current.push(chunk);
        }
        if rest.front().is_some_and(|chunk| is_longer(chunk, width)) {
            break_word(&mut rest, &mut current, width, length, break_long, break_hyphens);
        }
        if current.last().is_some_and(is_blank) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.concat());
        }
    }
    lines
}

/// Whether a text has more characters. Its length is not counted: a word may be long, and is asked for each line.
fn is_longer(text: &str, count: usize) -> bool {
    text.chars().nth(count).is_some()
}

/// Takes as much of a word that is longer than a line as fits.
fn break_word<'t>(
    rest: &mut VecDeque<&'t str>,
    current: &mut Vec<&'t str>,
    width: usize,
    length: usize,
    break_long: bool,
    break_hyphens: bool,
) {
    let space = if width < 1 { 1 } else { width - length };
    let Some(word) = rest.pop_front() else { return };
    if break_long {
        let mut end = word.char_indices().nth(space).map_or(word.len(), |(at, _)| at);
        if break_hyphens && end < word.len() {
            let hyphen = word[..end].rfind('-');
            if let Some(hyphen) = hyphen.filter(|at| word[..*at].contains(|c: char| c != '-')) {
                end = hyphen + 1;
            }
        }
        let (fitting, after) = word.split_at(end);
        current.push(fitting);
        rest.push_front(after);
    } else if current.is_empty() {
        current.push(word);
    } else {
        rest.push_front(word);
    }
}
