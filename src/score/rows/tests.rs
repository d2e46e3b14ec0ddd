use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Float64Array, LargeBinaryArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema};

use super::*;
use crate::score::forms::{FormArgs, RowLayout};

/// What a file of this name and these bytes is read as.
fn read(name: &str, bytes: &[u8]) -> Result<Vec<Result<Row, ScoreError>>, ScoreError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    open(&path).map(Iterator::collect)
}

fn rows(name: &str, bytes: &[u8]) -> Vec<String> {
    read(name, bytes).unwrap().into_iter().map(|row| row.unwrap().json()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_a_file_of_json_starts_with_decides_how_it_is_read() {
    let expected = ["{\"a\":1}", "{\"a\":2.50}"];
    for text in [
        "{\"a\": 1}\n{\"a\": 2.50}\n",
        "\u{feff}{\"a\": 1}\r\n\r\n{\"a\": 2.50}",
        "[{\"a\": 1}, {\"a\": 2.50}]",
        "\n [\n{\"a\": 1},\n{\"a\": 2.50}\n]\n",
        "{\n  \"a\": 1\n}\n{\n  \"a\": 2.50\n}\n",
    ] {
        for name in ["x.json", "x.jsonl", "x.NDJSON"] {
            assert_eq!(rows(name, text.as_bytes()), expected, "{name} {text:?}");
        }
        assert_eq!(rows("x.jsonl.gz", &gzip(text.as_bytes())), expected, "{text:?}");
        assert_eq!(rows("x.json.zst", &zstd::encode_all(text.as_bytes(), 1).unwrap()), expected, "{text:?}");
    }
    let two = [gzip(b"{\"a\":1}\n"), gzip(b"{\"a\":2.50}\n")].concat();
    assert_eq!(rows("x.jsonl.gz", &two), expected);
}

#[test]
fn other_items_of_an_array_are_reported_and_a_broken_one_is_refused_before_its_first_row() {
    let mixed = read("x.json", b"[{}, 7, {}]").unwrap();
    assert!(mixed[0].is_ok() && mixed[2].is_ok());
    let wrong = mixed[1].as_ref().unwrap_err().to_string();
    assert!(wrong.contains("row 2: it is not an object"), "{wrong}");
    for broken in ["[{}", "[{},]", "[{}] x", "[{\"a\": }]"] {
        assert!(read("x.json", broken.as_bytes()).is_err(), "{broken}");
    }
    let whole = gzip(&b"{\"a\": 1}\n".repeat(1000));
    assert!(read("x.jsonl.gz", &whole[..whole.len() - 9]).is_err());
}

#[test]
fn a_broken_line_is_kept_whole_and_the_next_one_is_read() {
    let read = read("x.jsonl", b"{\"a\": 1}\n{\"torn\": \n[1]\n{\"a\": 2}\n").unwrap();
    assert_eq!(read.len(), 4);
    for (index, line, kept) in [(1, "line 2", "{\"torn\": "), (2, "line 3", "[1]")] {
        match read[index].as_ref().unwrap_err() {
            ScoreError::Row { place, text, .. } => assert_eq!((place.as_str(), text.as_str()), (line, kept)),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn tables_are_read_as_texts_and_bad_rows_are_kept_whole() {
    let expected =
        ["{\"id\":\"007\",\"text\":\"a \\\"b\\\"\\nc, d\"}", "{\"id\":\"1.10\",\"text\":\"5\\\" pipe\"}"];
    let comma = "\u{feff}id,text\r\n007,\"a \"\"b\"\"\nc, d\"\r\n1.10,5\" pipe\r\n";
    assert_eq!(rows("x.csv", comma.as_bytes()), expected);
    assert_eq!(
        rows("x.TSV", comma.replace("id,", "id\t").replace("7,", "7\t").replace("0,", "0\t").as_bytes()),
        expected
    );
    let bad = read("x.csv", b"a,b\n1,2\n\"x, y\",2,3\n\xff,4\n5,6\n").unwrap();
    let kept: Vec<Option<&str>> = bad
        .iter()
        .map(|row| match row {
            Err(ScoreError::Row { text, .. }) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(kept, [None, Some("\"x, y\",2,3"), Some("\u{fffd},4"), None]);
}

#[test]
fn a_table_with_an_open_quote_or_another_separator_is_refused_with_what_to_do() {
    for (name, text, words) in [
        ("x.csv", "a,b\n1,\"2\n3,4\n5,6\n", "opens in line 2"),
        ("x.csv", "a;b\n1;2\n", "semicolons"),
        ("x.csv", "a\tb\n1\t2\n", "tabs"),
        ("x.tsv", "a,b\n1,2\n", "commas"),
        ("x.csv", "a,a\n1,2\n", "two columns"),
        (
            "x.csv",
            "a,b\n\"say \\\"hi\\\"\",c\n",
            "line 2 ends a value and is followed by 'h' in place of commas",
        ),
        ("x.csv", "a,b\n\"line \\\"one\\\"\nline two\",ok\n", "double each quote"),
        ("x.csv", "a,b\n\"a\"b\"c,d\n", "followed by 'b'"),
        ("x.csv", "a,b\n\"x\" ,y\n", "followed by ' '"),
        ("x.tsv", "a\tb\n\"x\"y\tz\n", "in place of tabs"),
        ("x.csv", "\u{0}", ""),
    ] {
        match read(name, text.as_bytes()) {
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
            Ok(_) => assert!(words.is_empty(), "{text:?} is read"),
        }
    }
    assert_eq!(rows("x.csv", b"a,b\n\"1\",\"2\"\r\n\"\"\"3\"\"\",\"4\"")[1], r#"{"a":"\"3\"","b":"4"}"#);
    let utf16 = read("x.csv", b"\xff\xfea\0,\0").err().unwrap().to_string();
    assert!(utf16.contains("UTF-16"), "{utf16}");
}

#[test]
fn rows_of_an_array_are_counted_and_need_not_all_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.json");
    std::fs::write(&path, format!("[{}]", vec!["{}"; 2000].join(","))).unwrap();
    let mut rows = open(&path).unwrap();
    assert!(rows.next().is_some_and(|row| row.is_ok()));
    assert_eq!(count(&path), Some(2000));
}

#[test]
fn nan_and_the_infinities_that_python_writes_are_read() {
    let expected = [r#"{"a":null,"b":["Infinity","-Infinity",-1],"c":"NaN -Infinity \" NaN"}"#, r#"{"a":1}"#];
    let first = r#"{"a": NaN, "b": [Infinity, -Infinity, -1], "c": "NaN -Infinity \" NaN"}"#;
    for text in [
        format!("{first}\n{{\"a\": 1}}\n"),
        format!("[{first}, {{\"a\": 1}}]"),
        format!("{}\n{{\"a\": 1}}", first.replace(", \"", ",\n\"")),
    ] {
        assert_eq!(rows("x.json", text.as_bytes()), expected, "{text}");
        assert_eq!(rows("x.json.gz", &gzip(text.as_bytes())), expected, "{text}");
    }
    for broken in ["{\"a\": Nan}", "{\"a\": NaNs}", "{\"a\": -}"] {
        assert!(read("x.jsonl", broken.as_bytes()).unwrap()[0].is_err(), "{broken}");
    }
}

/// A Parquet file of these columns.
fn parquet(columns: Vec<(&str, ArrayRef)>) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(file.path()).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

#[test]
fn bytes_of_a_parquet_file_are_the_text_that_they_encode() {
    let file = parquet(vec![
        ("prompt", Arc::new(BinaryArray::from_vec(vec!["h\u{e9} \"".as_bytes(), b"q"]))),
        ("response", Arc::new(LargeBinaryArray::from_vec(vec![b"good", b"\xff\x01"]))),
    ]);
    let rows: Vec<Row> = open(file.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows[0].json(), "{\"prompt\":\"h\u{e9} \\\"\",\"response\":\"good\"}");
    assert_eq!(rows[1].json(), r#"{"prompt":"q","response":{"hex":"ff01"}}"#);
}

#[test]
fn dates_and_floats_of_a_parquet_file_are_not_scored_as_texts() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["q"]));
    for other in [
        Arc::new(Float64Array::from(vec![f64::NAN])) as ArrayRef,
        Arc::new(Date32Array::from(vec![19000])),
        Arc::new(TimestampMicrosecondArray::from(vec![0])),
    ] {
        let file = parquet(vec![("prompt", texts.clone()), ("response", other)]);
        let row = open(file.path()).unwrap().next().unwrap().unwrap();
        let form = FormArgs::default().for_inputs(&[file.path().to_owned()]);
        let layout = RowLayout::detect(&row, &form).unwrap();
        let turns = layout.found(&row).unwrap().candidates.remove(0).turns;
        let reason = turns.unwrap_err().to_string();
        assert_eq!(reason, "`response` is neither text nor a list of messages", "{}", row.json());
    }
}

#[test]
fn a_time_outside_the_calendar_is_written_as_the_stored_number() {
    let file = parquet(vec![
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX, 0]))),
        ("d", Arc::new(Date32Array::from(vec![i32::MIN, 0]))),
    ]);
    let rows: Vec<String> = open(file.path()).unwrap().map(|row| row.unwrap().json()).collect();
    assert_eq!(rows[0], r#"{"t":9223372036854775807,"d":-2147483648}"#);
    assert_eq!(rows[1], r#"{"t":"1970-01-01T00:00:00","d":"1970-01-01"}"#);
}

#[test]
fn a_parquet_file_with_two_columns_of_one_name_is_refused() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let file = parquet(vec![("response", text.clone()), ("response", text)]);
    let error = open(file.path()).err().unwrap().to_string();
    assert!(error.contains("two columns are called `response`"), "{error}");
}
