//! Which format a file has, by its name.

use std::path::Path;

use super::ScoreError;

/// File format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::score) enum Format {
    /// A JSON object in each line, or an array of them. What a file starts with decides, not its name.
    Json,
    /// Comma- or tab-separated values, with a header.
    Csv {
        /// What separates them.
        delimiter: u8,
    },
    Parquet,
}

/// How a file of texts is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::score) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Format and compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::score) struct FileKind {
    pub(in crate::score) format: Format,
    pub(in crate::score) compression: Compression,
    /// Whether a written file is an array rather than lines.
    pub(in crate::score) is_array: bool,
}

const COMPRESSIONS: [(&str, Compression); 4] = [
    ("gz", Compression::Gzip),
    ("gzip", Compression::Gzip),
    ("zst", Compression::Zstd),
    ("zstd", Compression::Zstd),
];

impl FileKind {
    /// JSON in lines, as standard input and output have it.
    pub(in crate::score) const LINES: Self =
        Self { format: Format::Json, compression: Compression::None, is_array: false };

    /// Detects the format from the file name's extensions, such as `.jsonl` or `.csv.gz`. Standard input and output,
    /// `-`, are JSON in lines.
    ///
    /// # Errors
    /// [`ScoreError::UnknownFormat`].
    pub(in crate::score) fn from_path(path: &Path) -> Result<Self, ScoreError> {
        if path == Path::new("-") {
            return Ok(Self::LINES);
        }
        let unknown = || ScoreError::UnknownFormat(path.to_owned());
        // Only the extensions matter, and a name that is not in UTF-8 may have one.
        let name = path.file_name().ok_or_else(unknown)?.to_string_lossy().to_ascii_lowercase();
        let mut name = name.as_str();
        let mut compression = Compression::None;
        for (extension, known) in COMPRESSIONS {
            if let Some(rest) = name.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.')) {
                (name, compression) = (rest, known);
            }
        }
        let (format, is_array) = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("jsonl" | "ndjson") => (Format::Json, false),
            Some("json") => (Format::Json, true),
            Some("csv") => (Format::Csv { delimiter: b',' }, false),
            Some("tsv" | "tab") => (Format::Csv { delimiter: b'\t' }, false),
            Some("parquet" | "parq" | "pq") if compression == Compression::None => (Format::Parquet, false),
            _ => return Err(unknown()),
        };
        Ok(Self { format, compression, is_array })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_in_utf8_has_an_extension() {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"bad\xff.CSV.gz");
        let kind = FileKind::from_path(Path::new(name)).unwrap();
        assert_eq!((kind.format, kind.compression), (Format::Csv { delimiter: b',' }, Compression::Gzip));
    }

    #[test]
    fn extensions_of_any_case_name_format_and_compression() {
        let kind = |name: &str| FileKind::from_path(Path::new(name)).ok();
        let csv = |delimiter| Format::Csv { delimiter };
        for (name, format, compression, is_array) in [
            ("a.jsonl", Format::Json, Compression::None, false),
            ("a.b/A.JSONL.GZ", Format::Json, Compression::Gzip, false),
            ("a.json.zst", Format::Json, Compression::Zstd, true),
            ("a.Csv", csv(b','), Compression::None, false),
            ("a.tsv.gz", csv(b'\t'), Compression::Gzip, false),
            ("train-00000-of-00001.parquet", Format::Parquet, Compression::None, false),
            ("-", Format::Json, Compression::None, false),
        ] {
            assert_eq!(kind(name), Some(FileKind { format, compression, is_array }), "{name}");
        }
        for unknown in ["a", "a.gz", "a.txt", "a.parquet.gz", "gz", ".jsonl/x", "a.xlsx"] {
            assert_eq!(kind(unknown), None, "{unknown}");
        }
    }
}
