//! Opens files of text: decompressed, and without a byte order mark.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::{Compression, FileKind, ScoreError};
use crate::cli::output::eprint_line;

/// Text of a file.
pub(super) type TextReader = BufReader<Box<dyn Read + Send>>;

/// How long a named pipe is waited for without a word.
const WARN_AFTER: Duration = Duration::from_secs(2);
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The file is in another encoding.
#[derive(Debug, thiserror::Error)]
#[error("it is encoded in UTF-16; save it as UTF-8")]
struct Utf16;

/// Opens a file, or standard input.
pub(super) fn open(path: &Path, kind: FileKind) -> Result<TextReader, ScoreError> {
    let failed = |error: io::Error| ScoreError::read(path, error);
    let raw: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(open_or_say_why_not(path).map_err(failed)?)
    };
    let plain: Box<dyn Read + Send> = match kind.compression {
        Compression::None => raw,
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(raw))),
        Compression::Zstd => Box::new(zstd::Decoder::new(raw).map_err(failed)?),
    };
    without_mark(BufReader::with_capacity(1 << 16, plain)).map_err(|error| ScoreError::read(path, error))
}

/// Refuses a device, such as `/dev/zero`, which may never end.
///
/// # Errors
/// It is one.
fn refuse_device(path: &Path) -> io::Result<()> {
    let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
    if kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()) {
        let reason = "it is a device, which may never end; name a file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(())
}

/// Opens a file. A named pipe is not open before somebody writes to it, which may never happen: says so after a while.
fn open_or_say_why_not(path: &Path) -> io::Result<File> {
    refuse_device(path)?;
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return File::open(path);
    }
    let (opened, waiting) = std::sync::mpsc::channel::<()>();
    let name = path.display().to_string();
    std::thread::spawn(move || {
        if waiting.recv_timeout(WARN_AFTER) == Err(RecvTimeoutError::Timeout) {
            eprint_line(format_args!("waiting for a program that writes to {name}, which is a named pipe"));
        }
    });
    let file = File::open(path);
    drop(opened);
    file
}

/// Skips the mark with which Windows programs start a file.
fn without_mark(mut text: TextReader) -> io::Result<TextReader> {
    let start = text.fill_buf()?;
    if UTF16_MARKS.iter().any(|mark| start.starts_with(mark)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, Utf16));
    }
    let mark = if start.starts_with(UTF8_MARK) { UTF8_MARK.len() } else { 0 };
    text.consume(mark);
    Ok(text)
}
