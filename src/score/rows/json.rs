//! JSON: an object in each line, objects one after the other, or one array of objects.

use std::io::{BufRead, Cursor, Read};
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::python_numbers::{PythonNumbers, replaced};
use super::text::TextReader;
use super::{Compression, FileKind, Row, Rows, ScoreError, unreadable};

/// Rows of an array that are parsed ahead.
const BATCH: usize = 256;

/// A line, or an item of an array, is not an object.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", if is_repeated_key(.0) { "" } else { "it is not a JSON object: " }, without_line(.0))]
struct InvalidRow(#[source] serde_json::Error);

/// Whether an object is one but for a key that it has twice.
fn is_repeated_key(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("the key `")
}

/// Every line is a document of its own, so serde's line number would mislead.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// How objects are put together, by what a file starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Lines,
    /// Objects that may take several lines each.
    Objects,
    Array,
}

/// Finds out how the objects are put together, and returns the text from its start.
fn detect(mut text: TextReader) -> std::io::Result<(Framing, Box<dyn BufRead + Send>)> {
    let mut start = Vec::new();
    loop {
        let line = start.len();
        if text.read_until(b'\n', &mut start)? == 0 || !start[line..].trim_ascii().is_empty() {
            break;
        }
    }
    let first = start.trim_ascii();
    let framing = if first.starts_with(b"[") {
        Framing::Array
    } else if first.starts_with(b"{") && !is_whole(first) && is_cut_off(&replaced(first)) {
        Framing::Objects
    } else {
        Framing::Lines
    };
    Ok((framing, Box::new(Cursor::new(start).chain(text))))
}

fn is_whole(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// Whether more lines could make it valid: the start of an object that was printed on several.
fn is_cut_off(line: &[u8]) -> bool {
    let ends_like_a_start = line.ends_with(b"{") || line.ends_with(b",") || line.ends_with(b"[");
    ends_like_a_start && serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// Opens a text of JSON.
pub(super) fn open(path: &Path, text: TextReader, _kind: FileKind) -> Result<Rows, ScoreError> {
    let (framing, text) = detect(text).map_err(|error| ScoreError::read(path, error))?;
    Ok(match framing {
        Framing::Lines => lines(path, text),
        Framing::Objects => parsed_ahead(path, text, |text, take| {
            let text = PythonNumbers::new(text);
            for row in serde_json::Deserializer::from_reader(text).into_iter::<Box<RawValue>>() {
                if !take(row?) {
                    break;
                }
            }
            Ok(())
        }),
        Framing::Array => parsed_ahead(path, text, |text, take| for_each_item(text, take)),
    })
}

/// Checks what [`open`] would find broken only later. Lines are checked one by one when they are read.
///
/// # Errors
/// It is broken.
pub(super) fn check(path: &Path, text: TextReader, kind: FileKind) -> Result<(), ScoreError> {
    let (framing, mut text) = detect(text).map_err(|error| ScoreError::read(path, error))?;
    match framing {
        Framing::Array => {
            for_each_item(text, |_: IgnoredAny| true).map_err(|error| ScoreError::read(path, error))
        }
        _ if kind.compression != Compression::None => {
            std::io::copy(&mut text, &mut std::io::sink()).map_err(|error| ScoreError::read(path, error))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn count(text: TextReader) -> Option<u64> {
    let mut rows = 0;
    let (framing, text) = detect(text).ok()?;
    match framing {
        Framing::Lines => {
            rows =
                text.split(b'\n').map_while(Result::ok).filter(|line| !line.trim_ascii().is_empty()).count()
                    as u64
        }
        Framing::Objects => {
            let text = PythonNumbers::new(text);
            for row in serde_json::Deserializer::from_reader(text).into_iter::<IgnoredAny>() {
                row.ok()?;
                rows += 1;
            }
        }
        Framing::Array => {
            let counted = for_each_item(text, |_: IgnoredAny| {
                rows += 1;
                true
            });
            counted.ok()?;
        }
    }
    Some(rows)
}

fn lines(path: &Path, text: Box<dyn BufRead + Send>) -> Rows {
    let path = path.to_owned();
    let lines = text.split(b'\n').enumerate();
    Box::new(lines.filter_map(move |(index, line)| parse_line(&path, index, line)))
}

/// Parses a line; `None` for an empty one.
fn parse_line(path: &Path, index: usize, line: std::io::Result<Vec<u8>>) -> Option<Result<Row, ScoreError>> {
    let line = match line {
        Ok(line) => line,
        Err(error) => return Some(Err(ScoreError::read(path, error))),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(&line);
    if line.trim_ascii().is_empty() {
        return None;
    }
    let row = serde_json::from_slice(line).or_else(|error| {
        // The error is about the line as it is.
        serde_json::from_slice(&replaced(line))
            .map_err(|again: serde_json::Error| if is_repeated_key(&again) { again } else { error })
    });
    Some(row.map_err(|error| {
        let text = String::from_utf8_lossy(line).into_owned();
        unreadable(path, format!("line {}", index + 1), InvalidRow(error), text)
    }))
}

/// Rows that a thread parses as far ahead as the channel has room. `parse` passes each to its argument, until that
/// returns false.
fn parsed_ahead(
    path: &Path,
    text: Box<dyn BufRead + Send>,
    parse: impl FnOnce(Box<dyn BufRead + Send>, &mut dyn FnMut(Box<RawValue>) -> bool) -> serde_json::Result<()>
    + Send
    + 'static,
) -> Rows {
    let (send, receive) = std::sync::mpsc::sync_channel(BATCH);
    std::thread::spawn(move || {
        let parsed = parse(text, &mut |row| send.send(Ok(row)).is_ok());
        if let Err(error) = parsed {
            // Fails if the reader stopped early; then nobody needs the error.
            let _ = send.send(Err(error));
        }
    });
    let path = path.to_owned();
    Box::new(receive.into_iter().enumerate().map(move |(index, row)| {
        let raw: Box<RawValue> = row.map_err(|error| ScoreError::read(&path, error))?;
        Row::parse(raw.get()).map_err(|error| {
            let reason: Box<dyn std::error::Error + Send + Sync> = if raw.get().starts_with('{') {
                Box::new(InvalidRow(error))
            } else {
                "it is not an object".into()
            };
            unreadable(&path, format!("row {}", index + 1), reason, raw.get().to_owned())
        })
    }))
}

/// Passes each item of an array to `take`, until that returns false.
fn for_each_item<T: DeserializeOwned>(
    text: impl BufRead,
    take: impl FnMut(T) -> bool,
) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_reader(PythonNumbers::new(text));
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
