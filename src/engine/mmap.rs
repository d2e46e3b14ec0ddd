//! Maps files into memory; nothing else in the crate does.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Maps a whole file read-only. The pages belong to the page cache: the system reads them on first access and may drop
/// them when memory runs short.
///
/// # Errors
/// The file cannot be opened, is not a regular file, or cannot be mapped.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    // Before it is opened: opening a named pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = File::open(path)?;
    // SAFETY: the bytes can change or vanish only if someone rewrites or truncates the file in place while an engine is
    // built from it. docs/engines-cpu.md requires that nobody does; what is served is read into private memory.
    unsafe { Mmap::map(&file) }
}
