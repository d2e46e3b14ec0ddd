//! The rows that are done, on disk, so that a run which was killed continues.
//!
//! `OUTPUT.partial` begins with a line that says what the run is (inputs, options, what scores) and
//! then holds one scored row in each line, in the order of the input. A row counts once its line is
//! complete: what a kill left of a line is cut off. The number of lines is then the number of input
//! rows to pass over.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Row, ScoreError};

/// Rows reach the disk after this time at the latest; a power cut loses no more, a kill less.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// What a run is: only the same run continues a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Format of the journal.
    pub assay_journal: u32,
    /// [`crate::manifest::NUMERICS`]; 0 in journals from before it was recorded.
    #[serde(default)]
    pub numerics: u32,
    /// Each input: its path, bytes and time of change; of standard input only the path.
    pub inputs: Vec<String>,
    /// What scores.
    pub judge: String,
    /// How rows hold conversations.
    pub shape: String,
    /// What the added columns are called and follow.
    pub columns: String,
}

/// A journal open for appending.
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    synced: Instant,
    /// Rows that were in it when it was opened.
    pub done: usize,
}

/// Rows of a journal, or why there are no more.
pub type Rows = Box<dyn Iterator<Item = Result<Row, ScoreError>> + Send>;

/// Where the journal of an output is.
pub fn path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    output.with_file_name(name)
}

impl Journal {
    /// Opens the journal of `output`, or begins one.
    ///
    /// # Errors
    /// It is of another run, or cannot be read or written.
    pub fn open(output: &Path, run: &Run) -> Result<Self, ScoreError> {
        let path = path(output);
        let failed = |error: std::io::Error| ScoreError::write(&path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        file.try_lock().map_err(|_| {
            ScoreError::Occupied(format!("another run is writing {} now: wait for its end", path.display()))
        })?;
        let (whole, lines) = complete_lines(&file).map_err(failed)?;
        let fresh = lines == 0;
        if !fresh {
            check(&path, &file, run)?;
        }
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut journal = Self {
            path: path.clone(),
            file: BufWriter::new(file),
            synced: Instant::now(),
            done: lines.saturating_sub(1),
        };
        if fresh {
            journal.line(&serde_json::to_string(run).map_err(|error| ScoreError::write(&path, error))?)?;
        }
        Ok(journal)
    }

    /// Appends a row.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn append(&mut self, row: &Row) -> Result<(), ScoreError> {
        let line = serde_json::to_string(row).map_err(|error| ScoreError::write(&self.path, error))?;
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> Result<(), ScoreError> {
        let written = writeln!(self.file, "{line}").and_then(|()| match self.synced.elapsed() > SYNC_EVERY {
            true => self.sync(),
            false => self.file.flush(),
        });
        written.map_err(|error| ScoreError::write(&self.path, error))
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.synced = Instant::now();
        self.file.flush()?;
        self.file.get_ref().sync_data()
    }

    /// Everything to the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(&mut self) -> Result<&Path, ScoreError> {
        self.sync().map_err(|error| ScoreError::write(&self.path, error))?;
        Ok(&self.path)
    }

    /// The rows that were in it when it was opened.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn rows_done(&self) -> Result<Rows, ScoreError> {
        Ok(Box::new(rows(&self.path)?.take(self.done)))
    }
}

/// Bytes and number of the lines that are complete.
fn complete_lines(mut file: &File) -> std::io::Result<(u64, usize)> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut bytes, mut lines, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        // A power cut may leave zeros where data was due.
        if !line.ends_with(b"\n") || serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_err() {
            return Ok((bytes, lines));
        }
        bytes += read as u64;
        lines += 1;
    }
}

fn check(path: &Path, mut file: &File, run: &Run) -> Result<(), ScoreError> {
    let mut first = String::new();
    file.seek(SeekFrom::Start(0)).map_err(|error| ScoreError::read(path, error))?;
    BufReader::new(file).read_line(&mut first).map_err(|error| ScoreError::read(path, error))?;
    let other: Run = serde_json::from_str(&first).map_err(|_| {
        ScoreError::Occupied(format!("{} is no journal of `assay score`: move it away", path.display()))
    })?;
    let differs = [
        ("inputs", other.inputs != run.inputs),
        ("engine or server", other.judge != run.judge),
        ("shape of the rows", other.shape != run.shape),
        ("columns", other.columns != run.columns),
        ("version", other.assay_journal != run.assay_journal),
        ("numerics revision", other.numerics != run.numerics),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((what, _)) => Err(ScoreError::Occupied(format!(
            "{} holds rows of another run (other {what}): give that run's inputs and options to continue it, \
             another --output, or delete it to begin anew",
            path.display()
        ))),
    }
}

/// The rows of a journal.
///
/// # Errors
/// It cannot be opened.
pub fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Row, ScoreError>> + use<>, ScoreError> {
    let file = File::open(path).map_err(|error| ScoreError::read(path, error))?;
    let path = path.to_owned();
    Ok(BufReader::new(file).lines().skip(1).map(move |line| {
        let line = line.map_err(|error| ScoreError::read(&path, error))?;
        serde_json::from_str(&line).map_err(|error| ScoreError::read(&path, error))
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(judge: &str) -> Run {
        let text = String::new;
        Run {
            assay_journal: 1,
            numerics: 1,
            inputs: vec!["a".into()],
            judge: judge.into(),
            shape: text(),
            columns: text(),
        }
    }

    fn row(id: u64) -> Row {
        json!({"id": id}).as_object().unwrap().clone()
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_rest_continued() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let mut journal = Journal::open(&output, &run("engine")).unwrap();
        journal.append(&row(0)).unwrap();
        journal.append(&row(1)).unwrap();
        let path = journal.finish().unwrap().to_owned();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        // Wherever the end is torn off, continuing gives the same bytes.
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut journal = Journal::open(&output, &run("engine")).unwrap();
            for id in journal.done as u64..2 {
                journal.append(&row(id)).unwrap();
            }
            journal.finish().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "torn at {end}");
        }
        std::fs::write(&path, [whole.as_slice(), &[0; 40], b"\n"].concat()).unwrap();
        assert_eq!(Journal::open(&output, &run("engine")).unwrap().done, 2);
    }

    #[test]
    fn a_journal_of_another_run_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        Journal::open(&output, &run("one")).unwrap().append(&row(0)).unwrap();
        let before = std::fs::read(path(&output)).unwrap();
        let error = Journal::open(&output, &run("another")).err().unwrap().to_string();
        assert!(error.contains("engine or server"), "{error}");
        let error = Journal::open(&output, &Run { numerics: 2, ..run("one") }).err().unwrap().to_string();
        assert!(error.contains("numerics revision"), "{error}");
        assert_eq!(std::fs::read(path(&output)).unwrap(), before);
    }
}
