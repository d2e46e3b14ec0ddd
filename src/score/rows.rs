//! Rows of JSONL, JSON, CSV and Parquet files, one after the other.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::Path;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::{Row, ScoreError};

/// Rows of a Parquet file that are decoded at a time, and of a JSON array that are parsed ahead.
const BATCH: usize = 256;

/// How a file holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object in each line.
    Jsonl,
    /// One array of JSON objects.
    Json,
    /// Comma-separated, with a line of names.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// By the name's extension. Standard input is JSONL.
    ///
    /// # Errors
    /// The extension is none of those known.
    pub fn of(path: &Path) -> Result<Self, ScoreError> {
        if path == Path::new("-") {
            return Ok(Self::Jsonl);
        }
        match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(ScoreError::Option(format!(
                "{}: the name does not say what is in it; call it .jsonl, .json, .csv or .parquet",
                path.display()
            ))),
        }
    }
}

/// Rows of a file, or why there are no more.
pub type Rows = Box<dyn Iterator<Item = Result<Row, ScoreError>> + Send>;

/// Opens a file; `-` is standard input.
///
/// # Errors
/// It cannot be opened, or its beginning is not of its format.
pub fn open(path: &Path) -> Result<Rows, ScoreError> {
    let format = Format::of(path)?;
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

/// How many rows a file has, by a look that is much faster than reading them; `None` where that fails.
pub fn count(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    match Format::of(path).ok()? {
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
            let counted = each(file, |_: IgnoredAny| {
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
    Box::new(lines.filter_map(move |(index, line)| {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(Err(ScoreError::read(&path, error))),
        };
        // Windows programs begin a file with this mark.
        let line = if index == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if line.trim_ascii().is_empty() {
            return None;
        }
        Some(serde_json::from_slice(line).map_err(|error| ScoreError::Row {
            path: path.clone(),
            place: format!("line {}", index + 1),
            reason: error.to_string(),
            text: String::from_utf8_lossy(line).into_owned(),
        }))
    }))
}

/// Rows of one array: a thread parses them as far ahead as the channel has room.
fn json(path: &Path, file: File) -> Result<Rows, ScoreError> {
    let wrong = |error: &dyn std::fmt::Display| ScoreError::read(path, error);
    // What is broken at its end is better known now than after hours.
    if file.metadata().is_ok_and(|about| about.is_file()) {
        File::open(path)
            .map_err(|error| wrong(&error))
            .and_then(|file| each(file, |_: IgnoredAny| true).map_err(|error| wrong(&error)))?;
    }
    let (send, receive) = std::sync::mpsc::sync_channel(BATCH);
    std::thread::spawn(move || {
        if let Err(error) = each(file, |row: Value| send.send(Ok(row)).is_ok()) {
            // Nobody may be left to hear of it.
            let _ = send.send(Err(error));
        }
    });
    let path = path.to_owned();
    Ok(Box::new(receive.into_iter().enumerate().map(move |(index, row)| match row {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => Err(ScoreError::Row {
            path: path.clone(),
            place: format!("row {}", index + 1),
            reason: "it is no object".into(),
            text: other.to_string(),
        }),
        Err(error) => Err(ScoreError::read(&path, error)),
    })))
}

/// Hands each item of an array in JSON to `take`, until that wants no more.
fn each<T: DeserializeOwned>(file: impl Read, take: impl FnMut(T) -> bool) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file));
    reader.deserialize_seq(Each { take, item: PhantomData })?;
    reader.end()
}

struct Each<T, F> {
    take: F,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if !(self.take)(item) {
                return Err(A::Error::custom("nobody reads on"));
            }
        }
        Ok(())
    }
}

fn csv(path: &Path, file: File) -> Result<Rows, ScoreError> {
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let names = reader.headers().map_err(|error| ScoreError::read(path, error))?.clone();
    if let Some(twice) = names
        .iter()
        .enumerate()
        .find_map(|(index, name)| names.iter().take(index).any(|other| other == name).then_some(name))
    {
        return Err(ScoreError::read(path, format!("two columns are called `{twice}`")));
    }
    let path = path.to_owned();
    Ok(Box::new(reader.into_records().enumerate().map(move |(index, record)| {
        let record = record.map_err(|error| match error.kind() {
            csv::ErrorKind::Io(_) => ScoreError::read(&path, error),
            _ => ScoreError::Row {
                path: path.clone(),
                place: format!("row {}", index + 1),
                reason: error.to_string(),
                text: String::new(),
            },
        })?;
        let value = |text: &str| Value::String(text.into());
        Ok(names.iter().map(str::to_owned).zip(record.iter().map(value)).collect())
    })))
}

fn parquet(path: &Path, file: File) -> Result<Rows, ScoreError> {
    let wrong = |error: &dyn std::fmt::Display| ScoreError::read(path, error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(&error))?;
    let reader = builder.with_batch_size(BATCH).build().map_err(|error| wrong(&error))?;
    let path = path.to_owned();
    Ok(Box::new(reader.flat_map(move |batch| {
        let rows = batch.map_err(|error| error.to_string()).and_then(|batch| json_rows(&batch));
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(reason) => vec![Err(ScoreError::read(&path, reason))],
        }
    })))
}

fn json_rows(batch: &arrow::array::RecordBatch) -> Result<Vec<Row>, String> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(batch).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    let lines = writer.into_inner();
    let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<Row>();
    rows.collect::<Result<_, _>>().map_err(|error| error.to_string())
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
    fn an_array_gives_its_rows_in_their_order_and_names_what_is_none() {
        let rows: Vec<String> = (0..3 * BATCH).map(|id| format!(" {{\"id\": {id}}}\n")).collect();
        let read_back = read(&format!("[{}]", rows.join(","))).unwrap();
        let ids = read_back.iter().map(|row| row.as_ref().unwrap()["id"].as_u64().unwrap() as usize);
        assert!(ids.eq(0..3 * BATCH));
        let mixed = read("[{}, 7, {}]").unwrap();
        assert!(mixed[0].is_ok() && mixed[2].is_ok());
        let wrong = mixed[1].as_ref().unwrap_err().to_string();
        assert!(wrong.contains("row 2: it is no object"), "{wrong}");
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn a_broken_array_is_refused_before_its_first_row() {
        for broken in ["", "{}", "[{}", "[{},]", "[{}] x", "[{\"a\": }]"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn rows_of_an_array_are_counted_and_need_not_be_read_to_the_end() {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        std::fs::write(file.path(), format!("[{}]", vec!["{}"; 9 * BATCH].join(","))).unwrap();
        let mut rows = open(file.path()).unwrap();
        assert!(rows.next().is_some_and(|row| row.is_ok()));
        assert_eq!(count(file.path()), Some(9 * BATCH as u64));
    }
}
