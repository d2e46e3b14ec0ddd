//! Writes scored rows to JSONL, JSON, CSV or Parquet files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ScoreError;
use super::parquet_output;
use super::replayable::Replayable;
use super::rows::Format;

/// Writes `rows` to `path` in the format of its extension, and returns their number. The complete file
/// appears at `path`, or nothing does. If `input` is given, it is a Parquet file whose columns keep their
/// types in a Parquet output.
///
/// # Errors
/// The file cannot be written, or the rows do not fit into columns.
pub(super) fn write(path: &Path, rows: &dyn Replayable, input: Option<&Path>) -> Result<usize, ScoreError> {
    let unfinished = with_suffix(path, ".unfinished");
    let file = File::create(&unfinished).map_err(|error| ScoreError::write(path, error))?;
    let mut out = BufWriter::new(file);
    let written = match Format::from_path(path)? {
        Format::Jsonl => jsonl(&mut out, rows, path)?,
        Format::Json => json(&mut out, rows, path)?,
        Format::Csv => csv(&mut out, rows, path)?,
        Format::Parquet => parquet_output::write(&mut out, rows, path, input)?,
    };
    let file = out.into_inner().map_err(|error| ScoreError::write(path, error.into_error()))?;
    publish(&file, &unfinished, path).map_err(|error| ScoreError::write(path, error))?;
    Ok(written)
}

/// Gives a finished file its name, so that it survives a power cut.
fn publish(file: &File, unfinished: &Path, path: &Path) -> std::io::Result<()> {
    file.sync_all()?;
    std::fs::rename(unfinished, path)?;
    // A name is on the disk once its directory is.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn jsonl(out: &mut impl Write, rows: &dyn Replayable, path: &Path) -> Result<usize, ScoreError> {
    let mut written = 0;
    for row in rows.rows()? {
        let line = serde_json::to_string(&row?).map_err(|error| ScoreError::write(path, error))?;
        writeln!(out, "{line}").map_err(|error| ScoreError::write(path, error))?;
        written += 1;
    }
    Ok(written)
}

fn json(out: &mut impl Write, rows: &dyn Replayable, path: &Path) -> Result<usize, ScoreError> {
    let failed = |error: std::io::Error| ScoreError::write(path, error);
    write!(out, "[").map_err(failed)?;
    let mut written = 0;
    for row in rows.rows()? {
        let text = serde_json::to_string(&row?).map_err(|error| ScoreError::write(path, error))?;
        write!(out, "{}\n{text}", if written > 0 { "," } else { "" }).map_err(failed)?;
        written += 1;
    }
    writeln!(out, "\n]").map_err(failed)?;
    Ok(written)
}

/// Writes a column for every name in any row. Values that are not texts or numbers are written as JSON.
fn csv(out: &mut impl Write, rows: &dyn Replayable, path: &Path) -> Result<usize, ScoreError> {
    let names = rows.column_names()?;
    let mut writer = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| ScoreError::write(path, error);
    writer.write_record(&names).map_err(failed)?;
    let mut written = 0;
    for row in rows.rows()? {
        let row = row?;
        writer.write_record(names.iter().map(|name| csv_cell(row.get(name)))).map_err(failed)?;
        written += 1;
    }
    writer.flush().map_err(|error| ScoreError::write(path, error))?;
    Ok(written)
}

fn csv_cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use serde_json::json;

    use super::super::Row;
    use super::super::parquet_output::parquet_schema;
    use super::*;

    struct Fixed(Vec<Row>);

    impl Replayable for Fixed {
        fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Row, ScoreError>> + '_>, ScoreError> {
            Ok(Box::new(self.0.iter().cloned().map(Ok)))
        }
    }

    fn fixed() -> Fixed {
        let rows = json!([
            {"id": 1, "prompt": "p, \"q\"\nr", "score_reward": 2.034414291381836, "tags": ["a"]},
            {"id": 2, "prompt": "é", "score_error": "too long", "tags": []},
        ]);
        Fixed(rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect())
    }

    fn read(path: &Path) -> Vec<Row> {
        super::super::rows::open(path).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn rows_written_as_json_or_parquet_read_back() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["rows.jsonl", "rows.json", "rows.parquet"] {
            let path = directory.path().join(name);
            write(&path, &fixed(), None).unwrap();
            let mut rows = read(&path);
            // In a Parquet file, every row has a value in every column, if only null.
            rows.iter_mut().for_each(|row| row.retain(|_, value| !value.is_null()));
            let (mut expected, mut got) = (fixed().0, rows);
            for row in expected.iter_mut().chain(&mut got) {
                row.sort_keys();
            }
            assert_eq!(got, expected, "{name}");
            assert!(!directory.path().join(format!("{name}.unfinished")).exists());
        }
    }

    #[test]
    fn csv_has_a_column_for_every_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.csv");
        write(&path, &fixed(), None).unwrap();
        let rows = read(&path);
        assert_eq!(
            rows[0].keys().collect::<Vec<_>>(),
            ["id", "prompt", "score_reward", "tags", "score_error"]
        );
        assert_eq!(rows[0]["score_reward"], "2.034414291381836");
        assert_eq!(rows[0]["prompt"], "p, \"q\"\nr");
        assert_eq!(rows[1]["score_error"], "too long");
    }

    #[test]
    fn a_column_with_values_of_several_types_is_written_as_json() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.parquet");
        let rows =
            json!([{"b": 1, "a": {"x": 1}}, {"b": 2, "a": "text"}, {"b": 3, "a": null}, {"b": 4, "a": [1]}]);
        let rows = rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect();
        write(&path, &Fixed(rows), None).unwrap();
        let read = read(&path);
        assert_eq!(read[0].keys().collect::<Vec<_>>(), ["b", "a"]);
        let values: Vec<&Value> = read.iter().map(|row| &row["a"]).collect();
        assert_eq!(values, [&json!("{\"x\":1}"), &json!("text"), &Value::Null, &json!("[1]")]);
    }

    #[test]
    fn columns_of_a_parquet_input_keep_their_types() {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("in.parquet");
        let small = Schema::new(vec![Field::new("id", DataType::Int8, false)]);
        let mut writer = ArrowWriter::try_new(File::create(&input).unwrap(), Arc::new(small), None).unwrap();
        writer.flush().unwrap();
        writer.close().unwrap();
        let output = directory.path().join("out.parquet");
        write(&output, &fixed(), Some(&input)).unwrap();
        let schema = parquet_schema(&output).unwrap();
        assert_eq!(schema.field_with_name("id").unwrap().data_type(), &DataType::Int8);
    }
}
