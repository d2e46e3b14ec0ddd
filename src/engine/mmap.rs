//! The one place that maps files into memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Maps the whole of a file, read-only. Its pages are the page cache's own: they are read when first
/// touched and given back when memory runs short.
///
/// # Errors
/// The file cannot be opened, is not a regular file, or cannot be mapped.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    // SAFETY: the bytes could change or vanish under us only if someone rewrote or cut the file in
    // place while it is in use. Checkpoints and engines are replaced by renaming, never rewritten; that
    // is the condition under which we run, and docs/engines.md tells it to users.
    unsafe { Mmap::map(&file) }
}
