//! Writes scored rows to Parquet files, which need a type for each column.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::super::ScoreError;
use super::super::row::{Cell, Row};
use super::kinds::Kind;
use super::originals::Originals;
use super::replayable::Replayable;
use crate::cli::output::eprint_line;

/// Rows that are encoded at a time.
const BATCH: usize = 1024;

/// Writes `rows` to `out`, and returns their number. Columns of Parquet `inputs` keep their types and values.
/// `path` is for error messages.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(
    out: impl Write + Send,
    rows: &dyn Replayable,
    path: &Path,
    inputs: &[PathBuf],
) -> Result<usize, ScoreError> {
    let failed = |error: ArrowError| ScoreError::write(path, error);
    let originals = Originals::find(inputs, rows.changed_columns())?;
    let plan = ColumnPlan::new(rows, &originals)?;
    plan.report(path);
    // Some readers look at what the file says about itself, and pyarrow at what its Arrow schema says.
    let pairs = originals.metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(pairs.collect()))
        .build();
    let mut writer = ArrowWriter::try_new(out, plan.schema.clone(), Some(properties))
        .map_err(|error| ScoreError::write(path, error))?;
    let mut encoder = Encoder { decoder: plan.decoder().map_err(failed)?, plan: &plan };
    let mut reader = originals.reader();
    let (mut batch, mut written) = (Vec::with_capacity(BATCH), 0);
    let mut rows = rows.rows()?;
    loop {
        let row = rows.next().transpose()?;
        let is_last = row.is_none();
        batch.extend(row);
        if batch.len() == BATCH || is_last && !batch.is_empty() {
            let places: Vec<(usize, bool)> =
                batch.iter().map(|(place, row)| (*place, plan.has_originals(row))).collect();
            let columns = encoder.encode(&batch, &reader.columns(&places)?).map_err(failed)?;
            writer.write(&columns).map_err(|error| ScoreError::write(path, error))?;
            written += batch.len();
            batch.clear();
        }
        if is_last {
            writer.close().map_err(|error| ScoreError::write(path, error))?;
            return Ok(written);
        }
    }
}

/// The columns of the file.
struct ColumnPlan {
    schema: SchemaRef,
    /// For each column, whether its values are those of the input, or else how they are made of JSON.
    sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Input,
    Json,
    /// As JSON in a text: no type holds the values.
    JsonText,
}

impl ColumnPlan {
    fn new(rows: &dyn Replayable, originals: &Originals) -> Result<Self, ScoreError> {
        let names = rows.column_names()?;
        let mut kinds = vec![Kind::Null; names.len()];
        // A row in place of one that could not be read has none of the columns.
        let mut have_all_originals = true;
        for row in rows.rows_of_columns()? {
            let (_, row) = row?;
            have_all_originals &=
                names.iter().all(|name| originals.field(name).is_none() || row.contains(name));
            for (name, kind) in names.iter().zip(&mut kinds) {
                if originals.field(name).is_none()
                    && *kind != Kind::Json
                    && let Some(cell) = row.get(name)
                {
                    *kind = std::mem::replace(kind, Kind::Null).merge(Kind::from_json(cell.json()));
                }
            }
        }
        let (mut fields, mut sources) = (Vec::new(), Vec::new());
        for (name, kind) in names.iter().zip(kinds) {
            let (field, source) = match (originals.field(name), kind.data_type()) {
                (Some(field), _) => {
                    let is_nullable = field.is_nullable() || !have_all_originals;
                    (field.clone().with_nullable(is_nullable), Source::Input)
                }
                (None, Some(data_type)) => (Field::new(name, data_type, true), Source::Json),
                (None, None) => (Field::new(name, DataType::Utf8, true), Source::JsonText),
            };
            fields.push(field);
            sources.push(source);
        }
        Ok(Self { schema: Arc::new(Schema::new_with_metadata(fields, originals.metadata.clone())), sources })
    }

    /// Names the columns that are written as JSON.
    fn report(&self, path: &Path) {
        let columns: Vec<&str> =
            self.fields_from(Source::JsonText).map(|field| field.name().as_str()).collect();
        if !columns.is_empty() {
            let columns = columns.join(", ");
            let path = path.display();
            eprint_line(format_args!(
                "{path}: no column type holds all values of {columns} as they are, so they were written as JSON"
            ));
        }
    }

    fn fields_from(&self, source: Source) -> impl Iterator<Item = &Field> {
        let fields = self.schema.fields().iter().zip(&self.sources);
        fields.filter(move |(_, other)| **other == source).map(|(field, _)| field.as_ref())
    }

    /// Whether a row has the columns of the input, or is in place of one that could not be read.
    fn has_originals(&self, row: &Row) -> bool {
        self.fields_from(Source::Input).next().is_none_or(|field| row.contains(field.name()))
    }

    /// What makes arrays of JSON, for the columns that are not those of the input.
    fn decoder(&self) -> Result<Decoder, ArrowError> {
        let fields: Vec<Field> = self
            .schema
            .fields()
            .iter()
            .zip(&self.sources)
            .filter(|(_, source)| **source != Source::Input)
            .map(|(field, _)| field.as_ref().clone())
            .collect();
        ReaderBuilder::new(Arc::new(Schema::new(fields))).with_batch_size(BATCH).build_decoder()
    }
}

struct Encoder<'a> {
    decoder: Decoder,
    plan: &'a ColumnPlan,
}

impl Encoder<'_> {
    fn encode(
        &mut self,
        rows: &[(usize, Row)],
        originals: &[(String, ArrayRef)],
    ) -> Result<RecordBatch, ArrowError> {
        let lines: String = rows.iter().map(|(_, row)| self.line(row)).collect();
        let mut rest = lines.as_bytes();
        while !rest.is_empty() {
            let read = self.decoder.decode(rest)?;
            rest = &rest[read..];
            if read == 0 {
                return Err(ArrowError::JsonError("the rows were not read to their end".into()));
            }
        }
        let made = self.decoder.flush()?;
        let mut columns = Vec::with_capacity(self.plan.sources.len());
        for field in self.plan.schema.fields() {
            let original = originals.iter().find(|(name, _)| name == field.name()).map(|(_, array)| array);
            let array = original.or_else(|| made.as_ref()?.column_by_name(field.name()));
            columns.push(array.cloned().ok_or_else(|| ArrowError::SchemaError(field.name().clone()))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.plan.schema.clone(), columns, &options)
    }

    /// The JSON of the columns that are not those of the input.
    fn line(&self, row: &Row) -> String {
        let mut line = Row::default();
        for (field, source) in self.plan.schema.fields().iter().zip(&self.plan.sources) {
            let Some(cell) = row.get(field.name()) else { continue };
            match source {
                Source::Input => {}
                Source::JsonText if !cell.is_null() => {
                    line.push(field.name().clone(), Cell::text(cell.json()));
                }
                Source::Json | Source::JsonText => line.push(field.name().clone(), cell.clone()),
            }
        }
        line.json() + "\n"
    }
}
