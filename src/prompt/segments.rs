//! Cuts a long text where a word ends, so that its parts, encoded one by one, have the ids of the whole.
//!
//! Many chat templates put no control token between a prompt and its response, and clients that template text themselves
//! send both as one. All responses to a prompt then start with the same segments, which are encoded for the first of them
//! and remembered.

/// Bytes of a segment, but for the rest of its last word.
pub(super) const LENGTH: usize = if cfg!(test) { 16 } else { 1024 };

/// The parts of `text`, each of at least [`LENGTH`] bytes but for the last. `next_cut` finds the first place at or after an
/// offset where a text may be cut.
pub(super) fn segments(
    text: &str,
    next_cut: impl Fn(&str, usize) -> Option<usize>,
) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = next_cut(rest, LENGTH).unwrap_or(rest.len());
        let (segment, after) = rest.split_at(end);
        rest = after;
        Some(segment)
    })
}

/// The first place at or after `from` between a letter and a space that another letter follows, in ASCII.
pub(super) fn next_space_between_letters(text: &str, from: usize) -> Option<usize> {
    let from = from.max(1) - 1;
    let place = text.as_bytes().get(from..)?.windows(3).position(|bytes| {
        matches!(bytes, [before, b' ', after] if before.is_ascii_alphabetic() && after.is_ascii_alphabetic())
    });
    place.map(|place| from + place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        segments(text, next_space_between_letters).collect()
    }

    #[test]
    fn a_text_is_cut_before_the_space_after_a_long_enough_part() {
        assert_eq!(cut(""), [""; 0]);
        assert_eq!(cut("short"), ["short"]);
        assert_eq!(
            cut("fourteen lette rs and more words here"),
            ["fourteen lette rs", " and more words here"]
        );
        // Not beside anything but letters.
        let uncut = "fourteen letters, 12 é 3  x\ty, 4 z. A";
        assert_eq!(cut(uncut), [uncut]);
    }
}
