//! Finds the form of the rows before anything is loaded.

use std::path::{Path, PathBuf};

use super::columns::ScoreColumns;
use super::forms::{FormArgs, RowLayout};
use super::row::Row;
use super::rows::{self, FileKind, Format, Rows};
use super::{ConversationError, ScoreError, whole_table};

/// Rows to inspect for one whose form is known.
const INSPECTED_ROWS: usize = 64;

/// The rows of the first input with any, and the inputs after it. The first rows have been read: standard input cannot
/// be read twice.
pub(super) struct Peeked {
    path: PathBuf,
    others: Vec<PathBuf>,
    read: Vec<Result<Row, ScoreError>>,
    /// Index of the row whose form was found.
    first: usize,
    rest: Rows,
}

impl Peeked {
    /// The row whose form was found.
    pub(super) fn first(&self) -> Option<&Row> {
        self.read.get(self.first).and_then(|row| row.as_ref().ok())
    }

    /// The input that this row is in.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All rows of all inputs.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Result<Row, ScoreError>> + Send {
        let others = self.others.into_iter().flat_map(|path| match rows::open(&path) {
            Ok(rows) => rows,
            Err(error) => Box::new(std::iter::once(Err(error))) as Rows,
        });
        self.read.into_iter().chain(self.rest).chain(others)
    }
}

/// Finds the form of the rows of `inputs`. The first row that holds a conversation in a known form decides, or else the
/// first row in a known form. An input without rows is passed over if another one has some.
///
/// # Errors
/// There are no rows, none is in a known form, or the first has a column that would be replaced; or another input
/// cannot be read, or has rows of another form.
pub(super) fn inspect(
    inputs: &[PathBuf],
    form: &FormArgs,
    columns: &ScoreColumns,
) -> Result<(RowLayout, Peeked), ScoreError> {
    let form = &form.for_inputs(inputs);
    for (input, path) in inputs.iter().enumerate() {
        let start = Start::read(path)?;
        start.check_is_rows(path, form)?;
        let Some((layout, first, start)) = find_form(start, form)? else { continue };
        let others = inputs[input + 1..].to_vec();
        let peeked = Peeked { path: path.clone(), others, read: start.read, first, rest: start.rest };
        if let Some(row) = peeked.first() {
            if let Err(error @ ConversationError::NotAConversation(_)) = layout.found(row) {
                return Err(ScoreError::read(path, error));
            }
            layout.check_chosen(row)?;
            if let Some(column) = columns.certain_collision(row) {
                return Err(ScoreError::ColumnExists { path: path.clone(), column: column.to_owned() });
            }
        }
        for other in peeked.others.iter().filter(|path| is_regular(path)) {
            check_other(other, form, &layout)?;
        }
        return Ok((layout, peeked));
    }
    let path = inputs.first().ok_or(ScoreError::NoInput)?;
    Err(ScoreError::read(path, "it has no rows"))
}

/// The first rows of an input, and those after them.
struct Start {
    read: Vec<Result<Row, ScoreError>>,
    rest: Rows,
}

impl Start {
    fn read(path: &Path) -> Result<Self, ScoreError> {
        let (mut rest, mut read) = (rows::open(path)?, Vec::new());
        for row in rest.by_ref().take(INSPECTED_ROWS) {
            read.push(match row {
                Err(error @ ScoreError::Row { .. }) => Err(error),
                row => Ok(row?),
            });
        }
        Ok(Self { read, rest })
    }

    /// Checks that the only row is not a whole table.
    ///
    /// # Errors
    /// It is one.
    fn check_is_rows(&self, path: &Path, form: &FormArgs) -> Result<(), ScoreError> {
        let [Ok(row)] = self.read.as_slice() else { return Ok(()) };
        if FileKind::from_path(path)?.format != Format::Json {
            return Ok(());
        }
        if RowLayout::detect(row, form).is_ok_and(|layout| layout.has_conversation(row)) {
            return Ok(());
        }
        match whole_table::detect(row) {
            Some(table) => Err(ScoreError::read(path, table)),
            None => Ok(()),
        }
    }
}

/// The form of an input, and the place of the row that it was found in; `None` if the input has no rows.
///
/// # Errors
/// None of its first rows has a form.
fn find_form(start: Start, form: &FormArgs) -> Result<Option<(RowLayout, usize, Start)>, ScoreError> {
    let (mut found, mut no_form) = (None, None);
    for (index, row) in start.read.iter().enumerate() {
        let Ok(row) = row else { continue };
        match RowLayout::detect(row, form) {
            Ok(layout) if layout.has_conversation(row) => return Ok(Some((layout, index, start))),
            Ok(layout) => found = found.or(Some((layout, index))),
            Err(error) => no_form = no_form.or(Some(error)),
        }
    }
    if let Some((layout, index)) = found {
        return Ok(Some((layout, index, start)));
    }
    match no_form.or(start.read.into_iter().find_map(Result::err)) {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

/// Checks that an input can be read, and that its first rows are of the form of those before, so that this is not found
/// out after hours.
///
/// # Errors
/// It cannot, or they are not.
fn check_other(path: &Path, form: &FormArgs, layout: &RowLayout) -> Result<(), ScoreError> {
    let start = Start::read(path)?;
    let mut rows = start.read.iter().flatten();
    if rows.clone().next().is_none() || rows.any(|row| layout.has_conversation(row)) {
        return Ok(());
    }
    let other = find_form(start, form)?.map(|(other, ..)| other);
    match other.filter(|other| other.to_string() != layout.to_string()) {
        None => Ok(()),
        Some(other) => Err(ScoreError::OtherForm {
            path: path.to_owned(),
            found: other.to_string(),
            expected: layout.to_string(),
        }),
    }
}

/// Whether a file can be read twice.
fn is_regular(path: &Path) -> bool {
    // One that is missing is opened, to say so.
    path != Path::new("-") && std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of files, and the place of the row that it was found in.
    fn inspected(files: &[(&str, &str)]) -> Result<(String, usize), String> {
        let directory = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (name, text) in files {
            paths.push(directory.path().join(name));
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let columns = ScoreColumns::new("score_", None);
        match inspect(&paths, &FormArgs::default(), &columns) {
            Ok((layout, peeked)) => {
                let (first, others) = (peeked.first, peeked.others.len());
                let path = peeked.path().to_owned();
                assert_eq!(path, paths[files.len() - 1 - others]);
                let rows = peeked.into_rows().count();
                assert!(first < rows && others < files.len());
                Ok((layout.to_string(), first))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_file_that_is_one_table_says_how_to_write_rows() {
        let table = r#"{"prompt": {"0": "p"}, "response": {"0": "a"}}"#;
        let error = inspected(&[("a.json", table)]).unwrap_err();
        assert!(error.contains("orient=\"records\", lines=True"), "{error}");
        let row = r#"{"prompt": [{"role": "user", "content": "q"}], "responses": ["a"]}"#;
        assert!(inspected(&[("a.json", row)]).is_ok());
    }

    const ROW: &str = "{\"prompt\": \"q\", \"response\": \"a\"}\n";

    #[test]
    fn an_empty_first_row_does_not_decide_the_form() {
        for (empty, full, form) in [
            (
                r#"{"instruction":"q","completions":[]}"#,
                r#"{"instruction":"q","completions":[{"response":"a"}]}"#,
                "ultrafeedback",
            ),
            (
                r#"{"prompt":"q","chosen":[],"rejected":["b"]}"#,
                r#"{"prompt":"q","chosen":["a"],"rejected":["b"]}"#,
                "lists",
            ),
            (
                r#"{"prompt":"q","completions":[],"labels":[]}"#,
                r#"{"prompt":"q","completions":["a"],"labels":[true]}"#,
                "stepwise",
            ),
        ] {
            let (found, first) = inspected(&[("a.jsonl", &format!("{empty}\nnot JSON\n{full}\n"))]).unwrap();
            assert!(found.ends_with(&format!("(form {form})")) && first == 2, "{found}, {first}");
        }
        let (found, first) = inspected(&[("a.jsonl", r#"{"prompt":"q","responses":[]}"#)]).unwrap();
        assert!(found.ends_with("(form responses)") && first == 0, "{found}");
    }

    #[test]
    fn an_input_without_rows_is_passed_over_if_another_has_some() {
        for empty in [("e.jsonl", ""), ("e.json", "[]"), ("e.csv", "prompt,response\n")] {
            assert!(inspected(&[empty, ("a.jsonl", ROW)]).is_ok(), "{empty:?}");
            assert!(inspected(&[("a.jsonl", ROW), empty]).is_ok(), "{empty:?}");
            assert!(inspected(&[empty, empty]).unwrap_err().ends_with("it has no rows"));
        }
    }

    #[test]
    fn every_input_is_checked_before_the_first_row_is_scored() {
        let pair = "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n";
        for (other, words) in [
            (("b.csv", "prompt;response\nq;a\n"), "semicolons"),
            (("b.csv", "prompt,response\nq,\"a\n"), "never closed"),
            (("b.jsonl.gz", "not gzip"), "take .gz off"),
            (("b.parquet", "PAR1"), "b.parquet"),
            (("b.parquet", "version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
            (("b.jsonl", pair), "form pair"),
            (("b.jsonl", "{\"x\": 1}\n"), "no form"),
        ] {
            let error = inspected(&[("a.jsonl", ROW), other]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(
            inspected(&[("a.jsonl", ROW), ("b.jsonl", "{\"prompt\": \"q\", \"response\": null}")]).is_ok()
        );
    }
}
