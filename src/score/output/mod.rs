//! Writes scored rows to JSONL, JSON, CSV, TSV or Parquet files, or to standard output.

mod kinds;
mod originals;
mod parquet;
mod replayable;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

use super::ScoreError;
use super::disk::{Disk, DiskFile, FileSystem};
use super::row::Cell;
use super::rows::{Compression, FileKind, Format};
pub(super) use replayable::{IndexedRows, Replayable};

/// How much zstd compresses; its own default.
const ZSTD_LEVEL: i32 = 3;

/// Writes `rows` to `path` in the format of its extension, and returns their number; `-` is standard output. The
/// complete file appears at `path`, or nothing does. If all of `inputs` are Parquet files, their columns keep their
/// types and values in a Parquet output.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, rows: &dyn Replayable, inputs: &[PathBuf]) -> Result<usize, ScoreError> {
    write_on(&FileSystem, path, rows, inputs)
}

/// As [`write`], on `disk`: tests use one that fails and tears.
pub(super) fn write_on(
    disk: &dyn Disk,
    path: &Path,
    rows: &dyn Replayable,
    inputs: &[PathBuf],
) -> Result<usize, ScoreError> {
    let kind = FileKind::from_path(path)?;
    if path == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        let written = write_text(&mut out, kind, rows, path)?;
        out.flush().map_err(|error| ScoreError::write(path, error))?;
        return Ok(written);
    }
    let mut unfinished = Unfinished::create(disk, path).map_err(|error| ScoreError::write(path, error))?;
    let mut out = BufWriter::new(&mut unfinished.file);
    let written = if kind.format == Format::Parquet {
        parquet::write(&mut out, rows, path, inputs)?
    } else {
        write_compressed(&mut out, kind, rows, path)?
    };
    out.flush().map_err(|error| ScoreError::write(path, error))?;
    drop(out);
    unfinished.publish(path).map_err(|error| ScoreError::write(path, error))?;
    Ok(written)
}

/// Path of an output while it is written.
pub(super) fn unfinished_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    output.with_file_name(name)
}

/// A file that is removed unless it is published.
struct Unfinished<'a> {
    disk: &'a dyn Disk,
    file: Box<dyn DiskFile>,
    path: Option<PathBuf>,
}

impl<'a> Unfinished<'a> {
    fn create(disk: &'a dyn Disk, output: &Path) -> io::Result<Self> {
        let path = unfinished_path(output);
        Ok(Self { disk, file: disk.create(&path)?, path: Some(path) })
    }

    /// Gives the file its name, so that it survives a power cut.
    fn publish(mut self, output: &Path) -> io::Result<()> {
        self.file.sync()?;
        if let Some(path) = &self.path {
            self.disk.rename(path, output)?;
        }
        self.path = None;
        self.disk.sync_name(output)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If it cannot be removed, there is nothing else to do about it.
            let _ = self.disk.remove(path);
        }
    }
}

fn write_compressed(
    out: &mut impl Write,
    kind: FileKind,
    rows: &dyn Replayable,
    path: &Path,
) -> Result<usize, ScoreError> {
    let failed = |error: io::Error| ScoreError::write(path, error);
    match kind.compression {
        Compression::None => write_text(out, kind, rows, path),
        Compression::Gzip => {
            let mut out = GzEncoder::new(out, flate2::Compression::default());
            let written = write_text(&mut out, kind, rows, path)?;
            out.finish().map_err(failed)?;
            Ok(written)
        }
        Compression::Zstd => {
            let mut out = zstd::Encoder::new(out, ZSTD_LEVEL).map_err(failed)?;
            let written = write_text(&mut out, kind, rows, path)?;
            out.finish().map_err(failed)?;
            Ok(written)
        }
    }
}

fn write_text(
    out: &mut impl Write,
    kind: FileKind,
    rows: &dyn Replayable,
    path: &Path,
) -> Result<usize, ScoreError> {
    match kind.format {
        Format::Csv { delimiter } => csv(out, rows, path, delimiter),
        _ if kind.is_array => json(out, rows, path),
        _ => jsonl(out, rows, path),
    }
}

fn jsonl(out: &mut impl Write, rows: &dyn Replayable, path: &Path) -> Result<usize, ScoreError> {
    let mut written = 0;
    for row in rows.rows()? {
        writeln!(out, "{}", row?.1.json()).map_err(|error| ScoreError::write(path, error))?;
        written += 1;
    }
    Ok(written)
}

fn json(out: &mut impl Write, rows: &dyn Replayable, path: &Path) -> Result<usize, ScoreError> {
    let failed = |error: io::Error| ScoreError::write(path, error);
    write!(out, "[").map_err(failed)?;
    let mut written = 0;
    for row in rows.rows()? {
        let separator = if written > 0 { "," } else { "" };
        write!(out, "{separator}\n{}", row?.1.json()).map_err(failed)?;
        written += 1;
    }
    writeln!(out, "\n]").map_err(failed)?;
    Ok(written)
}

/// Writes a column for every name in any row. Values that are not texts or numbers are written as JSON.
fn csv(out: &mut impl Write, rows: &dyn Replayable, path: &Path, delimiter: u8) -> Result<usize, ScoreError> {
    let names = rows.column_names()?;
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
    let failed = |error: csv::Error| ScoreError::write(path, error);
    writer.write_record(&names).map_err(failed)?;
    let mut written = 0;
    for row in rows.rows()? {
        let (_, row) = row?;
        writer.write_record(names.iter().map(|name| csv_cell(row.get(name)))).map_err(failed)?;
        written += 1;
    }
    writer.flush().map_err(|error| ScoreError::write(path, error))?;
    Ok(written)
}

fn csv_cell(cell: Option<&Cell>) -> String {
    match cell {
        None => String::new(),
        Some(cell) if cell.is_null() => String::new(),
        Some(cell) => cell.as_text().unwrap_or_else(|| cell.json().to_owned()),
    }
}
