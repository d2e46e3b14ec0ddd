//! What a file is that does not hold what its name says, by its first bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Compression, FileKind, Format, is_regular};

/// Bytes that are enough to tell.
const LENGTH: usize = 64;

/// A file holds something else than its name says.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}")]
pub(super) struct OtherContent(&'static str);

/// What binary files and pointers to them start with.
const SIGNATURES: [(&[u8], &str); 6] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository, or download it with `hf download`",
    ),
    (b"PAR1", "a Parquet file; rename it so that it ends in .parquet"),
    (b"\x1f\x8b", "compressed with gzip; rename it so that it ends in .gz, or decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard; rename it so that it ends in .zst, or decompress it"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet; unpack it, or export it as CSV"),
    (b"BZh", "compressed with bzip2; decompress it"),
];

/// Checks that the regular file at `path` may hold what `kind` says. Only what is surely something else is refused; that a
/// file cannot be opened is found out when it is read.
///
/// # Errors
/// It holds something else.
pub(super) fn check(path: &Path, kind: FileKind) -> Result<(), OtherContent> {
    if !is_regular(path) {
        return Ok(());
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LENGTH as u64).read_to_end(&mut start));
    if read.is_err() || start.is_empty() {
        return Ok(());
    }
    match describe(&start, kind) {
        Some(content) => Err(OtherContent(content)),
        None => Ok(()),
    }
}

/// What `start` is the start of, if that is something else than `kind`.
fn describe(start: &[u8], kind: FileKind) -> Option<&'static str> {
    let expected: Option<&[u8]> = match (kind.format, kind.compression) {
        (Format::Parquet, _) => Some(b"PAR1"),
        (_, Compression::Gzip) => Some(b"\x1f\x8b"),
        // Zstandard also has frames to skip.
        (_, Compression::Zstd | Compression::None) => None,
    };
    if expected.is_some_and(|expected| start.starts_with(expected)) {
        return None;
    }
    let known = SIGNATURES.iter().find(|(signature, _)| start.starts_with(signature));
    let known = known.filter(|(signature, _)| {
        kind.compression != Compression::Zstd || *signature != b"\x28\xb5\x2f\xfd".as_slice()
    });
    if let Some((_, content)) = known {
        return Some(content);
    }
    let text = start.trim_ascii_start().to_ascii_lowercase();
    if text.starts_with(b"<!doctype") || text.starts_with(b"<html") {
        return Some("a page in HTML; download the file itself, and log in first if it needs that");
    }
    match (kind.format, kind.compression) {
        (Format::Parquet, _) => {
            Some("not a Parquet file, which would start with PAR1; download it again, or name its format")
        }
        (_, Compression::Gzip) => {
            Some("not compressed with gzip; take .gz off its name, or download it again")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_its_name_says_is_refused_by_what_it_is() {
        let pointer: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
        for (name, start, words) in [
            ("a.parquet", pointer, Some("LFS pointer")),
            ("a.jsonl", pointer, Some("LFS pointer")),
            ("a.csv", pointer, Some("LFS pointer")),
            ("a.jsonl.gz", pointer, Some("LFS pointer")),
            ("a.parquet", b"\n<!DOCTYPE html>", Some("HTML")),
            ("a.jsonl", b"<html>", Some("HTML")),
            ("a.jsonl", b"\x1f\x8b\x08", Some(".gz")),
            ("a.csv", b"\x28\xb5\x2f\xfd", Some(".zst")),
            ("a.jsonl", b"PAR1", Some(".parquet")),
            ("a.csv", b"PK\x03\x04", Some("spreadsheet")),
            ("a.parquet", b"{\"a\": 1}", Some("PAR1")),
            ("a.jsonl.gz", b"{\"a\": 1}", Some("take .gz off")),
            ("a.parquet", b"PAR1", None),
            ("a.jsonl.gz", b"\x1f\x8b\x08", None),
            ("a.jsonl.zst", b"\x28\xb5\x2f\xfd", None),
            ("a.jsonl", b"{\"a\": 1}", None),
            ("a.csv", b"PKs,b", None),
        ] {
            let found = describe(start, FileKind::from_path(Path::new(name)).unwrap());
            match words {
                Some(words) => assert!(found.is_some_and(|found| found.contains(words)), "{name}: {found:?}"),
                None => assert_eq!(found, None, "{name}"),
            }
        }
    }
}
