//! Parquet: columns of Arrow arrays, of which every value becomes JSON.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{Rows, ScoreError};
use crate::score::row::{Cell, Row};

/// Rows that are decoded at a time.
const BATCH: usize = 256;

/// The batches of a file, with their schema.
pub(in crate::score) struct Batches {
    pub(in crate::score) schema: SchemaRef,
    pub(in crate::score) reader: ParquetRecordBatchReader,
}

/// Opens a file for reading its columns as they are.
///
/// # Errors
/// It is not a Parquet file.
pub(in crate::score) fn batches(path: &Path) -> Result<Batches, ScoreError> {
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| ScoreError::read(path, error))?;
    let schema = builder.schema().clone();
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

pub(super) fn count(path: &Path) -> Option<u64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    u64::try_from(builder.metadata().file_metadata().num_rows()).ok()
}

/// The rows of a batch as JSON.
fn rows(batch: &RecordBatch) -> Result<Vec<Row>, ArrowError> {
    static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| {
        EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(NotFinite))
    });
    let mut rows = vec![Row::default(); batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let nulls = array.logical_nulls();
        // What has no JSON of its own is written as the text that Arrow shows.
        let shown;
        let (field, array): (&FieldRef, &dyn Array) = match make_encoder(field, array, &OPTIONS) {
            Ok(_) => (field, array),
            Err(_) => {
                shown = cast(array, &DataType::Utf8)?;
                (field, &shown)
            }
        };
        let mut encoder = make_encoder(field, array, &OPTIONS)?;
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

/// Writes NaN and the infinities, which JSON has no numbers for, as texts rather than as null.
#[derive(Debug)]
struct NotFinite;

impl EncoderFactory for NotFinite {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);
        let value: fn(&dyn Array, usize) -> f64 = match array.data_type() {
            DataType::Float16 => |array, index| array.as_primitive::<Float16Type>().value(index).to_f64(),
            DataType::Float32 => |array, index| f64::from(array.as_primitive::<Float32Type>().value(index)),
            DataType::Float64 => |array, index| array.as_primitive::<Float64Type>().value(index),
            _ => return Ok(None),
        };
        let finite = make_encoder(field, array, &PLAIN)?;
        let encoder = FloatEncoder { array, value, finite };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}

struct FloatEncoder<'a> {
    array: &'a dyn Array,
    value: fn(&dyn Array, usize) -> f64,
    finite: NullableEncoder<'a>,
}

impl Encoder for FloatEncoder<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let value = (self.value)(self.array, index);
        let text: &[u8] = if value.is_finite() {
            return self.finite.encode(index, out);
        } else if value.is_nan() {
            b"\"NaN\""
        } else if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        };
        out.extend_from_slice(text);
    }
}
