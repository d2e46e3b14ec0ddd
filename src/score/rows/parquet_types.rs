//! Corrects the Arrow types of a Parquet file's columns, so that values are read as pyarrow reads them.
//!
//! A Parquet file has its own types, and most writers also store the Arrow types that the columns had. The `parquet`
//! crate and pyarrow derive the same types from the two, except for three kinds of columns: times in seconds with a
//! time zone, dates that were stored as milliseconds, and dictionaries of values other than text and bytes.

use std::sync::Arc;

use arrow_ipc::convert::try_schema_from_ipc_buffer;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, parquet_to_arrow_schema};

/// The metadata of a file with corrected types; unchanged if none needs a correction.
pub(super) fn corrected(metadata: ArrowReaderMetadata) -> ArrowReaderMetadata {
    let Some(schema) = corrected_schema(&metadata) else { return metadata };
    if schema.fields() == metadata.schema().fields() {
        return metadata;
    }
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).unwrap_or(metadata)
}

/// `None` if the file has no Arrow types.
fn corrected_schema(metadata: &ArrowReaderMetadata) -> Option<Schema> {
    let file = metadata.metadata().file_metadata();
    let pairs = file.key_value_metadata()?;
    let stored = pairs.iter().find(|pair| pair.key == ARROW_SCHEMA_META_KEY)?.value.as_ref()?;
    let stored = try_schema_from_ipc_buffer(&BASE64_STANDARD.decode(stored).ok()?).ok()?;
    let plain = parquet_to_arrow_schema(file.schema_descr(), None).ok()?;
    let found = metadata.schema();
    let fields = corrected_fields(found.fields(), plain.fields(), stored.fields());
    Some(Schema::new_with_metadata(fields, found.metadata().clone()))
}

fn corrected_fields(found: &Fields, plain: &Fields, stored: &Fields) -> Fields {
    let mut fields = Vec::with_capacity(found.len());
    for (index, field) in found.iter().enumerate() {
        fields.push(corrected_field(field, plain.get(index), stored.get(index)));
    }
    Fields::from(fields)
}

fn corrected_field(found: &FieldRef, plain: Option<&FieldRef>, stored: Option<&FieldRef>) -> FieldRef {
    let (Some(plain), Some(stored)) = (plain, stored) else { return found.clone() };
    let data_type = corrected_type(found.data_type(), plain.data_type(), stored.data_type());
    Arc::new(Field::clone(found).with_data_type(data_type))
}

/// The type of a column. The crate reads it as `found`, or as `plain` without the stored Arrow types; it was written as
/// `stored`.
fn corrected_type(found: &DataType, plain: &DataType, stored: &DataType) -> DataType {
    use DataType as T;
    let item = |field: &FieldRef| corrected_field(field, children(plain).first(), children(stored).first());
    match (found, plain, stored) {
        // Parquet has no seconds: such times are milliseconds, and the crate forgets their zone.
        (T::Timestamp(unit, Some(_)), _, T::Timestamp(_, Some(zone))) => {
            T::Timestamp(*unit, Some(zone.clone()))
        }
        (T::Date64, T::Date32, _) => T::Date32,
        (T::Dictionary(_, values), _, T::Dictionary(_, stored)) => match **values {
            T::Utf8 | T::LargeUtf8 | T::Binary | T::LargeBinary => found.clone(),
            _ => corrected_type(values, plain, stored),
        },
        (T::List(field), ..) => T::List(item(field)),
        (T::LargeList(field), ..) => T::LargeList(item(field)),
        (T::FixedSizeList(field, size), ..) => T::FixedSizeList(item(field), *size),
        (T::Map(field, is_sorted), ..) => T::Map(item(field), *is_sorted),
        (T::Struct(fields), T::Struct(plain), T::Struct(stored)) => {
            T::Struct(corrected_fields(fields, plain, stored))
        }
        _ => found.clone(),
    }
}

/// The field of the items of a list or of the entries of a map.
fn children(data_type: &DataType) -> &[FieldRef] {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => std::slice::from_ref(field),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow_schema::TimeUnit;

    use super::super::{batches, open};
    use super::*;

    /// Written by `tools/make_parquet_fixture.py`.
    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/parquet/types.parquet");

    #[test]
    fn columns_have_the_types_that_pyarrow_reads() {
        let zoned = DataType::Timestamp(TimeUnit::Millisecond, Some("Europe/Paris".into()));
        let schema = batches(Path::new(FIXTURE)).unwrap().schema;
        for (name, expected) in [
            ("zoned seconds", zoned.clone()),
            ("milliseconds of days", DataType::Date32),
            ("seconds of a day", DataType::Time32(TimeUnit::Millisecond)),
            ("dictionary of prices", DataType::Decimal128(10, 2)),
            ("dictionary of numbers", DataType::Int64),
            (
                "dictionary of texts",
                DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8)),
            ),
            ("large prices", DataType::Decimal256(50, 2)),
            ("views", DataType::Utf8View),
        ] {
            assert_eq!(schema.field_with_name(name).unwrap().data_type(), &expected, "{name}");
        }
        match schema.field_with_name("nested zones").unwrap().data_type() {
            DataType::Struct(fields) => match fields[0].data_type() {
                DataType::List(item) => assert_eq!(item.data_type(), &zoned),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_value_has_a_json() {
        let rows: Vec<String> = open(Path::new(FIXTURE)).unwrap().map(|row| row.unwrap().json()).collect();
        assert!(
            rows[0].contains(r#""map of numbers":[{"key":1,"value":"a"},{"key":2,"value":null}]"#),
            "{}",
            rows[0]
        );
        assert!(rows[0].contains(r#""dictionary of prices":1.10"#), "{}", rows[0]);
        assert!(rows[0].contains(r#""milliseconds of days":"2024-02-29""#), "{}", rows[0]);
        assert!(
            rows[2].contains(r#""map of numbers":[]"#) && rows[2].contains(r#""pairs":[3,null]"#),
            "{}",
            rows[2]
        );
    }
}
