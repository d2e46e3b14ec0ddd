//! Reads small files that others may have made, in bounded time and memory.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read};
use std::path::Path;

/// Content of a regular file of at most `most` bytes.
///
/// # Errors
/// Besides those of reading: it is a device or a pipe, which could block or never end, or it is larger.
pub(crate) fn read_plain_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let refuse = |reason: String| Err(Error::new(ErrorKind::InvalidData, reason));
    // Before it is opened: opening a named pipe would wait for a writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return refuse("it is not a regular file".to_owned());
    }
    if metadata.len() > most {
        return refuse(format!("it has {} bytes, more than such a file can have", metadata.len()));
    }
    let mut content = Vec::new();
    // It may grow meanwhile, and the files of /proc say that they are empty.
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return refuse(format!("it has more than {most} bytes, more than such a file can have"));
    }
    Ok(content)
}

/// Text of a regular file of at most `most` bytes.
///
/// # Errors
/// Those of [`read_plain_file`], and it is not UTF-8.
pub(crate) fn read_plain_text(path: &Path, most: u64) -> io::Result<String> {
    let content = read_plain_file(path, most)?;
    String::from_utf8(content).map_err(|error| Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_largest_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_plain_text(&path, 5).unwrap(), "12345");
        let error = read_plain_text(&path, 4).unwrap_err().to_string();
        assert_eq!(error, "it has 5 bytes, more than such a file can have");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_plain_text(&path, 5).is_err());
        assert!(read_plain_file(Path::new("/dev/zero"), 5).unwrap_err().to_string().contains("regular file"));
        assert!(read_plain_file(directory.path(), 5).is_err());
    }
}
