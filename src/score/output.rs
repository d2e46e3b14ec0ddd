//! Scored rows into JSONL, JSON, CSV or Parquet.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_iterator;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::rows::Format;
use super::{Row, ScoreError};
use crate::cli::output::eprint_line;

/// Rows of a Parquet file that are encoded at a time.
const BATCH: usize = 1024;

/// Rows that can be gone through again and again, each time from the first.
pub trait Again {
    /// All of them.
    fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Row, ScoreError>> + '_>, ScoreError>;
}

/// Writes `rows` to `path` by its extension, and gives their number. The file appears whole or not at all.
///
/// `input` is a Parquet file whose columns keep their types.
///
/// # Errors
/// The disk refuses, or rows do not fit into columns.
pub fn write(path: &Path, rows: &dyn Again, input: Option<&Path>) -> Result<usize, ScoreError> {
    let unfinished = beside(path, ".unfinished");
    let failed = |reason: String| ScoreError::write(path, reason);
    let file = File::create(&unfinished).map_err(|error| failed(error.to_string()))?;
    let mut out = BufWriter::new(file);
    let written = match Format::of(path)? {
        Format::Jsonl => jsonl(&mut out, rows, path)?,
        Format::Json => json(&mut out, rows, path)?,
        Format::Csv => csv(&mut out, rows, path)?,
        Format::Parquet => parquet(&mut out, rows, path, input)?,
    };
    let file = out.into_inner().map_err(|error| failed(error.to_string()))?;
    file.sync_all().map_err(|error| failed(error.to_string()))?;
    std::fs::rename(&unfinished, path)
        .and_then(|()| sync_directory(path))
        .map_err(|error| failed(error.to_string()))?;
    Ok(written)
}

/// A name is on the disk when its directory is.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn jsonl(out: &mut impl Write, rows: &dyn Again, path: &Path) -> Result<usize, ScoreError> {
    let mut written = 0;
    for row in rows.rows()? {
        let line = serde_json::to_string(&row?).map_err(|error| ScoreError::write(path, error))?;
        writeln!(out, "{line}").map_err(|error| ScoreError::write(path, error))?;
        written += 1;
    }
    Ok(written)
}

fn json(out: &mut impl Write, rows: &dyn Again, path: &Path) -> Result<usize, ScoreError> {
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

/// The columns of all rows, in the order in which they first occur.
fn names(rows: &dyn Again) -> Result<Vec<String>, ScoreError> {
    let mut names: Vec<String> = Vec::new();
    for row in rows.rows()? {
        for name in row?.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    Ok(names)
}

/// A column for every name of any row. What is no text or number is written as JSON.
fn csv(out: &mut impl Write, rows: &dyn Again, path: &Path) -> Result<usize, ScoreError> {
    let names = names(rows)?;
    let mut writer = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| ScoreError::write(path, error);
    writer.write_record(&names).map_err(failed)?;
    let mut written = 0;
    for row in rows.rows()? {
        let row = row?;
        let cell = |name: &String| match row.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        writer.write_record(names.iter().map(cell)).map_err(failed)?;
        written += 1;
    }
    writer.flush().map_err(|error| ScoreError::write(path, error))?;
    Ok(written)
}

fn parquet(
    out: impl Write + Send,
    rows: &dyn Again,
    path: &Path,
    input: Option<&Path>,
) -> Result<usize, ScoreError> {
    let failed = |error: &dyn std::fmt::Display| ScoreError::write(path, error);
    let (schema, texts) = schema(rows, path, input)?;
    let schema = Arc::new(schema);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer =
        ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(|error| failed(&error))?;
    let mut decoder = ReaderBuilder::new(schema).build_decoder().map_err(|error| failed(&error))?;
    let (mut batch, mut written) = (Vec::with_capacity(BATCH), 0);
    let mut rows = rows.rows()?;
    loop {
        let row = rows.next().transpose()?;
        let last = row.is_none();
        batch.extend(row.map(|row| with_texts(row, &texts)));
        if batch.len() == BATCH || last && !batch.is_empty() {
            decoder.serialize(&batch).map_err(|error| failed(&error))?;
            written += batch.len();
            batch.clear();
            if let Some(columns) = decoder.flush().map_err(|error| failed(&error))? {
                writer.write(&columns).map_err(|error| failed(&error))?;
            }
        }
        if last {
            writer.close().map_err(|error| failed(&error))?;
            return Ok(written);
        }
    }
}

/// Writes the values of `columns` as JSON.
fn with_texts(mut row: Row, columns: &[String]) -> Row {
    for name in columns {
        if let Some(value) = row.get_mut(name).filter(|value| !value.is_null() && !value.is_string()) {
            *value = value.to_string().into();
        }
    }
    row
}

/// The types that values of the rows have, of the column `only` or of all.
fn inferred(rows: &dyn Again, only: Option<&str>) -> Result<Result<Schema, ArrowError>, ScoreError> {
    let mut wrong = None;
    let values = rows.rows()?.map_while(|row| match row {
        Ok(mut row) => {
            row.retain(|name, _| only.is_none_or(|only| name == only));
            Some(Ok(Value::Object(row)))
        }
        Err(error) => {
            wrong = Some(error);
            None
        }
    });
    let schema = infer_json_schema_from_iterator(values);
    wrong.map_or(Ok(schema), Err)
}

/// A field for every column, and the columns whose values are written as JSON because they have several
/// types. Where `input` says what a column's type is, it keeps that.
fn schema(rows: &dyn Again, path: &Path, input: Option<&Path>) -> Result<(Schema, Vec<String>), ScoreError> {
    let (inferred, texts) = match inferred(rows, None)? {
        Ok(schema) => (schema, Vec::new()),
        Err(_) => by_column(rows, path)?,
    };
    let known = match input {
        Some(input) => parquet_schema(input)?,
        None => Schema::empty(),
    };
    let field = |field: &Arc<Field>| match known.field_with_name(field.name()) {
        Ok(known) => Arc::new(known.clone().with_nullable(true)),
        Err(_) => field.clone(),
    };
    Ok((Schema::new(inferred.fields().iter().map(field).collect::<Vec<_>>()), texts))
}

/// The same, each column by itself.
fn by_column(rows: &dyn Again, path: &Path) -> Result<(Schema, Vec<String>), ScoreError> {
    let (mut fields, mut texts) = (Vec::new(), Vec::new());
    for name in names(rows)? {
        match inferred(rows, Some(&name))? {
            Ok(schema) => fields.extend(schema.fields().iter().cloned()),
            Err(_) => {
                fields.push(Arc::new(Field::new(&name, DataType::Utf8, true)));
                texts.push(name);
            }
        }
    }
    if !texts.is_empty() {
        eprint_line(format_args!(
            "{}: values of several types as JSON in {}",
            path.display(),
            texts.join(", ")
        ));
    }
    Ok((Schema::new(fields), texts))
}

fn parquet_schema(path: &Path) -> Result<Schema, ScoreError> {
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|error| ScoreError::read(path, error))?;
    Ok(reader.schema().as_ref().clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fixed(Vec<Row>);

    impl Again for Fixed {
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
    fn what_is_written_as_json_or_parquet_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["rows.jsonl", "rows.json", "rows.parquet"] {
            let path = directory.path().join(name);
            write(&path, &fixed(), None).unwrap();
            let mut rows = read(&path);
            // A column has a value in every row of a Parquet file, if only null.
            rows.iter_mut().for_each(|row| row.retain(|_, value| !value.is_null()));
            let (mut due, mut got) = (fixed().0, rows);
            for row in due.iter_mut().chain(&mut got) {
                row.sort_keys();
            }
            assert_eq!(got, due, "{name}");
            assert!(!directory.path().join(format!("{name}.unfinished")).exists());
        }
    }

    #[test]
    fn a_column_with_values_of_several_types_is_json_in_parquet() {
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
    fn columns_of_a_parquet_file_keep_their_types() {
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
