//! What Ctrl-C does to a run: every scored row is in the journal already, so the process only says how to go on.

use std::path::{Path, PathBuf};

use super::journal;
use super::output::unfinished_path;
use crate::cli::output::eprint_line;
use crate::engine::exit_now;

/// Exit status of a process that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Ends the process at Ctrl-C, with a line that says how to continue the run that writes `output`.
pub(super) fn exit_on_interrupt(output: &Path) {
    let (journal, unfinished): (PathBuf, PathBuf) = (journal::path(output), unfinished_path(output));
    let has_journal = output != Path::new("-");
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        // It is written again from the journal; if there is none, nothing is removed.
        let _ = std::fs::remove_file(unfinished);
        if has_journal && journal.exists() {
            let journal = journal.display();
            eprint_line(format_args!(
                "\ninterrupted; the rows scored so far are in {journal}: run the same command again to continue"
            ));
        } else {
            eprint_line("\ninterrupted; nothing was written");
        }
        exit_now(INTERRUPTED);
    });
}
