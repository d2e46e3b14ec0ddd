//! How values of Arrow arrays become JSON. Some kinds of values need more than arrow does: NaN and the infinities, which
//! JSON has no numbers for, are texts rather than null; a map whose keys are not texts is a list of entries; bytes are
//! the text that they encode, since that is how older writers store texts; and a time that no calendar has is the
//! number that is stored.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, MapArray};
use arrow_buffer::OffsetBuffer;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow_schema::{ArrowError, DataType, FieldRef};

use crate::manifest::digest::hexadecimal;
use crate::score::row::Cell;

/// How values are written.
pub(super) fn options() -> &'static EncoderOptions {
    static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| {
        EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(LosslessEncoders))
    });
    &OPTIONS
}

/// The encoders that arrow lacks.
#[derive(Debug)]
struct LosslessEncoders;

impl EncoderFactory for LosslessEncoders {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);
        if let Some(bytes) = bytes_of(array.data_type()) {
            let encoder = BytesEncoder { array, bytes };
            return Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())));
        }
        if array.data_type().is_temporal() {
            let encoder = TimeEncoder::new(array)?;
            return Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())));
        }
        let value: fn(&dyn Array, usize) -> f64 = match array.data_type() {
            DataType::Float16 => |array, index| array.as_primitive::<Float16Type>().value(index).to_f64(),
            DataType::Float32 => |array, index| f64::from(array.as_primitive::<Float32Type>().value(index)),
            DataType::Float64 => |array, index| array.as_primitive::<Float64Type>().value(index),
            DataType::Map(_, _) => return entries(field, array.as_map(), options),
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

type Bytes = fn(&dyn Array, usize) -> &[u8];

/// How the bytes of an array are read; `None` if it has none, or hashes and the like, all of one length.
fn bytes_of(data_type: &DataType) -> Option<Bytes> {
    let bytes: Bytes = match data_type {
        DataType::Binary => |array, index| array.as_binary::<i32>().value(index),
        DataType::LargeBinary => |array, index| array.as_binary::<i64>().value(index),
        DataType::BinaryView => |array, index| array.as_binary_view().value(index),
        _ => return None,
    };
    Some(bytes)
}

/// Writes bytes as the text that they encode in UTF-8, and others as an object, which is never taken for a text.
struct BytesEncoder<'a> {
    array: &'a dyn Array,
    bytes: Bytes,
}

impl Encoder for BytesEncoder<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let bytes = (self.bytes)(self.array, index);
        if let Ok(text) = std::str::from_utf8(bytes) {
            out.extend_from_slice(Cell::text(text).json().as_bytes());
            return;
        }
        out.extend_from_slice(b"{\"hex\":\"");
        out.extend_from_slice(hexadecimal(bytes).as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Writes dates, times and durations as texts, and the stored number of one that arrow cannot write.
struct TimeEncoder<'a> {
    formatter: ArrayFormatter<'a>,
    stored: Box<dyn Fn(usize) -> Option<i64> + 'a>,
}

impl<'a> TimeEncoder<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::new())?;
        let width = array.data_type().primitive_width();
        let data = array.to_data();
        let stored = move |index: usize| match width {
            Some(4) => data.buffer::<i32>(0).get(index).copied().map(i64::from),
            Some(8) => data.buffer::<i64>(0).get(index).copied(),
            _ => None,
        };
        Ok(Self { formatter, stored: Box::new(stored) })
    }
}

impl Encoder for TimeEncoder<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let json = match (self.formatter.value(index).try_to_string(), (self.stored)(index)) {
            (Ok(text), _) => Cell::text(&text).json().to_owned(),
            (Err(_), Some(stored)) => stored.to_string(),
            (Err(_), None) => "null".to_owned(),
        };
        out.extend_from_slice(json.as_bytes());
    }
}

/// The encoder of a map whose keys are not texts; `None` if they are, so that it becomes an object.
fn entries<'a>(
    field: &'a FieldRef,
    map: &'a MapArray,
    options: &'a EncoderOptions,
) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
    if matches!(map.key_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Ok(None);
    }
    let encoder = EntriesEncoder {
        offsets: map.offsets(),
        keys: make_encoder(field, map.keys(), options)?,
        values: make_encoder(field, map.values(), options)?,
    };
    Ok(Some(NullableEncoder::new(Box::new(encoder), map.nulls().cloned())))
}

struct EntriesEncoder<'a> {
    offsets: &'a OffsetBuffer<i32>,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
}

impl Encoder for EntriesEncoder<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        // Offsets are not negative.
        let [start, end] = [index, index + 1].map(|index| self.offsets[index] as usize);
        for entry in start..end {
            out.extend_from_slice(if entry == start { b"[{\"key\":" } else { b",{\"key\":" });
            self.keys.encode(entry, out);
            out.extend_from_slice(b",\"value\":");
            if self.values.is_null(entry) {
                out.extend_from_slice(b"null");
            } else {
                self.values.encode(entry, out);
            }
            out.push(b'}');
        }
        out.extend_from_slice(if start == end { b"[]" } else { b"]" });
    }
}
