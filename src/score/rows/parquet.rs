//! Parquet: columns of Arrow arrays, of which every value becomes JSON.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::{Array, RecordBatch};
use arrow_json::writer::make_encoder;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::{Rows, ScoreError, arrow_values, parquet_types};
use crate::score::row::{Cell, Row};

/// Rows that are decoded at a time.
const BATCH: usize = 256;

/// The batches of a file, with their schema.
pub(in crate::score) struct Batches {
    pub(in crate::score) schema: SchemaRef,
    pub(in crate::score) reader: ParquetRecordBatchReader,
}

/// The path is that of a pipe, a device or a folder.
#[derive(Debug, thiserror::Error)]
#[error("it is not a regular file, and Parquet is read from its end; write it to a file first")]
struct NotRegular;

/// Opens a file for reading its columns as they are.
///
/// # Errors
/// It is not a Parquet file.
pub(in crate::score) fn batches(path: &Path) -> Result<Batches, ScoreError> {
    // Opening a named pipe would wait for a writer.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(ScoreError::read(path, NotRegular));
    }
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .map_err(|error| ScoreError::read(path, error))?;
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, parquet_types::corrected(metadata));
    let schema = builder.schema().clone();
    super::check_names(schema.fields().iter().map(|field| field.name().as_str()))
        .map_err(|error| ScoreError::read(path, error))?;
    let reader = builder.with_batch_size(BATCH).build().map_err(|error| ScoreError::read(path, error))?;
    Ok(Batches { schema, reader })
}

pub(super) fn open(path: &Path) -> Result<Rows, ScoreError> {
    let Batches { reader, .. } = batches(path)?;
    let path: PathBuf = path.to_owned();
    Ok(Box::new(reader.flat_map(move |batch| match batch.and_then(|batch| rows(&batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(ScoreError::read(&path, error))],
    })))
}

/// Columns whose values become texts in JSON, and are not texts; none if the file cannot be read.
pub(super) fn not_texts(path: &Path) -> Vec<String> {
    let Ok(Batches { schema, .. }) = batches(path) else { return Vec::new() };
    let is_other = |data_type: &DataType| {
        data_type.is_temporal()
            || data_type.is_floating()
            || matches!(data_type, DataType::FixedSizeBinary(_))
    };
    let fields = schema.fields().iter().filter(|field| is_other(field.data_type()));
    fields.map(|field| field.name().clone()).collect()
}

pub(super) fn count(path: &Path) -> Option<u64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    u64::try_from(builder.metadata().file_metadata().num_rows()).ok()
}

/// The rows of a batch as JSON.
fn rows(batch: &RecordBatch) -> Result<Vec<Row>, ArrowError> {
    let mut rows = vec![Row::default(); batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let nulls = array.logical_nulls();
        let mut encoder = make_encoder(field, array, arrow_values::options())?;
        for (index, row) in rows.iter_mut().enumerate() {
            let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(index));
            let cell = if is_null {
                Cell::null()
            } else {
                let mut json = Vec::new();
                encoder.encode(index, &mut json);
                let json =
                    String::from_utf8(json).map_err(|error| ArrowError::JsonError(error.to_string()))?;
                Cell::from_json(json)
            };
            row.push(field.name().clone(), cell);
        }
    }
    Ok(rows)
}
