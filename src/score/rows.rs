//! Reads the rows of JSONL, JSON, CSV and Parquet files one after the other.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::{Row, ScoreError};

/// Rows of a Parquet file that are decoded at a time, and of a JSON array that are parsed ahead.
const BATCH: usize = 256;

/// File format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON object in each line.
    Jsonl,
    /// One array of JSON objects.
    Json,
    /// Comma-separated values, with a header.
    Csv,
    Parquet,
}

impl Format {
    /// Detects the format from the file name's extension. Standard input, `-`, is JSONL.
    ///
    /// # Errors
    /// [`ScoreError::UnknownFormat`].
    pub(super) fn from_path(path: &Path) -> Result<Self, ScoreError> {
        if path == Path::new("-") {
            return Ok(Self::Jsonl);
        }
        match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(ScoreError::UnknownFormat(path.to_owned())),
        }
    }
}

/// A line of JSONL is not an object.
#[derive(Debug, thiserror::Error)]
#[error("it is not a JSON object: {}", without_line(.0))]
struct InvalidLine(#[source] serde_json::Error);

/// Every line is a document of its own, so serde's line number would mislead.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// The rows of a file. Only after [`ScoreError::Row`] are there more rows.
pub type Rows = Box<dyn Iterator<Item = Result<Row, ScoreError>> + Send>;

/// Opens a file; `-` is standard input.
///
/// # Errors
/// It cannot be opened, or does not start as its format does.
pub fn open(path: &Path) -> Result<Rows, ScoreError> {
    let format = Format::from_path(path)?;
    if path == Path::new("-") {
        return Ok(jsonl(path, std::io::stdin()));
    }
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    match format {
        Format::Jsonl => Ok(jsonl(path, file)),
        Format::Json => json(path, file),
        Format::Csv => csv(path, file),
        Format::Parquet => parquet(path, file),
    }
}

/// Counts the rows of a file, much faster than reading them; `None` if that fails.
pub fn count(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    match Format::from_path(path).ok()? {
        Format::Jsonl => Some(BufReader::with_capacity(1 << 20, file).split(b'\n').count() as u64),
        Format::Csv => {
            Some(csv::Reader::from_reader(BufReader::new(file)).into_byte_records().count() as u64)
        }
        Format::Parquet => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).ok()?;
            u64::try_from(builder.metadata().file_metadata().num_rows()).ok()
        }
        Format::Json => {
            let mut rows = 0;
            let counted = for_each_item(file, |_: IgnoredAny| {
                rows += 1;
                true
            });
            counted.ok().map(|()| rows)
        }
    }
}

fn jsonl(path: &Path, file: impl Read + Send + 'static) -> Rows {
    let path = path.to_owned();
    let lines = BufReader::new(file).split(b'\n').enumerate();
    Box::new(lines.filter_map(move |(index, line)| parse_line(&path, index, line)))
}

/// Parses a line of JSONL; `None` for an empty one.
fn parse_line(path: &Path, index: usize, line: std::io::Result<Vec<u8>>) -> Option<Result<Row, ScoreError>> {
    let line = match line {
        Ok(line) => line,
        Err(error) => return Some(Err(ScoreError::read(path, error))),
    };
    // Windows programs start a file with a byte order mark.
    let line = if index == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
    if line.trim_ascii().is_empty() {
        return None;
    }
    Some(serde_json::from_slice(line).map_err(|error| ScoreError::Row {
        path: path.to_owned(),
        place: format!("line {}", index + 1),
        source: InvalidLine(error).into(),
        text: String::from_utf8_lossy(line).into_owned(),
    }))
}

/// Rows of one array, which a thread parses as far ahead as the channel has room.
fn json(path: &Path, file: File) -> Result<Rows, ScoreError> {
    // A file that is broken at its end should be found out now, not after hours.
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        let again = File::open(path).map_err(|error| ScoreError::read(path, error))?;
        for_each_item(again, |_: IgnoredAny| true).map_err(|error| ScoreError::read(path, error))?;
    }
    let (send, receive) = std::sync::mpsc::sync_channel(BATCH);
    std::thread::spawn(move || {
        if let Err(error) = for_each_item(file, |row: Value| send.send(Ok(row)).is_ok()) {
            // Fails if the reader stopped early; then nobody needs the error.
            let _ = send.send(Err(error));
        }
    });
    let path = path.to_owned();
    Ok(Box::new(receive.into_iter().enumerate().map(move |(index, row)| match row {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => Err(ScoreError::Row {
            path: path.clone(),
            place: format!("row {}", index + 1),
            source: "it is not an object".into(),
            text: other.to_string(),
        }),
        Err(error) => Err(ScoreError::read(&path, error)),
    })))
}

/// Passes each item of a JSON array to `take`, until that returns false.
fn for_each_item<T: DeserializeOwned>(
    file: impl Read,
    take: impl FnMut(T) -> bool,
) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file));
    reader.deserialize_seq(ItemVisitor { take, item: PhantomData })?;
    reader.end()
}

struct ItemVisitor<T, F> {
    take: F,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> Visitor<'de> for ItemVisitor<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if !(self.take)(item) {
                return Err(A::Error::custom("the reader stopped"));
            }
        }
        Ok(())
    }
}

fn csv(path: &Path, file: File) -> Result<Rows, ScoreError> {
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let names = reader.headers().map_err(|error| ScoreError::read(path, error))?.clone();
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            return Err(ScoreError::read(path, format!("two columns are called `{name}`")));
        }
    }
    let path = path.to_owned();
    Ok(Box::new(reader.into_records().enumerate().map(move |(index, record)| {
        let record = record.map_err(|error| csv_error(&path, index, error))?;
        let values = record.iter().map(|text| Value::String(text.into()));
        Ok(names.iter().map(str::to_owned).zip(values).collect())
    })))
}

fn csv_error(path: &Path, index: usize, error: csv::Error) -> ScoreError {
    match error.kind() {
        csv::ErrorKind::Io(_) => ScoreError::read(path, error),
        _ => ScoreError::Row {
            path: path.to_owned(),
            place: format!("row {}", index + 1),
            source: error.into(),
            text: String::new(),
        },
    }
}

fn parquet(path: &Path, file: File) -> Result<Rows, ScoreError> {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| ScoreError::read(path, error))?;
    let reader = builder.with_batch_size(BATCH).build().map_err(|error| ScoreError::read(path, error))?;
    let path: PathBuf = path.to_owned();
    Ok(Box::new(reader.flat_map(move |batch| match batch.and_then(|batch| json_rows(&batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(ScoreError::read(&path, error))],
    })))
}

fn json_rows(batch: &arrow::array::RecordBatch) -> Result<Vec<Row>, ArrowError> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let lines = writer.into_inner();
    let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<Row>();
    rows.collect::<Result<_, _>>().map_err(|error| ArrowError::JsonError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Result<Row, ScoreError>>, ScoreError> {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        open(file.path()).map(Iterator::collect)
    }

    #[test]
    fn the_rows_of_an_array_are_read_in_order_and_other_items_are_reported() {
        let rows: Vec<String> = (0..3 * BATCH).map(|id| format!(" {{\"id\": {id}}}\n")).collect();
        let read_back = read(&format!("[{}]", rows.join(","))).unwrap();
        let ids = read_back.iter().map(|row| row.as_ref().unwrap()["id"].as_u64().unwrap() as usize);
        assert!(ids.eq(0..3 * BATCH));
        let mixed = read("[{}, 7, {}]").unwrap();
        assert!(mixed[0].is_ok() && mixed[2].is_ok());
        let wrong = mixed[1].as_ref().unwrap_err().to_string();
        assert!(wrong.contains("row 2: it is not an object"), "{wrong}");
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn a_broken_array_is_refused_before_its_first_row() {
        for broken in ["", "{}", "[{}", "[{},]", "[{}] x", "[{\"a\": }]"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn rows_of_an_array_are_counted_and_need_not_all_be_read() {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        std::fs::write(file.path(), format!("[{}]", vec!["{}"; 9 * BATCH].join(","))).unwrap();
        let mut rows = open(file.path()).unwrap();
        assert!(rows.next().is_some_and(|row| row.is_ok()));
        assert_eq!(count(file.path()), Some(9 * BATCH as u64));
    }
}
