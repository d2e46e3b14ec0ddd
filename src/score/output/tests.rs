use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowWriter};
use ::parquet::basic::{BrotliLevel, Compression as Codec, GzipLevel, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray,
    DurationMicrosecondArray, Float32Array, Float64Array, Int8Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    UInt64Array,
};
use arrow_ipc::convert::try_schema_from_ipc_buffer;
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat_batches;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::score::Row;
use crate::score::rows::{self, batches};

#[derive(Debug)]
struct Fixed(Vec<Row>);

impl Replayable for Fixed {
    fn rows(&self) -> Result<IndexedRows<'_>, ScoreError> {
        Ok(Box::new(self.0.iter().cloned().enumerate().map(Ok)))
    }

    fn changed_columns(&self) -> &[String] {
        &[]
    }
}

fn rows_of(rows: &Value) -> Fixed {
    Fixed(rows.as_array().unwrap().iter().map(|row| Row::parse(&row.to_string()).unwrap()).collect())
}

fn fixed() -> Fixed {
    rows_of(&json!([
        {"id": 1, "prompt": "p, \"q\"\nr", "score_reward": 2.034414291381836, "tags": ["a"]},
        {"id": 2, "prompt": "é", "score_error": "too long", "tags": []},
    ]))
}

fn read(path: &Path) -> Vec<Row> {
    rows::open(path).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What rows are after they were written to a file of this name and read back.
fn round_trip(name: &str, rows: &Fixed) -> Vec<Row> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    assert_eq!(write(&path, rows, &[]).unwrap(), rows.0.len());
    let left: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [name], "nothing but the file is left");
    read(&path)
}

#[test]
fn csv_has_a_column_for_every_name() {
    let rows = round_trip("rows.csv", &fixed());
    assert_eq!(rows[0].names().collect::<Vec<_>>(), ["id", "prompt", "score_reward", "tags", "score_error"]);
    let text = |row: &Row, name: &str| row.get(name).unwrap().as_text().unwrap();
    assert_eq!(text(&rows[0], "score_reward"), "2.034414291381836");
    assert_eq!(text(&rows[0], "prompt"), "p, \"q\"\nr");
    assert_eq!(text(&rows[1], "score_error"), "too long");
}

#[test]
fn a_parquet_column_whose_values_have_no_common_type_is_written_as_json() {
    let rows = [
        r#"{"b":1,"a":{"x":1},"big":12345678901234567890123,"e":{},"u":18446744073709551615,"p":1.10}"#,
        r#"{"b":2,"a":"text","big":1,"e":{},"u":1,"p":2}"#,
        r#"{"b":3,"a":null,"big":null,"e":null,"u":null,"p":null}"#,
        r#"{"b":4,"a":[1],"big":2,"e":{},"u":2,"p":-0.0}"#,
    ];
    let rows = Fixed(rows.iter().map(|row| Row::parse(row).unwrap()).collect());
    let read: Vec<String> = round_trip("rows.parquet", &rows).iter().map(Row::json).collect();
    assert_eq!(
        read,
        [
            r#"{"b":1,"a":"{\"x\":1}","big":"12345678901234567890123","e":"{}","u":18446744073709551615,"p":1.1}"#,
            r#"{"b":2,"a":"\"text\"","big":"1","e":"{}","u":1,"p":2.0}"#,
            r#"{"b":3,"a":null,"big":null,"e":null,"u":null,"p":null}"#,
            r#"{"b":4,"a":"[1]","big":"2","e":"{}","u":2,"p":-0.0}"#,
        ]
    );
    assert!(round_trip("none.parquet", &Fixed(Vec::new())).is_empty());
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.jsonl");
    std::fs::create_dir(&path).unwrap();
    assert!(write(&path, &fixed(), &[]).is_err());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn columns_that_pyarrow_wrote_keep_their_types_and_values() {
    let fixture = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/parquet/types.parquet"));
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.parquet");
    write(&output, &Fixed(read(fixture)), &[fixture.to_owned()]).unwrap();
    let [before, after] = [fixture, &output].map(|path| batches(path).unwrap());
    assert_eq!(before.schema.fields(), after.schema.fields());
    let [before, after] = [before, after]
        .map(|file| file.reader.map(|batch| batch.unwrap().columns().to_vec()).collect::<Vec<_>>());
    assert_eq!(before, after);
}

#[test]
fn what_pandas_and_others_store_in_a_parquet_file_is_kept_as_far_as_it_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let [input, output] = ["in.parquet", "out.parquet"].map(|name| directory.path().join(name));
    let described = |columns: &[&str]| {
        let columns: Vec<Value> = columns.iter().map(|name| json!({"field_name": name})).collect();
        json!({"index_columns": ["id"], "columns": columns}).to_string()
    };
    let batch = arrays(1, 5);
    let all: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).chain(["gone"]).collect();
    let pairs = vec![
        ::parquet::file::metadata::KeyValue::new("pandas".into(), described(&all)),
        ::parquet::file::metadata::KeyValue::new("by".into(), "me".to_owned()),
    ];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(&input).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut scored = read(&input);
    scored.iter_mut().for_each(|row| row.set("score_reward", Cell::from_json("0.5".into())));
    write(&output, &Fixed(scored), &[input]).unwrap();
    let file = ArrowReaderMetadata::load(&File::open(&output).unwrap(), ArrowReaderOptions::new()).unwrap();
    let pairs = file.metadata().file_metadata().key_value_metadata().unwrap();
    let stored = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    // pyarrow reads what the Arrow schema has.
    let schema = BASE64_STANDARD.decode(stored(ARROW_SCHEMA_META_KEY).unwrap()).unwrap();
    let schema = try_schema_from_ipc_buffer(&schema).unwrap();
    let of_schema = |key: &str| schema.metadata().get(key).cloned();
    for stored in [&stored as &dyn Fn(&str) -> Option<String>, &of_schema] {
        assert_eq!(stored("by").as_deref(), Some("me"));
        let pandas: Value = serde_json::from_str(&stored("pandas").unwrap()).unwrap();
        assert_eq!(pandas.to_string(), described(&all[..all.len() - 1]));
    }
}

/// JSON of a number, in any way that JSON writes one.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| json!(number).to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
    ]
}

/// JSON of any value.
fn value() -> impl Strategy<Value = String> {
    let text = any::<String>().prop_map(|text| Value::from(text).to_string());
    let constant = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned())];
    let leaf = prop_oneof![number(), text, constant];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|fields| {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Values of one column: of one kind, or of any.
fn column(rows: usize) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        prop::collection::vec(any::<i64>().prop_map(|number| number.to_string()), rows),
        prop::collection::vec(number(), rows),
        prop::collection::vec(any::<Option<String>>().prop_map(|text| json!(text).to_string()), rows),
        prop::collection::vec(any::<Vec<Option<i64>>>().prop_map(|list| json!(list).to_string()), rows),
        prop::collection::vec(value(), rows),
    ]
}

/// Rows of a random schema.
fn table() -> impl Strategy<Value = Fixed> {
    (1..6usize).prop_flat_map(|rows| {
        prop::collection::btree_map("[a-zé \"_,.]{1,6}", column(rows), 1..5).prop_map(move |columns| {
            let row = |index: usize| {
                let cells = columns
                    .iter()
                    .map(|(name, values)| (name.clone(), Cell::from_json(values[index].clone())));
                cells.collect::<Row>()
            };
            Fixed((0..rows).map(row).collect())
        })
    })
}

/// A value with one form for each number, and without the nulls that a struct has for what an object lacks.
fn canonical(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'{') => {
            let row = Row::parse(json).unwrap();
            let mut fields: Vec<String> = row
                .columns()
                .map(|(name, cell)| (name, canonical(cell.json())))
                .filter(|(_, value)| value != "null")
                .map(|(name, value)| format!("{name:?}:{value}"))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        Some(b'[') => {
            let items: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(json).unwrap();
            let items: Vec<String> = items.iter().map(|item| canonical(item.get())).collect();
            format!("[{}]", items.join(","))
        }
        Some(b'-' | b'0'..=b'9') => {
            let sign = if json.starts_with('-') { "-" } else { "" };
            format!("{sign}{:?}", super::kinds::significant(json))
        }
        _ => serde_json::from_str::<Value>(json).unwrap().to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn json_keeps_every_character_of_every_value(table in table()) {
        for name in ["rows.jsonl", "rows.json", "rows.jsonl.gz", "rows.json.zst"] {
            prop_assert_eq!(&round_trip(name, &table), &table.0);
        }
    }

    #[test]
    fn tables_keep_every_character_of_every_text(table in table()) {
        // A header of one column that has another separator would look like a file of that one.
        let mut texts = table;
        for row in &mut texts.0 {
            *row = row.columns().map(|(name, cell)| (name.to_owned(), Cell::text(cell.json()))).collect();
            row.set("id", Cell::text("007"));
        }
        for name in ["rows.csv", "rows.tsv", "rows.csv.gz"] {
            prop_assert_eq!(&round_trip(name, &texts), &texts.0);
        }
    }

    #[test]
    fn parquet_keeps_every_digit_of_every_value(table in table()) {
        let read = round_trip("rows.parquet", &table);
        for (before, after) in table.0.iter().zip(&read) {
            prop_assert!(before.names().eq(after.names()));
            for ((name, before), (_, after)) in before.columns().zip(after.columns()) {
                // A column of several types is JSON in a text.
                let same = canonical(before.json()) == canonical(after.json());
                let as_text = after.as_text().is_some_and(|text| {
                    serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok()
                        && canonical(&text) == canonical(before.json())
                });
                prop_assert!(same || as_text, "{name}: {} became {}", before.json(), after.json());
            }
        }
    }

    #[test]
    fn columns_of_parquet_inputs_keep_their_types_and_values(seed in any::<u64>(), codec in 0..5usize) {
        let directory = tempfile::tempdir().unwrap();
        let inputs = [directory.path().join("a.parquet"), directory.path().join("b.parquet")];
        let mut originals = Vec::new();
        for (index, path) in inputs.iter().enumerate() {
            let batch = arrays(seed.wrapping_add(index as u64), 300 * index + 7);
            write_batch(path, &batch, codec);
            originals.push(batch);
        }
        let mut scored: Vec<Row> = inputs.iter().flat_map(|path| read(path)).collect();
        for (index, row) in scored.iter_mut().enumerate() {
            row.set("score_reward", Cell::from_json(format!("{index}.5")));
        }
        let output = directory.path().join("out.parquet");
        write(&output, &Fixed(scored), &inputs).unwrap();
        let written = batches(&output).unwrap();
        let read: Vec<RecordBatch> = written.reader.map(Result::unwrap).collect();
        let after = concat_batches(&written.schema, &read).unwrap();
        let before = concat_batches(&originals[0].schema(), &originals).unwrap();
        for (field, array) in before.schema().fields().iter().zip(before.columns()) {
            let kept = after.column_by_name(field.name()).unwrap();
            prop_assert_eq!(kept.data_type(), field.data_type());
            prop_assert_eq!(&kept.to_data(), &array.to_data(), "{}", field.name());
        }
        prop_assert_eq!(after.num_columns(), before.num_columns() + 1);
    }
}

/// A batch with a column of every type that files have, and nulls in each.
fn arrays(seed: u64, rows: usize) -> RecordBatch {
    let number = move |index: usize| {
        let mixed = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        if mixed.is_multiple_of(5) { None } else { Some(mixed as i64) }
    };
    let numbers = || (0..rows).map(number);
    let small = || numbers().map(|number| number.map(|number| number % 1_000_000));
    let floats = || {
        numbers()
            .map(|number| number.map(|number| if number % 3 == 0 { f64::NAN } else { number as f64 / 7.0 }))
    };
    let texts = || numbers().map(|number| number.map(|number| format!("t{}", number % 4)));
    let days = || numbers().map(|number| number.map(|number| (number % 40_000) * 86_400_000));
    let items = ListArray::from_iter_primitive::<Int32Type, _, _>(
        numbers().map(|number| number.map(|number| vec![Some(number as i32), None])),
    );
    let fields = vec![
        (
            Arc::new(Field::new("x", arrow_schema::DataType::Int64, true)),
            Arc::new(Int64Array::from_iter(numbers())) as ArrayRef,
        ),
        (
            Arc::new(Field::new("y", arrow_schema::DataType::Utf8, true)),
            Arc::new(StringArray::from_iter(texts())) as ArrayRef,
        ),
    ];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter(numbers()))),
        ("i8", Arc::new(Int8Array::from_iter(numbers().map(|number| number.map(|number| number as i8))))),
        ("u64", Arc::new(UInt64Array::from_iter(numbers().map(|number| number.map(|number| number as u64))))),
        ("f32", Arc::new(Float32Array::from_iter(floats().map(|number| number.map(|number| number as f32))))),
        ("f64", Arc::new(Float64Array::from_iter(floats()))),
        ("bool", Arc::new(BooleanArray::from_iter(numbers().map(|number| number.map(|number| number > 0))))),
        ("text", Arc::new(StringArray::from_iter(texts()))),
        ("bytes", Arc::new(BinaryArray::from_iter(numbers().map(|number| number.map(i64::to_le_bytes))))),
        (
            "dictionary",
            Arc::new(
                texts()
                    .collect::<Vec<_>>()
                    .iter()
                    .map(Option::as_deref)
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        (
            "date32",
            Arc::new(Date32Array::from_iter(small().map(|number| number.map(|number| number as i32)))),
        ),
        ("date64", Arc::new(Date64Array::from_iter(days()))),
        ("time", Arc::new(Time64MicrosecondArray::from_iter(small().map(|number| number.map(i64::abs))))),
        ("utc", Arc::new(TimestampMicrosecondArray::from_iter(small()).with_timezone("UTC"))),
        ("paris", Arc::new(TimestampNanosecondArray::from_iter(small()).with_timezone("Europe/Paris"))),
        ("offset", Arc::new(TimestampNanosecondArray::from_iter(small()).with_timezone("+02:00"))),
        ("duration", Arc::new(DurationMicrosecondArray::from_iter(small()))),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from_iter(small().map(|number| number.map(i128::from)))
                    .with_precision_and_scale(20, 2)
                    .unwrap(),
            ),
        ),
        ("list", Arc::new(items)),
        ("struct", Arc::new(StructArray::from(fields))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn write_batch(path: &Path, batch: &RecordBatch, codec: usize) {
    let codec = [
        Codec::LZ4_RAW,
        Codec::BROTLI(BrotliLevel::default()),
        Codec::GZIP(GzipLevel::default()),
        Codec::ZSTD(ZstdLevel::default()),
        Codec::SNAPPY,
    ][codec];
    let properties = WriterProperties::builder().set_compression(codec).build();
    let schema: Arc<Schema> = batch.schema();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}
