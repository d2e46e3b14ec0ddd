//! JSON files that are one object with a whole table in it, in place of an object for each row.

use serde_json::Value;

use super::row::Row;

/// A file is one object that holds all rows.
#[derive(Debug, thiserror::Error)]
#[error("it is one object that holds {0}; write one object for each row, for example with {1}")]
pub(super) struct WholeTable(&'static str, &'static str);

const PANDAS: &str = "pandas: to_json(PATH, orient=\"records\", lines=True)";
const JQ: &str = "jq -c '.data[]'";
const VIEWER: &str = "jq -c '.rows[].row'";

/// What the only row of a file is, if it is a whole table.
pub(super) fn detect(row: &Row) -> Option<WholeTable> {
    let value = |name: &str| row.get(name).map(|cell| cell.value());
    let list = |name: &str| value(name).and_then(|value| value.as_array().cloned());
    if let (Some(_), Some(_)) = (list("columns"), list("data")) {
        return Some(WholeTable("a table as pandas writes it with orient=\"split\"", PANDAS));
    }
    if let (Some(Value::Object(_)), Some(_)) = (value("schema"), list("data")) {
        return Some(WholeTable("a table as pandas writes it with orient=\"table\"", PANDAS));
    }
    if list("rows").is_some_and(|rows| rows.first().is_some_and(|first| first.get("row").is_some())) {
        return Some(WholeTable("rows of Hugging Face's dataset viewer in `rows`", VIEWER));
    }
    if list("data").is_some_and(|rows| rows.first().is_some_and(Value::is_object)) {
        return Some(WholeTable("a list of rows in `data`", JQ));
    }
    let columns: Vec<Value> = row.columns().map(|(_, cell)| cell.value()).collect();
    let is_numbered = |column: &Value| {
        column.as_object().is_some_and(|cells| {
            !cells.is_empty() && cells.keys().all(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    if !columns.is_empty() && columns.iter().all(is_numbered) {
        return Some(WholeTable("columns with numbered values, as pandas' to_json() writes them", PANDAS));
    }
    let lengths: Option<Vec<usize>> = columns.iter().map(|column| Some(column.as_array()?.len())).collect();
    let is_table = lengths.is_some_and(|lengths| {
        lengths.len() > 1 && lengths[0] > 0 && lengths.iter().all(|length| *length == lengths[0])
    });
    is_table.then_some(WholeTable("a list of values for each column", PANDAS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_holds_a_whole_table_is_not_taken_for_a_row() {
        for (json, words) in [
            (r#"{"data": [{"prompt": "p", "response": "a"}]}"#, ".data[]"),
            (r#"{"prompt": {"0": "p", "1": "q"}, "response": {"0": "a", "1": "b"}}"#, "numbered"),
            (r#"{"columns": ["prompt"], "index": [0], "data": [["p"]]}"#, "split"),
            (r#"{"schema": {"fields": []}, "data": [{"index": 0, "prompt": "p"}]}"#, "orient=\"table\""),
            (r#"{"features": [], "rows": [{"row_idx": 0, "row": {"prompt": "p"}}]}"#, ".rows[].row"),
            (r#"{"prompt": ["p", "q"], "response": ["a", "b"]}"#, "for each column"),
        ] {
            let found = detect(&Row::parse(json).unwrap()).unwrap().to_string();
            assert!(found.contains(words), "{json}: {found}");
        }
        for json in [
            r#"{"prompt": "p", "response": "a"}"#,
            r#"{"x": [1, 2], "prompt": "p"}"#,
            r#"{"data": "text"}"#,
            r#"{"x": []}"#,
            "{}",
        ] {
            assert!(detect(&Row::parse(json).unwrap()).is_none(), "{json}");
        }
    }
}
