//! Upper and lower case of texts, as Python's methods change and test it.

use super::unicode::{case, title};

pub(super) fn capitalize(of: &str) -> String {
    let mut chars = of.chars();
    let first = chars.next().map(title).unwrap_or_default();
    // Lower-cased as a whole, since a sigma at the end of a word has a form of its own.
    let lower = of.to_lowercase();
    let skip: usize = of.chars().next().map_or(0, |c| c.to_lowercase().map(char::len_utf8).sum());
    first + lower.get(skip..).unwrap_or_default()
}

/// `str.title`: a word starts after every character without case.
pub(super) fn title_case(of: &str) -> String {
    let lower: Vec<char> = of.chars().collect();
    let mut text = String::with_capacity(of.len());
    let mut in_word = false;
    for c in lower {
        if in_word {
            text.extend(c.to_lowercase());
        } else {
            text += &title(c);
        }
        in_word = case(c).is_some();
    }
    text
}

pub(super) fn swap_case(of: &str) -> String {
    let mut text = String::with_capacity(of.len());
    for c in of.chars() {
        match case(c) {
            Some(true) => text.extend(c.to_lowercase()),
            Some(false) => text.extend(c.to_uppercase()),
            None => text.push(c),
        }
    }
    text
}

/// Whether some character has case, and every such one is upper or lower.
pub(super) fn has_only_case(of: &str, upper: bool) -> bool {
    let mut cases = of.chars().filter_map(case).peekable();
    cases.peek().is_some() && cases.all(|case| case == upper)
}

pub(super) fn is_title(of: &str) -> bool {
    let (mut in_word, mut any) = (false, false);
    for c in of.chars() {
        match case(c) {
            Some(upper) if upper == in_word => return false,
            Some(_) => (in_word, any) = (true, true),
            None => in_word = false,
        }
    }
    any
}
