//! Comma- and tab-separated values.

use std::io::BufRead;
use std::path::Path;

use csv::ByteRecord;

use super::text::TextReader;
use super::{Rows, SameName, ScoreError, unreadable};
use crate::score::row::{Cell, Row};

/// Why a file is not read as comma- or tab-separated.
#[derive(Debug, thiserror::Error)]
enum CsvError {
    #[error(transparent)]
    SameName(#[from] SameName),
    #[error(
        "its header is one column, `{header}`, which looks separated by {other}; separate it by {expected}, for example \
         with pandas: read_csv(..., sep={sep:?}).to_csv(...)"
    )]
    Delimiter { header: String, other: &'static str, expected: &'static str, sep: char },
    #[error(
        "the quote that opens in line {0} is never closed; close it, or double it if it is part of the text"
    )]
    OpenQuote(u64),
    #[error(
        "a quote in line {line} ends a value and is followed by {found:?} in place of {expected} or the end of the line; \
         double each quote that is part of a text, for example with Spark's .option(\"escape\", \"\\\"\")"
    )]
    StrayQuote { line: u64, found: char, expected: &'static str },
    #[error("it has {found} values, and the header has {expected}")]
    Length { found: usize, expected: usize },
    #[error("it is not encoded in UTF-8")]
    NotUtf8,
}

/// Separators that files have in place of a comma or tab.
const SEPARATORS: [(char, &str); 4] = [(';', "semicolons"), ('\t', "tabs"), ('|', "bars"), (',', "commas")];

fn reader(text: TextReader, delimiter: u8) -> csv::Reader<TextReader> {
    csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text)
}

pub(super) fn open(path: &Path, text: TextReader, delimiter: u8) -> Result<Rows, ScoreError> {
    let mut reader = reader(text, delimiter);
    let names = reader.headers().map_err(|error| ScoreError::read(path, error))?.clone();
    check_names(&names, delimiter).map_err(|error| ScoreError::read(path, error))?;
    let path = path.to_owned();
    Ok(Box::new(reader.into_byte_records().enumerate().map(move |(index, record)| {
        let record = record.map_err(|error| ScoreError::read(&path, error))?;
        row(&names, &record).map_err(|error| {
            unreadable(&path, format!("row {}", index + 1), error, original(&record, delimiter))
        })
    })))
}

fn check_names(names: &csv::StringRecord, delimiter: u8) -> Result<(), CsvError> {
    super::check_names(names)?;
    let (Some(header), 1) = (names.get(0), names.len()) else { return Ok(()) };
    for (separator, other) in SEPARATORS {
        if separator != char::from(delimiter) && header.contains(separator) {
            let expected = separators(delimiter);
            return Err(CsvError::Delimiter { header: header.to_owned(), other, expected, sep: separator });
        }
    }
    Ok(())
}

fn separators(delimiter: u8) -> &'static str {
    if delimiter == b'\t' { "tabs" } else { "commas" }
}

fn row(names: &csv::StringRecord, record: &ByteRecord) -> Result<Row, CsvError> {
    if record.len() != names.len() {
        return Err(CsvError::Length { found: record.len(), expected: names.len() });
    }
    let mut row = Row::default();
    for (name, value) in names.iter().zip(record) {
        let value = std::str::from_utf8(value).map_err(|_| CsvError::NotUtf8)?;
        row.push(name.to_owned(), Cell::text(value));
    }
    Ok(row)
}

/// The text of a record, with quotes where they are necessary.
fn original(record: &ByteRecord, delimiter: u8) -> String {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).flexible(true).from_writer(Vec::new());
    // Writing to memory cannot fail.
    let _ = writer.write_byte_record(record);
    let line = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()
}

pub(super) fn count(text: TextReader, delimiter: u8) -> Option<u64> {
    Some(reader(text, delimiter).into_byte_records().count() as u64)
}

/// Checks that every quote is closed, and that nothing follows one that closes a value: the reader would take the rest
/// of the file for one value, or tear a value apart where quotes are escaped by a backslash.
///
/// # Errors
/// One is not, something does, or the file cannot be read.
pub(super) fn check(path: &Path, mut text: TextReader, delimiter: u8) -> Result<(), ScoreError> {
    let mut quotes = Quotes { state: State::Start, line: 1, opened: 1 };
    loop {
        let bytes = text.fill_buf().map_err(|error| ScoreError::read(path, error))?;
        if bytes.is_empty() {
            break;
        }
        for byte in bytes {
            quotes.step(*byte, delimiter).map_err(|error| ScoreError::read(path, error))?;
        }
        let read = bytes.len();
        text.consume(read);
    }
    if quotes.state == State::Quoted {
        return Err(ScoreError::read(path, CsvError::OpenQuote(quotes.opened)));
    }
    Ok(())
}

/// Follows the quotes of a file as the reader does.
struct Quotes {
    state: State,
    line: u64,
    /// Line of the last quote that was opened.
    opened: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a value, the only place where a quote opens.
    Start,
    Plain,
    Quoted,
    /// After a quote in a quoted value: its end, or the first of two.
    Closing,
}

impl Quotes {
    fn step(&mut self, byte: u8, delimiter: u8) -> Result<(), CsvError> {
        self.line += u64::from(byte == b'\n');
        let is_end = byte == delimiter || byte == b'\n' || byte == b'\r';
        self.state = match self.state {
            State::Start if byte == b'"' => {
                self.opened = self.line;
                State::Quoted
            }
            State::Quoted if byte == b'"' => State::Closing,
            State::Quoted => State::Quoted,
            State::Closing if byte == b'"' => State::Quoted,
            _ if is_end => State::Start,
            State::Closing => {
                let found = if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER };
                return Err(CsvError::StrayQuote { line: self.line, found, expected: separators(delimiter) });
            }
            State::Start | State::Plain => State::Plain,
        };
        Ok(())
    }
}
