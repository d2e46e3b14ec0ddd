//! Shows the progress of a build: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::cli::output::eprint_line;

/// Observes a build, and can stop it.
pub trait Progress: Sync {
    /// The build starts to write `tensors` tensors of `bytes` bytes in all.
    fn start(&self, _tensors: usize, _bytes: u64) {}
    /// `bytes` more bytes were written.
    fn written(&self, _bytes: u64) {}
    /// A tensor is complete.
    fn tensor(&self, _name: &str) {}
    /// The user should see this line.
    fn note(&self, _text: &str) {}
    /// Whether the build should stop and leave no output. Called several times a second.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Shows nothing and never stops the build.
pub struct Silent;
impl Progress for Silent {}

/// Time between plain lines, unless a tenth of the work is done earlier.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
#[derive(Debug)]
pub struct Console {
    bar: Option<ProgressBar>,
    total: AtomicU64,
    done: AtomicU64,
    last_line: Mutex<Option<(Instant, u64)>>,
    stop: Arc<AtomicBool>,
}

impl Console {
    /// Shows a bar if standard error is a terminal, else plain lines. The build stops when `stop` is set.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{bar:32} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta} {wide_msg}",
            );
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, total: AtomicU64::new(0), done: AtomicU64::new(0), last_line: Mutex::new(None), stop }
    }

    /// Whether to print a plain line at `done` of `total` bytes.
    fn line_due(&self, done: u64, total: u64) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match *last {
            None => true,
            Some((when, at)) => when.elapsed() >= LINE_EVERY || (done - at) * 10 >= total,
        };
        if due {
            *last = Some((Instant::now(), done));
        }
        due
    }
}

/// Shows a build that nothing but the end of the process stops.
impl Default for Console {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Progress for Console {
    fn start(&self, tensors: usize, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.set_length(bytes),
            None => eprint_line(format_args!("writing {tensors} tensors, {}", HumanBytes(bytes))),
        }
    }

    fn written(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.total.load(Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.inc(bytes),
            None if self.line_due(done, total) || done == total => {
                let percent = 100 * done / total.max(1);
                eprint_line(format_args!("{percent:3}% {} of {}", HumanBytes(done), HumanBytes(total)));
            }
            None => {}
        }
    }

    fn tensor(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprint_line(text)),
            None => eprint_line(text),
        }
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
