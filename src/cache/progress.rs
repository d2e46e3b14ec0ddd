//! The progress of a build in a log.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::builder::Progress;

/// Writes a log line at every tenth of a build, for logs that programs read.
#[derive(Default)]
pub struct LoggedProgress {
    total: AtomicU64,
    done: AtomicU64,
}

impl Progress for LoggedProgress {
    fn start(&self, tensors: usize, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
        tracing::info!(tensors, bytes, "building the engine");
    }

    fn written(&self, bytes: u64) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed).max(1);
        let (tenths, done) = (10 * before / total, before + bytes);
        if 10 * done / total > tenths {
            tracing::info!(bytes = done, of = total, "building the engine");
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }
}
