//! The API keys of a file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::api::error::ApiError;
use crate::manifest::read_plain_text;

/// Shorter keys are refused: they can be guessed.
const SHORTEST_KEY: usize = 16;
/// Largest file of keys.
const MAX_BYTES: u64 = 16 << 20;

/// Why a file of API keys cannot be used. No error repeats a key.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum KeyError {
    /// The file cannot be read.
    #[error("api_keys_file: cannot read {}: {source}", file.display())]
    Unreadable {
        file: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// A key can be guessed.
    #[error(
        "api_keys_file: the key in {}:{line} is shorter than {SHORTEST_KEY} characters and can be guessed; make one \
         with `openssl rand -hex 24`",
        file.display()
    )]
    TooShort {
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A key has a character that no header can have.
    #[error(
        "api_keys_file: the key in {}:{line} has a control character, which no client can send; is it a text file? make \
         a key with `openssl rand -hex 24`",
        file.display()
    )]
    Control {
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A key is in the file twice.
    #[error("api_keys_file: the key in {}:{line} is in the file twice; delete one of its lines", file.display())]
    Duplicate {
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The file does not contain a key.
    #[error(
        "api_keys_file: {} does not contain a key; add one per line, or remove the option to require none",
        .0.display()
    )]
    Empty(PathBuf),
}

/// The keys of a file. Only digests are kept: nothing that is logged or dumped holds a key.
pub(in crate::api) struct KeyRing {
    file: PathBuf,
    keys: RwLock<Vec<Key>>,
}

struct Key {
    digest: [u8; 32],
    name: String,
}

impl KeyRing {
    /// Reads the keys of `file`: one per line, `KEY` or `KEY NAME`; a line that starts with `#` is a comment.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key, one that is too short, or one twice.
    pub(in crate::api) fn open(file: &Path) -> Result<Self, KeyError> {
        let keys = RwLock::new(read(file)?);
        Ok(Self { file: file.to_owned(), keys })
    }

    /// Reads the file again and returns the number of keys. After an error the keys are as they were.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub(in crate::api) fn reload(&self) -> Result<usize, KeyError> {
        let keys = read(&self.file)?;
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(count)
    }

    /// Reloads the file and logs the result.
    pub(in crate::api) fn reload_and_log(&self) {
        match self.reload() {
            Ok(keys) => tracing::info!(keys, "API keys reloaded"),
            Err(error) => tracing::error!("API keys not reloaded: {error}"),
        }
    }

    /// Name of the key in `Authorization: Bearer KEY`, or of the password in `Authorization: Basic`, which clients send
    /// for `http://NAME:KEY@HOST`. A wrong key takes as long to check as a right one.
    ///
    /// # Errors
    /// The header has no key, or an unknown one.
    pub(in crate::api) fn check(&self, headers: &HeaderMap) -> Result<String, ApiError> {
        let value = headers.get(header::AUTHORIZATION).ok_or(ApiError::MissingKey)?.as_bytes();
        let given: [u8; 32] = Sha256::digest(key(value).ok_or(ApiError::MissingKey)?).into();
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for key in keys.iter() {
            // Every key is compared, and all of it.
            let same: Choice = key.digest.ct_eq(&given);
            if same.into() {
                found = Some(key.name.clone());
            }
        }
        found.ok_or(ApiError::InvalidKey)
    }
}

/// The key in an `Authorization` header.
fn key(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(Cow::Borrowed(rest));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = BASE64.decode(rest).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
    // `http://KEY@HOST` has no password.
    let key = if password.is_empty() { name } else { password };
    Some(Cow::Owned(key.to_vec()))
}

fn read(path: &Path) -> Result<Vec<Key>, KeyError> {
    let file = path.to_owned();
    let text = match read_plain_text(path, MAX_BYTES) {
        Ok(text) => text,
        Err(source) => return Err(KeyError::Unreadable { file, source }),
    };
    let mut known: Vec<Key> = Vec::new();
    // Some editors start a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (index, text) in text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let line = index + 1;
        let (key, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if key.len() < SHORTEST_KEY {
            return Err(KeyError::TooShort { file, line });
        }
        if key.chars().any(char::is_control) {
            return Err(KeyError::Control { file, line });
        }
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if known.iter().any(|other| other.digest == digest) {
            return Err(KeyError::Duplicate { file, line });
        }
        let name = if name.trim().is_empty() { format!("line {line}") } else { name.trim().to_owned() };
        known.push(Key { digest, name });
    }
    if known.is_empty() { Err(KeyError::Empty(file)) } else { Ok(known) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Result<KeyRing, KeyError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        KeyRing::open(file.path())
    }

    fn refused(text: &str) -> String {
        ring(text).err().unwrap().to_string()
    }

    fn check(ring: &KeyRing, authorization: &str) -> Result<String, &'static str> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        ring.check(&headers).map_err(|error| error.classify().code)
    }

    #[test]
    fn each_key_of_the_file_is_accepted_and_no_other_is() {
        let ring = ring("# trainers\nsk-0123456789abcdef the trainer\n\n  sk-fedcba9876543210\n").unwrap();
        assert_eq!(check(&ring, "Bearer sk-0123456789abcdef"), Ok("the trainer".into()));
        assert_eq!(check(&ring, "bearer  sk-fedcba9876543210 "), Ok("line 4".into()));
        for wrong in
            ["Bearer sk-0123456789abcdeF", "Bearer sk-0123456789abcde", "Bearer the trainer", "Bearer "]
        {
            assert_eq!(check(&ring, wrong), Err("invalid_api_key"), "{wrong}");
        }
        for none in ["Basic sk-0123456789abcdef", "Digest sk-0123456789abcdef", "sk-0123456789abcdef", "x"] {
            assert_eq!(check(&ring, none), Err("missing_api_key"), "{none}");
        }
        assert_eq!(ring.check(&HeaderMap::new()).unwrap_err().classify().code, "missing_api_key");
    }

    #[test]
    fn a_file_that_is_not_of_keys_is_refused() {
        for text in ["\0".repeat(100), "sk-0123456789abcdef\nsk-012345\u{1}6789abcdef\n".to_owned()] {
            assert!(refused(&text).contains("has a control character"), "{text:?}");
        }
        assert!(refused(&"x".repeat((16 << 20) + 1)).contains("more than such a file can have"));
    }

    #[test]
    fn the_password_of_basic_authentication_is_the_key() {
        let ring = ring("\u{feff}sk-0123456789abcdef the trainer\r\n").unwrap();
        for (credentials, result) in [
            ("trainer:sk-0123456789abcdef", Ok("the trainer".into())),
            (":sk-0123456789abcdef", Ok("the trainer".into())),
            ("sk-0123456789abcdef:", Ok("the trainer".into())),
            ("trainer:sk-0123456789abcdeF", Err("invalid_api_key")),
            ("sk-0123456789abcdef:wrong", Err("invalid_api_key")),
            ("sk-0123456789abcdef", Err("missing_api_key")),
        ] {
            for scheme in ["Basic", "basic"] {
                let header = format!("{scheme} {}", BASE64.encode(credentials));
                assert_eq!(check(&ring, &header), result, "{credentials}");
            }
        }
        assert_eq!(check(&ring, "Basic !!!"), Err("missing_api_key"));
    }

    #[test]
    fn a_bad_file_is_refused_with_the_line_and_without_the_key() {
        assert!(refused("# nothing\n").contains("does not contain a key"));
        let short = refused("sk-0123456789abcdef\nsecret\n");
        assert!(short.contains(":2 is shorter") && !short.contains("secret"), "{short}");
        let twice = refused("sk-0123456789abcdef a\nsk-0123456789abcdef b\n");
        assert!(twice.contains(":2 is in the file twice") && !twice.contains("sk-"), "{twice}");
    }

    #[test]
    fn a_damaged_file_leaves_the_keys_as_they_were() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "sk-0123456789abcdef").unwrap();
        let ring = KeyRing::open(file.path()).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(ring.reload().is_err());
        assert!(check(&ring, "Bearer sk-0123456789abcdef").is_ok());
        std::fs::write(&file, "sk-another-key-of-length").unwrap();
        assert_eq!(ring.reload().unwrap(), 1);
        assert_eq!(check(&ring, "Bearer sk-0123456789abcdef"), Err("invalid_api_key"));
    }
}
