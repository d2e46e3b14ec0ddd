//! Progress of a run: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::rows;
use super::summary::counted;
use crate::cli::output::eprint_line;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct ScoreProgress {
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    rows: u64,
    responses: u64,
    tokens: u64,
}

impl ScoreProgress {
    /// Progress over the rows of `inputs`, `done` of which are scored already.
    pub(super) fn new(inputs: &[PathBuf], done: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| progress_bar(inputs, done as u64));
        let now = Instant::now();
        Self { bar, started: now, last_line: now, rows: 0, responses: 0, tokens: 0 }
    }

    /// Counts a row, with the number of its scored responses and of their tokens.
    pub(super) fn add(&mut self, responses: usize, tokens: usize) {
        self.rows += 1;
        self.responses += responses as u64;
        self.tokens += tokens as u64;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.rows);
                bar.set_message(self.text());
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprint_line(self.text());
            }
            None => {}
        }
    }

    fn text(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = |count: u64| HumanCount((count as f64 / seconds) as u64);
        format!(
            "{}, {}: {} responses/s, {} tokens/s",
            counted(self.rows, "row"),
            counted(self.responses, "response"),
            rate(self.responses),
            rate(self.tokens)
        )
    }

    /// Removes the bar, and prints the final numbers.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.rows > 0 {
            eprint_line(self.text());
        }
    }
}

/// A bar whose length is known once a thread has counted the rows, while the first are scored.
fn progress_bar(inputs: &[PathBuf], done: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {percent:>3}%  eta {eta}  {wide_msg}");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (inputs, counting) = (inputs.to_vec(), bar.clone());
    std::thread::spawn(move || {
        if let Some(rows) = inputs.iter().map(|path| rows::count(path)).sum::<Option<u64>>() {
            counting.set_length(rows.saturating_sub(done));
        }
    });
    bar
}
