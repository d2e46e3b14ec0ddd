//! The signatures of the rows of a file.

use std::path::{Path, PathBuf};

use crate::manifest::EngineIdentity;
use crate::score::ScoreError;
use crate::score::forms::RowLayout;
use crate::score::rows;
use crate::score::scored_file::ScoredFileArgs;
use crate::score::signatures::{CheckedRow, check_row};
use crate::score::summary::counted;
use crate::signing::PublicKey;

/// Differences that are printed.
const MAX_PRINTED: usize = 10;

/// What checking the rows of a file found.
#[derive(Default)]
pub(super) struct SignedFile {
    rows: usize,
    valid: usize,
    without_scores: usize,
    /// Number of conversations whose scores are not as they were signed, or not signed.
    different: usize,
    /// Sentences about the first of them.
    differences: Vec<String>,
    /// In the order in which they first occur.
    engines: Vec<EngineIdentity>,
}

impl SignedFile {
    /// Checks all rows of a file.
    ///
    /// # Errors
    /// It cannot be read, or its form is not known.
    pub(super) fn check(key: &PublicKey, path: &PathBuf, file: &ScoredFileArgs) -> Result<Self, ScoreError> {
        let (columns, form) = (file.columns(None)?, file.form_of(path));
        let (mut checked, mut layout) = (Self::default(), None);
        for row in rows::open(path)? {
            let row = row?;
            checked.rows += 1;
            if columns.is_unreadable(&row) {
                checked.without_scores += 1;
                continue;
            }
            let layout = match &layout {
                Some(layout) => layout,
                None => layout.insert(RowLayout::detect(&row, &form)?),
            };
            let CheckedRow { conversations: results, other } = check_row(key, &row, layout, &columns);
            if let Some(mismatch) = other {
                checked.add_different(format!("row {}: {mismatch}", checked.rows));
            } else if results.iter().all(Option::is_none) {
                checked.without_scores += 1;
            }
            for (place, result) in results.iter().enumerate() {
                match result {
                    None => {}
                    Some(Ok(engine)) => checked.add_valid(engine),
                    Some(Err(mismatch)) => {
                        let responses = results.len();
                        let place = if responses == 1 {
                            String::new()
                        } else {
                            format!(", response {} of {responses}", place + 1)
                        };
                        checked.add_different(format!("row {}{place}: {mismatch}", checked.rows));
                    }
                }
            }
        }
        Ok(checked)
    }

    fn add_valid(&mut self, engine: &EngineIdentity) {
        self.valid += 1;
        if !self.engines.contains(engine) {
            self.engines.push(engine.clone());
        }
    }

    fn add_different(&mut self, difference: String) {
        self.different += 1;
        if self.differences.len() < MAX_PRINTED {
            self.differences.push(difference);
        }
    }

    /// Whether some scores are signed, and all that there are.
    pub(super) fn is_valid(&self) -> bool {
        self.different == 0 && self.valid > 0
    }

    /// What was found, for people.
    pub(super) fn report(&self, path: &Path) -> String {
        let path = path.display();
        let mut text = String::new();
        for difference in &self.differences {
            text += &format!("{path}, {difference}\n");
        }
        if self.different > self.differences.len() {
            text += &format!("and {} more\n", self.different - self.differences.len());
        }
        let verdict = if self.is_valid() { "valid" } else { "not valid" };
        let rows = counted(self.rows as u64, "row");
        text += &format!("{verdict}: {path}: {rows}, {} signed", counted(self.valid as u64, "response"));
        if self.without_scores > 0 {
            text += &format!(", {} without scores", counted(self.without_scores as u64, "row"));
        }
        for EngineIdentity { profile, digest } in &self.engines {
            text += &format!("; engine {profile}, digest {digest}");
        }
        text + "\n"
    }
}
