//! The columns of Parquet inputs as they are, for a Parquet output: no type or value is lost on the way through JSON.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, Field, FieldRef, Metadata, Schema};
use arrow_select::interleave::interleave;
use serde_json::Value;

use super::super::ScoreError;
use super::super::rows::{Batches, FileKind, Format, batches};

/// The key of what pandas stores about columns.
const PANDAS: &str = "pandas";

/// The columns that all inputs have with one type.
pub(super) struct Originals {
    inputs: Vec<PathBuf>,
    fields: Vec<FieldRef>,
    /// What the first input says about itself, as far as it is true of the output.
    pub(super) metadata: Metadata,
}

/// Reads the originals of rows, which must be asked for in their order.
pub(super) struct OriginalsReader<'a> {
    originals: &'a Originals,
    /// Inputs that are not opened yet.
    inputs: std::slice::Iter<'a, PathBuf>,
    open: Option<Batches>,
    batch: Option<RecordBatch>,
    /// Index of the batch's first row among the rows of all inputs.
    start: usize,
}

impl Originals {
    /// Those of `inputs`; none unless all are Parquet files.
    ///
    /// # Errors
    /// A file cannot be read any more.
    pub(super) fn find(inputs: &[PathBuf], changed: &[String]) -> Result<Self, ScoreError> {
        let is_parquet =
            |path: &PathBuf| FileKind::from_path(path).is_ok_and(|kind| kind.format == Format::Parquet);
        let mut fields: Option<Vec<FieldRef>> = None;
        let mut metadata = Metadata::default();
        if inputs.iter().all(is_parquet) {
            for path in inputs {
                let schema = batches(path)?.schema;
                fields = Some(match fields {
                    None => {
                        metadata = schema.metadata().clone();
                        schema.fields().to_vec()
                    }
                    Some(fields) => fields.iter().filter_map(|field| common(field, &schema)).collect(),
                });
            }
        }
        let mut fields = fields.unwrap_or_default();
        fields.retain(|field| !changed.contains(field.name()));
        let described = metadata.get(PANDAS).and_then(|json| pandas_metadata(json, &fields));
        if let Some(description) = described {
            metadata.insert(PANDAS, description);
        }
        Ok(Self { inputs: inputs.to_vec(), fields, metadata })
    }

    /// The field of a column.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name() == name).map(AsRef::as_ref)
    }

    pub(super) fn reader(&self) -> OriginalsReader<'_> {
        OriginalsReader { originals: self, inputs: self.inputs.iter(), open: None, batch: None, start: 0 }
    }
}

impl OriginalsReader<'_> {
    /// The columns of the rows at `places`, by name. A row whose `is_kept` is false has none of them.
    ///
    /// # Errors
    /// The input cannot be read any more, or has fewer rows than before.
    pub(super) fn columns(
        &mut self,
        places: &[(usize, bool)],
    ) -> Result<Vec<(String, ArrayRef)>, ScoreError> {
        if self.originals.fields.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken: Vec<RecordBatch> = Vec::new();
        let mut indices = Vec::with_capacity(places.len());
        for (place, is_kept) in places {
            let is_new = self.advance(*place)?;
            let batch = self.batch.as_ref().ok_or(ScoreError::InputShorter(1))?;
            if is_new || taken.is_empty() {
                taken.push(batch.clone());
            }
            // The first array is a single null.
            indices.push(if *is_kept { (taken.len(), place - self.start) } else { (0, 0) });
        }
        let mut columns = Vec::new();
        for field in &self.originals.fields {
            let array = column(field, &taken, &indices);
            let path = self.originals.inputs.first().cloned().unwrap_or_default();
            columns.push((field.name().clone(), array.map_err(|error| ScoreError::read(&path, error))?));
        }
        Ok(columns)
    }

    /// Reads on to the batch with the row at `place`; returns whether it is another one.
    fn advance(&mut self, place: usize) -> Result<bool, ScoreError> {
        let mut is_new = false;
        loop {
            if let Some(batch) = &self.batch
                && place < self.start + batch.num_rows()
            {
                return Ok(is_new);
            }
            let before = self.batch.take().map_or(0, |batch| batch.num_rows());
            self.start += before;
            is_new = true;
            self.batch = self.next_batch()?;
            if self.batch.is_none() {
                return Ok(is_new);
            }
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScoreError> {
        loop {
            if let Some(open) = &mut self.open
                && let Some(batch) = open.reader.next()
            {
                let path = self.originals.inputs.first().cloned().unwrap_or_default();
                return batch.map(Some).map_err(|error| ScoreError::read(&path, error));
            }
            let Some(path) = self.inputs.next() else { return Ok(None) };
            self.open = Some(batches(path)?);
        }
    }
}

/// pandas' description of the columns, for those that the output has as they were; other columns need none.
fn pandas_metadata(json: &str, fields: &[FieldRef]) -> Option<String> {
    let mut description: Value = serde_json::from_str(json).ok()?;
    let is_kept = |name: &Value| fields.iter().any(|field| name == field.name().as_str());
    if let Some(columns) = description.get_mut("columns").and_then(Value::as_array_mut) {
        columns.retain(|column| column.get("field_name").or(column.get("name")).is_some_and(is_kept));
    }
    if let Some(index) = description.get_mut("index_columns").and_then(Value::as_array_mut) {
        // A range of numbers is an object.
        index.retain(|column| column.is_object() || is_kept(column));
    }
    Some(description.to_string())
}

/// The field if another schema has it, too, with the same type.
fn common(field: &FieldRef, schema: &Schema) -> Option<FieldRef> {
    let other = schema.field_with_name(field.name()).ok()?;
    let is_nullable = field.is_nullable() || other.is_nullable();
    let field = Field::clone(field).with_nullable(is_nullable);
    (other.data_type() == field.data_type()).then(|| Arc::new(field))
}

/// The values of a column at `indices` in `batches`; batch 0 has nothing but null.
fn column(
    field: &Field,
    batches: &[RecordBatch],
    indices: &[(usize, usize)],
) -> Result<ArrayRef, ArrowError> {
    let null = new_null_array(field.data_type(), 1);
    let mut arrays: Vec<&dyn Array> = vec![&null];
    for batch in batches {
        let array = batch.column_by_name(field.name());
        arrays.push(array.ok_or_else(|| ArrowError::SchemaError(field.name().clone()))?);
    }
    interleave(&arrays, indices)
}
