//! The journal: the rows that are scored, on disk, so that an interrupted run can continue.
//!
//! `OUTPUT.partial` starts with a line that identifies the run (inputs, options, what scores), and then
//! has one scored row in each line, in the order of the input. A row counts once its line is complete: an
//! incomplete last line is cut off. The number of rows is then the number of input rows to skip.

use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ScoreError;
use super::disk::{Disk, DiskFile, FileSystem};
use super::row::Row;

/// Rows are on the disk after this time at the latest: what a power cut can lose. A kill loses less.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// Identifies a run: only the same run can continue a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunIdentity {
    /// Version of the journal's format.
    pub(super) assay_journal: u32,
    /// [`crate::manifest::NUMERICS`].
    pub(super) numerics: u32,
    /// Path, size and time of the last change of each input; for standard input, only `-`.
    pub(super) inputs: Vec<String>,
    /// The engine, or the server and its model.
    #[serde(rename = "backend")]
    pub(super) source: String,
    /// What a language model is asked; empty if that is up to the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) questions: String,
    /// The form of the rows, and how they are read.
    pub(super) form: String,
    /// The prefix of the added columns, and the score that responses are ranked by.
    pub(super) columns: String,
}

/// A journal that is open for appending.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: BufWriter<Box<dyn DiskFile>>,
    synced: Instant,
    /// Number of rows that it had when it was opened.
    pub(super) done: usize,
}

/// Rows of a journal.
pub(super) type JournalRows = Box<dyn Iterator<Item = Result<Row, ScoreError>> + Send>;

/// Path of the journal of an output.
pub(super) fn path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    output.with_file_name(name)
}

impl Journal {
    /// Opens the journal of `output`, or creates it.
    ///
    /// # Errors
    /// It is of another run, in use, or cannot be read or written.
    pub(super) fn open(output: &Path, run: &RunIdentity) -> Result<Self, ScoreError> {
        Self::open_on(Arc::new(FileSystem), output, run)
    }

    /// The same on any disk.
    pub(super) fn open_on(disk: Arc<dyn Disk>, output: &Path, run: &RunIdentity) -> Result<Self, ScoreError> {
        let path = path(output);
        let failed = |error: io::Error| ScoreError::write(&path, error);
        let mut file = disk.open_or_create(&path).map_err(failed)?;
        if !file.try_lock() {
            return Err(ScoreError::JournalInUse(path));
        }
        let (complete_bytes, lines) = complete_lines(&mut *file).map_err(failed)?;
        // Without a row there is nothing to continue: whatever run began it, this one replaces it.
        let is_new = lines <= 1;
        if is_new {
            check_is_journal(&path, &mut *file)?;
        } else {
            check_identity(&path, &mut *file, run)?;
        }
        file.set_len(if is_new { 0 } else { complete_bytes }).map_err(failed)?;
        // What is cut off must not come back behind new rows.
        file.sync().map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut journal = Self {
            disk,
            path: path.clone(),
            file: BufWriter::new(file),
            synced: Instant::now(),
            done: if is_new { 0 } else { lines - 1 },
        };
        if is_new {
            let line = serde_json::to_string(run).map_err(|error| ScoreError::write(&path, error))?;
            journal.append_line(&line)?;
            journal.sync_start().map_err(|error| ScoreError::write(&path, error))?;
        }
        Ok(journal)
    }

    /// Appends a row.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn append(&mut self, row: &Row) -> Result<(), ScoreError> {
        self.append_line(&row.json())
    }

    fn append_line(&mut self, line: &str) -> Result<(), ScoreError> {
        self.try_append_line(line).map_err(|source| ScoreError::Journal { path: self.path.clone(), source })
    }

    fn try_append_line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.file, "{line}")?;
        if self.synced.elapsed() > SYNC_EVERY { self.sync() } else { self.file.flush() }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.synced = Instant::now();
        self.file.flush()?;
        self.file.get_mut().sync()
    }

    /// Lets the journal and its first line survive a power cut, before any rows do.
    fn sync_start(&mut self) -> io::Result<()> {
        self.sync()?;
        self.disk.sync_name(&self.path)
    }

    /// Writes everything to the disk, and returns the journal's path.
    ///
    /// # Errors
    /// The file cannot be written.
    fn finish(&mut self) -> Result<&Path, ScoreError> {
        self.sync().map_err(|source| ScoreError::Journal { path: self.path.clone(), source })?;
        Ok(&self.path)
    }

    /// Lets `write` make the output of the complete journal, and then removes the journal.
    ///
    /// # Errors
    /// A file cannot be written. The journal stays.
    pub(super) fn conclude<T>(
        mut self,
        write: impl FnOnce(&Path) -> Result<T, ScoreError>,
    ) -> Result<T, ScoreError> {
        let written = write(self.finish()?)?;
        self.disk.remove(&self.path).map_err(|error| ScoreError::write(&self.path, error))?;
        Ok(written)
    }

    /// The rows that it had when it was opened.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn rows_done(&self) -> Result<JournalRows, ScoreError> {
        Ok(Box::new(rows_on(&*self.disk, &self.path)?.take(self.done)))
    }
}

/// Size in bytes and number of the complete lines.
fn complete_lines(file: &mut dyn DiskFile) -> io::Result<(u64, usize)> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut bytes, mut lines, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        // After a power cut there may be zeros in place of data.
        if !line.ends_with(b"\n") || serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_err() {
            return Ok((bytes, lines));
        }
        bytes += read as u64;
        lines += 1;
    }
}

/// Checks that a file without rows is a journal, or the start of one that was cut off: nothing else is replaced. After
/// a power cut there may be zeros in place of data.
fn check_is_journal(path: &Path, file: &mut dyn DiskFile) -> Result<(), ScoreError> {
    const START: &str = "{\"assay_journal\":";
    let first = first_line(path, file)?;
    if first.bytes().zip(START.bytes()).all(|(found, expected)| found == expected || found == 0) {
        Ok(())
    } else {
        Err(ScoreError::NotAJournal(path.to_owned()))
    }
}

fn first_line(path: &Path, file: &mut dyn DiskFile) -> Result<String, ScoreError> {
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(|error| ScoreError::read(path, error))?;
    BufReader::new(file).read_until(b'\n', &mut first).map_err(|error| ScoreError::read(path, error))?;
    Ok(String::from_utf8_lossy(&first).into_owned())
}

/// Checks that a journal is of this run.
fn check_identity(path: &Path, file: &mut dyn DiskFile, run: &RunIdentity) -> Result<(), ScoreError> {
    let first = first_line(path, file)?;
    let other: RunIdentity =
        serde_json::from_str(&first).map_err(|_| ScoreError::NotAJournal(path.to_owned()))?;
    let comparisons = [
        ("version", other.assay_journal != run.assay_journal),
        ("inputs", other.inputs != run.inputs),
        ("questions", other.questions != run.questions),
        ("engine or server", other.source != run.source),
        ("form of the rows", other.form != run.form),
        ("columns", other.columns != run.columns),
        ("numerics revision", other.numerics != run.numerics),
    ];
    for (difference, differs) in comparisons {
        if differs {
            return Err(ScoreError::OtherRun { path: path.to_owned(), difference });
        }
    }
    Ok(())
}

/// The rows of a journal.
///
/// # Errors
/// It cannot be opened.
pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Row, ScoreError>> + use<>, ScoreError> {
    rows_on(&FileSystem, path)
}

/// The same on any disk.
pub(super) fn rows_on(
    disk: &dyn Disk,
    path: &Path,
) -> Result<impl Iterator<Item = Result<Row, ScoreError>> + use<>, ScoreError> {
    let file = disk.open(path).map_err(|error| ScoreError::read(path, error))?;
    let path = path.to_owned();
    Ok(BufReader::new(file).lines().skip(1).map(move |line| {
        let line = line.map_err(|error| ScoreError::read(&path, error))?;
        Row::parse(&line).map_err(|error| ScoreError::read(&path, error))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: &str) -> RunIdentity {
        RunIdentity {
            assay_journal: 1,
            numerics: 1,
            inputs: vec!["a".into()],
            source: source.into(),
            questions: String::new(),
            form: String::new(),
            columns: String::new(),
        }
    }

    fn row(id: u64) -> Row {
        Row::parse(&format!("{{\"id\":{id}}}")).unwrap()
    }

    #[test]
    fn an_incomplete_line_is_cut_off_and_the_run_continues() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let mut journal = Journal::open(&output, &run("engine")).unwrap();
        journal.append(&row(0)).unwrap();
        journal.append(&row(1)).unwrap();
        let path = journal.finish().unwrap().to_owned();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        // Wherever the file is cut off, continuing gives the same bytes.
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut journal = Journal::open(&output, &run("engine")).unwrap();
            for id in journal.done as u64..2 {
                journal.append(&row(id)).unwrap();
            }
            journal.finish().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut off at {end}");
        }
        std::fs::write(&path, [whole.as_slice(), &[0; 40], b"\n"].concat()).unwrap();
        assert_eq!(Journal::open(&output, &run("engine")).unwrap().done, 2);
    }

    #[test]
    fn a_journal_of_another_run_is_left_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        Journal::open(&output, &run("one")).unwrap().append(&row(0)).unwrap();
        let before = std::fs::read(path(&output)).unwrap();
        let error = Journal::open(&output, &run("another")).err().unwrap().to_string();
        assert!(error.contains("engine or server"), "{error}");
        let other = RunIdentity { questions: "Is it?".into(), ..run("another") };
        let error = Journal::open(&output, &other).err().unwrap().to_string();
        assert!(error.contains("(different questions)"), "{error}");
        let other = RunIdentity { numerics: 2, ..run("one") };
        let error = Journal::open(&output, &other).err().unwrap().to_string();
        assert!(error.contains("numerics revision"), "{error}");
        assert_eq!(std::fs::read(path(&output)).unwrap(), before);
    }

    #[test]
    fn a_journal_without_rows_is_replaced_and_another_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        drop(Journal::open(&output, &run("one")).unwrap());
        let mut journal = Journal::open(&output, &run("another")).unwrap();
        journal.append(&row(0)).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&output, &run("another")).unwrap().done, 1);
        for other in ["", "{\"assay_jour"] {
            std::fs::write(path(&output), other).unwrap();
            assert_eq!(Journal::open(&output, &run("one")).unwrap().done, 0);
        }
        for other in ["mine", "{\"id\": 1}\n", "{\"id\": 1}\n{\"id\": 2}\n"] {
            std::fs::write(path(&output), other).unwrap();
            assert!(
                matches!(Journal::open(&output, &run("one")), Err(ScoreError::NotAJournal(_))),
                "{other}"
            );
            assert_eq!(std::fs::read_to_string(path(&output)).unwrap(), other);
        }
    }
}
