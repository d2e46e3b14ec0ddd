//! The tables of forms and data sets in docs/score.md.

use std::fmt::Write;

use super::{FORMS, Holds};

/// The forms, and then the data sets, as Markdown tables.
pub fn table() -> String {
    let mut table = String::from("| form | a row is | columns |\n|---|---|---|\n");
    for form in FORMS {
        let holds = match form.holds {
            Holds::One => "a response",
            Holds::Steps => "a response in steps",
            Holds::Group => "several responses",
            Holds::Pair => "a pair",
            Holds::Lists => "lists",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{}` | {holds} | {} |", form.name, form.columns);
    }
    table.push_str("\n| data set | form |\n|---|---|\n");
    let mut sets: Vec<(&str, &str)> = Vec::new();
    for form in FORMS {
        sets.extend(form.data_sets.iter().map(|set| (*set, form.name)));
    }
    sets.sort_by_key(|(set, _)| set.to_lowercase());
    for (set, form) in sets {
        let _ = writeln!(table, "| {set} | `{form}` |");
    }
    table
}
