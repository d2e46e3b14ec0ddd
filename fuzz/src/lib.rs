//! What the fuzz targets share: checkpoints and engine directories in memory, and a server on a simulated engine.
//!
//! The targets call what the programs call, so a directory on a memory file system replaces the
//! directory that a user would name on the command line.

mod checkpoint;
mod server;

pub use checkpoint::{Checkpoint, fixture};
pub use server::Server;

use tempfile::TempDir;

/// A new directory, in memory where Linux has a file system for that.
pub fn memory_directory() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a temporary directory can be created")
}
