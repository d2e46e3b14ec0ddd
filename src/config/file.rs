//! The options file.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::row::Described;
use super::table::table;
use super::{ConfigError, FileError, ServeOptions};
use crate::manifest::read_plain_text;

/// Bytes of the largest options file that is read.
const LARGEST: u64 = 1 << 20;
/// Characters of a line that an error quotes.
const MAX_QUOTED: usize = 100;
/// How alike a wrong name and an option must be for a suggestion, from 0 to 1.
const ALIKE: f64 = 0.8;

/// Reads the YAML file at `path`: a map from option names, as on the command line but with `_` for
/// `-` (`-` works too), to values.
///
/// # Errors
/// [`ConfigError::UnreadableFile`], or [`ConfigError::File`] if the text is anything but known options with values
/// that they take.
pub fn read(path: &Path) -> Result<ServeOptions, ConfigError> {
    let text = read_plain_text(path, LARGEST)
        .map_err(|source| ConfigError::UnreadableFile { path: path.to_owned(), source })?;
    parse(&text).map_err(|complaint| {
        let Complaint { line, source } = complaint;
        let quoted = line.and_then(|line| quote(&text, line));
        ConfigError::File { path: path.to_owned(), line, quoted, source }
    })
}

/// What is wrong with a line.
#[derive(Debug)]
struct Complaint {
    /// Counted from 1, where it is known.
    line: Option<u64>,
    source: FileError,
}

impl Complaint {
    fn new(line: u64, source: FileError) -> Self {
        Self { line: Some(line), source }
    }
}

fn parse(text: &str) -> Result<ServeOptions, Complaint> {
    // An empty document is YAML's null. It gives nothing, which is right.
    let entries: Option<Entries> = serde_saphyr::from_str(text).map_err(|error| Complaint {
        line: error.location().map(|at| at.line()),
        source: FileError::Yaml(Box::new(error)),
    })?;
    let Entries { entries, complaint } = entries.unwrap_or_default();
    if let Some(complaint) = complaint {
        return Err(complaint);
    }
    let mut options = ServeOptions::default();
    for Entry { line, name, texts } in entries {
        options
            .set(name, &texts)
            .map_err(|source| Complaint::new(line, FileError::Value { name, source }))?;
    }
    Ok(options)
}

/// A line of the file, counted from 1.
fn quote(text: &str, line: u64) -> Option<String> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let line = text.lines().nth(index)?.trim();
    // The end of a line that is longer would say nothing.
    let end = line.char_indices().nth(MAX_QUOTED).map_or(line.len(), |(end, _)| end);
    Some(if end < line.len() { format!("{}…", &line[..end]) } else { line.to_owned() })
}

/// What the file gives for one option.
struct Entry {
    line: u64,
    name: &'static str,
    texts: Vec<String>,
}

#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    /// About the first line with a name that is wrong.
    complaint: Option<Complaint>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map from names of options to values")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let table = table();
        let Entries { mut entries, mut complaint } = Entries::default();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = key.referenced.line();
            let row = match find(&table, &key.value) {
                Ok(row) => row,
                Err(error) => {
                    complaint.get_or_insert(Complaint::new(line, error));
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // Values stay texts here, so that they are read as on the command line.
            let texts = if row.delimiter.is_some() {
                map.next_value::<Option<OneOrMany>>()?.map(|OneOrMany(texts)| texts)
            } else {
                map.next_value::<Option<String>>()?.map(|text| vec![text])
            };
            if entries.iter().any(|entry| entry.name == row.name) {
                complaint.get_or_insert(Complaint::new(line, FileError::Twice(row.name)));
            }
            if let Some(texts) = texts {
                entries.push(Entry { line, name: row.name, texts });
            }
        }
        Ok(Entries { entries, complaint })
    }
}

/// A list of texts, or a single one.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a list of values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![text.to_owned()]))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<OneOrMany, S::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(OneOrMany(texts))
    }
}

/// The row of the option `key`.
fn find<'a>(table: &'a [Described], key: &str) -> Result<&'a Described, FileError> {
    let name = key.replace('-', "_");
    if let Some(row) = table.iter().find(|row| row.names().any(|known| known == name)) {
        return Ok(row);
    }
    let alike = |row: &Described| strsim::jaro_winkler(&name, row.name);
    let nearest = table.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let nearest = nearest.filter(|row| alike(row) >= ALIKE).map(|row| row.name);
    Err(FileError::Unknown { key: key.to_owned(), nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        error.replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = complaint("port: 80\nprot: 81\n");
        assert!(error.starts_with("FILE:2: unknown option `prot`; did you mean `port`?"), "{error}");
        let error = complaint("temperature: 1\n");
        assert!(error.starts_with("FILE:1: unknown option `temperature`; `assay serve --help`"), "{error}");
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_line_and_text() {
        for wrong in [
            "port: nine",
            "port: 70000",
            "port: [1]",
            "shutdown_grace: -1",
            "overload_status: 200",
            "log_format: xml",
            "prefix_sharing: 3",
            "port: null-ish",
        ] {
            let error = complaint(&format!("host: a\n\n{wrong}\n"));
            assert!(error.starts_with("FILE:3: "), "{error}");
            assert!(error.ends_with(&format!(", in `{wrong}`")), "{error}");
        }
    }

    #[test]
    fn a_key_given_twice_and_text_that_is_not_a_map_are_refused() {
        assert!(complaint("port: 1\nport: 2\n").starts_with("FILE:2: the option `port` is given twice, in"));
        assert!(complaint("max_seq_len: 1\nmax-seq-len: 2\n").contains("given twice"));
        for text in ["- port\n", ": : :\n", "port\n"] {
            let expected = "FILE:1: expected the name of an option and its value, as in `port: 8000`, in";
            assert!(complaint(text).starts_with(expected), "{}", complaint(text));
        }
        let unclosed = complaint("{port: 80");
        assert!(unclosed.starts_with("FILE:1: unclosed bracket '{', in `{port: 80`"), "{unclosed}");
    }

    #[test]
    fn what_no_options_file_holds_is_refused_in_words_for_its_author() {
        let bomb: String = (0..9)
            .map(|level| match level {
                0 => format!("a0: &a0 [{}]\n", ["x"; 10].join(",")),
                _ => format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(",")),
            })
            .collect();
        for (text, words) in [
            ("port: 1\n---\nport: 2\n", "FILE:3: there are several documents; keep one"),
            ("api_keys_file: [a]\n", "FILE:1: expected a single value, in `api_keys_file: [a]`"),
            (&bomb, "aliases repeat too many; write them out"),
            (&format!("a: {}", "{a: ".repeat(20_000)), "nested too deeply"),
            (&format!("a: {}", "[".repeat(20_000)), "FILE:1: "),
        ] {
            let error = complaint(text);
            assert!(error.contains(words) && error.len() < 300, "{error}");
        }
    }

    #[test]
    fn an_empty_file_gives_no_option() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.path()).unwrap(), ServeOptions::default());
        std::fs::write(&file, "# nothing yet\n").unwrap();
        assert_eq!(read(file.path()).unwrap(), ServeOptions::default());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("no/such/file.yaml")).unwrap_err().to_string();
        assert!(error.contains("no/such/file.yaml"), "{error}");
    }

    #[test]
    fn a_name_may_have_hyphens_or_be_an_old_one() {
        let options = parse("max-seq-len: 9\nfollower_hold: 2\nengines: x\nport:\n").unwrap();
        let expected = ServeOptions {
            max_seq_len: Some(9),
            max_prefix_wait: Some(crate::config::Seconds::new(2)),
            directory: Some("x".into()),
            ..ServeOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn a_value_is_read_as_on_the_command_line() {
        let options =
            parse("profile: 12345678\nport: '80'\nplayground: off\nalias: [a, b=c]\ncors_origin: http://a\n")
                .unwrap();
        let expected = ServeOptions {
            cors_origin: Some(vec!["http://a".into()]),
            profile: Some("12345678".into()),
            port: Some(80),
            playground: Some(false),
            alias: Some(vec!["a".parse().unwrap(), "b=c".parse().unwrap()]),
            ..ServeOptions::default()
        };
        assert_eq!(options, expected);
    }
}
