//! Splits texts as Python does.

use super::unicode::is_space;

/// A text to split at most `most` times; without a separator, at white space.
pub(super) struct Parts<'t> {
    pub(super) text: &'t str,
    pub(super) separator: Option<&'t str>,
    pub(super) most: usize,
}

impl<'t> Parts<'t> {
    /// `str.split`.
    pub(super) fn left_to_right(self) -> Vec<&'t str> {
        if let Some(separator) = self.separator {
            return self.text.splitn(self.most.saturating_add(1), separator).collect();
        }
        let mut parts = Vec::new();
        let mut rest = self.text.trim_start_matches(is_space);
        while !rest.is_empty() {
            let end = if parts.len() == self.most { None } else { rest.find(is_space) };
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(part);
            rest = after.trim_start_matches(is_space);
        }
        parts
    }

    /// `str.rsplit`.
    pub(super) fn right_to_left(self) -> Vec<&'t str> {
        let mut parts = Vec::new();
        if let Some(separator) = self.separator {
            parts.extend(self.text.rsplitn(self.most.saturating_add(1), separator));
        } else {
            let mut rest = self.text.trim_end_matches(is_space);
            while !rest.is_empty() {
                let last = parts.len() == self.most;
                let found = rest.char_indices().rev().find(|(_, c)| is_space(*c)).filter(|_| !last);
                let start = found.map_or(0, |(at, c)| at + c.len_utf8());
                parts.push(&rest[start..]);
                rest = rest[..start].trim_end_matches(is_space);
            }
        }
        parts.reverse();
        parts
    }
}

/// `str.splitlines`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(is_end).unwrap_or(rest.len());
        let end = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(0, char::len_utf8)
        };
        lines.push(if keep_ends { &rest[..at + end] } else { &rest[..at] });
        rest = &rest[at + end..];
    }
    lines
}
