//! Columns that look like a part of the conversation, and that no row before had.

use std::collections::HashSet;

use super::forms::RowLayout;
use super::row::Row;

/// The columns that were seen so far.
#[derive(Debug, Default)]
pub(super) struct UnreadColumns {
    seen: HashSet<String>,
}

impl UnreadColumns {
    /// Columns of a row that look like a part of the conversation, are not read, and were in no row before.
    pub(super) fn observe(&mut self, layout: &RowLayout, row: &Row) -> Vec<String> {
        let is_new = |name: &str| !self.seen.contains(name);
        // Reading a row again costs more than looking at its names.
        if !layout.suspects(row).any(is_new) {
            return Vec::new();
        }
        let Some(mut unread) = layout.unread(row) else { return Vec::new() };
        unread.retain(|name| is_new(name));
        self.seen.extend(layout.suspects(row).map(str::to_owned));
        unread
    }
}

#[cfg(test)]
mod tests {
    use super::super::forms::FormArgs;
    use super::*;

    #[test]
    fn a_column_is_named_once_when_it_first_holds_something() {
        let row = |json: &str| Row::parse(json).unwrap();
        let first = row(r#"{"prompt": "q", "response": "a", "history": []}"#);
        let layout = RowLayout::detect(&first, &FormArgs::default()).unwrap();
        let mut unread = UnreadColumns::default();
        for (json, named) in [
            (r#"{"prompt": "q", "response": "a", "history": []}"#, &[][..]),
            (r#"{"prompt": "q", "response": null, "output": "a"}"#, &[]),
            (
                r#"{"prompt": "q", "response": "a", "history": [["r", "b"]], "images": ["x"]}"#,
                &["history", "images"],
            ),
            (r#"{"prompt": "q", "response": "a", "history": [["r", "b"]], "output": "c"}"#, &["output"]),
        ] {
            assert_eq!(unread.observe(&layout, &row(json)), named, "{json}");
        }
    }
}
