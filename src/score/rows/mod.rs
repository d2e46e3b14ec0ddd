//! Reads the rows of JSONL, JSON, CSV, TSV and Parquet files one after the other.

mod arrow_values;
mod csv;
mod format;
mod json;
mod parquet;
mod parquet_types;
mod python_numbers;
mod signature;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Row, ScoreError};

pub(super) use format::{Compression, FileKind, Format};
pub(super) use parquet::{Batches, batches};

/// The rows of a file. Only after [`ScoreError::Row`] are there more rows.
pub type Rows = Box<dyn Iterator<Item = Result<Row, ScoreError>> + Send>;

/// Opens a file; `-` is standard input.
///
/// # Errors
/// It cannot be opened, or does not start as its format does.
pub fn open(path: &Path) -> Result<Rows, ScoreError> {
    let kind = FileKind::from_path(path)?;
    signature::check(path, kind).map_err(|error| ScoreError::read(path, error))?;
    if kind.format != Format::Parquet {
        check_regular(path, kind)?;
    }
    match kind.format {
        Format::Json => json::open(path, text::open(path, kind)?, kind),
        Format::Csv { delimiter } => csv::open(path, text::open(path, kind)?, delimiter),
        Format::Parquet => parquet::open(path),
    }
}

/// Reads a file once, to find now, and not after hours, what would be found broken at its end: an array that is not
/// closed, a quote that is not closed, a compressed file that was cut off.
///
/// # Errors
/// It is broken.
fn check_regular(path: &Path, kind: FileKind) -> Result<(), ScoreError> {
    if !is_regular(path) {
        return Ok(());
    }
    let text = text::open(path, kind)?;
    match kind.format {
        Format::Json => json::check(path, text, kind),
        Format::Csv { delimiter } => csv::check(path, text, delimiter),
        Format::Parquet => Ok(()),
    }
}

/// Whether a path leads to a file that can be read twice.
fn is_regular(path: &Path) -> bool {
    path != Path::new("-") && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// What the formats of a run's inputs say about their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputKinds {
    /// Whether a list may be a text that spells it: tables of texts have no other lists.
    pub lists_in_texts: bool,
    /// Columns that become texts in JSON, and hold something else: dates, times and floats of Parquet files.
    pub not_texts: Vec<String>,
}

impl InputKinds {
    /// Those of files; one that cannot be read says nothing.
    pub(super) fn new(inputs: &[PathBuf]) -> Self {
        let formats: Vec<_> = inputs.iter().map(|path| FileKind::from_path(path).ok()).collect();
        let is = |format: &Option<FileKind>, wanted: fn(Format) -> bool| {
            format.is_some_and(|kind| wanted(kind.format))
        };
        let lists_in_texts =
            formats.iter().any(|kind| is(kind, |format| matches!(format, Format::Csv { .. })));
        let mut not_texts = Vec::new();
        if formats.iter().all(|kind| is(kind, |format| format == Format::Parquet)) {
            for (index, path) in inputs.iter().enumerate() {
                let found = parquet::not_texts(path);
                if index == 0 {
                    not_texts = found;
                } else {
                    not_texts.retain(|name| found.contains(name));
                }
            }
        }
        Self { lists_in_texts, not_texts }
    }
}

/// Two columns of a file have the same name: a row could keep only one of them.
#[derive(Debug, thiserror::Error)]
#[error("two columns are called `{0}`; give them different names")]
struct SameName(String);

/// Checks that columns have different names.
///
/// # Errors
/// Two have the same.
fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), SameName> {
    let mut known = HashSet::new();
    match names.into_iter().find(|name| !known.insert(*name)) {
        Some(name) => Err(SameName(name.to_owned())),
        None => Ok(()),
    }
}

/// Counts the rows of a file, much faster than reading them; `None` if that fails, or the file can be read only once.
pub fn count(path: &Path) -> Option<u64> {
    let kind = FileKind::from_path(path).ok()?;
    match kind.format {
        _ if !is_regular(path) => None,
        Format::Json => json::count(text::open(path, kind).ok()?),
        Format::Csv { delimiter } => csv::count(text::open(path, kind).ok()?, delimiter),
        Format::Parquet => parquet::count(path),
    }
}

/// A row that cannot be read, while others can.
fn unreadable(
    path: &Path,
    place: String,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    text: String,
) -> ScoreError {
    ScoreError::Row { path: PathBuf::from(path), place, source: source.into(), text }
}
