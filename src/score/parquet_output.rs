//! Writes scored rows to Parquet files, which need a type for each column.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_iterator;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::replayable::Replayable;
use super::{Row, ScoreError};
use crate::cli::output::eprint_line;

/// Rows that are encoded at a time.
const BATCH: usize = 1024;

/// Writes `rows` to `out`, and returns their number. Columns of `input` keep the types that they have
/// there. `path` is for error messages.
///
/// # Errors
/// The file cannot be written, or the rows do not fit into columns.
pub(super) fn write(
    out: impl Write + Send,
    rows: &dyn Replayable,
    path: &Path,
    input: Option<&Path>,
) -> Result<usize, ScoreError> {
    let (schema, json_columns) = schema(rows, path, input)?;
    let schema = Arc::new(schema);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))
        .map_err(|error| ScoreError::write(path, error))?;
    let mut decoder =
        ReaderBuilder::new(schema).build_decoder().map_err(|error| ScoreError::write(path, error))?;
    let (mut batch, mut written) = (Vec::with_capacity(BATCH), 0);
    let mut rows = rows.rows()?;
    loop {
        let row = rows.next().transpose()?;
        let is_last = row.is_none();
        batch.extend(row.map(|row| with_json_columns(row, &json_columns)));
        if batch.len() == BATCH || is_last && !batch.is_empty() {
            decoder.serialize(&batch).map_err(|error| ScoreError::write(path, error))?;
            written += batch.len();
            batch.clear();
            if let Some(columns) = decoder.flush().map_err(|error| ScoreError::write(path, error))? {
                writer.write(&columns).map_err(|error| ScoreError::write(path, error))?;
            }
        }
        if is_last {
            writer.close().map_err(|error| ScoreError::write(path, error))?;
            return Ok(written);
        }
    }
}

/// Converts the values of `columns` to JSON texts.
fn with_json_columns(mut row: Row, columns: &[String]) -> Row {
    for name in columns {
        if let Some(value) = row.get_mut(name).filter(|value| !value.is_null() && !value.is_string()) {
            *value = value.to_string().into();
        }
    }
    row
}

/// A field for every column, and the columns whose values must be written as JSON because they have
/// several types. Columns of `input` have the type that they have there.
fn schema(
    rows: &dyn Replayable,
    path: &Path,
    input: Option<&Path>,
) -> Result<(Schema, Vec<String>), ScoreError> {
    let (inferred, json_columns) = match infer(rows, None)? {
        Ok(schema) => (schema, Vec::new()),
        Err(_) => infer_by_column(rows, path)?,
    };
    let known = match input {
        Some(input) => parquet_schema(input)?,
        None => Schema::empty(),
    };
    let mut fields = Vec::with_capacity(inferred.fields().len());
    for field in inferred.fields() {
        fields.push(match known.field_with_name(field.name()) {
            Ok(known) => Arc::new(known.clone().with_nullable(true)),
            Err(_) => field.clone(),
        });
    }
    Ok((Schema::new(fields), json_columns))
}

/// Infers the types of the column `only`, or of all columns, from the values. The inner error says that a
/// column has values of several types.
fn infer(rows: &dyn Replayable, only: Option<&str>) -> Result<Result<Schema, ArrowError>, ScoreError> {
    let mut failure = None;
    let values = rows.rows()?.map_while(|row| match row {
        Ok(mut row) => {
            row.retain(|name, _| only.is_none_or(|only| name == only));
            Some(Ok(Value::Object(row)))
        }
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let schema = infer_json_schema_from_iterator(values);
    match failure {
        Some(error) => Err(error),
        None => Ok(schema),
    }
}

/// Infers the type of each column separately, to find those that have values of several types.
fn infer_by_column(rows: &dyn Replayable, path: &Path) -> Result<(Schema, Vec<String>), ScoreError> {
    let (mut fields, mut json_columns) = (Vec::new(), Vec::new());
    for name in rows.column_names()? {
        match infer(rows, Some(&name))? {
            Ok(schema) => fields.extend(schema.fields().iter().cloned()),
            Err(_) => {
                fields.push(Arc::new(Field::new(&name, DataType::Utf8, true)));
                json_columns.push(name);
            }
        }
    }
    if !json_columns.is_empty() {
        let columns = json_columns.join(", ");
        eprint_line(format_args!("{}: wrote values of several types as JSON, in {columns}", path.display()));
    }
    Ok((Schema::new(fields), json_columns))
}

pub(super) fn parquet_schema(path: &Path) -> Result<Schema, ScoreError> {
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| ScoreError::read(path, error))?;
    Ok(reader.schema().as_ref().clone())
}
