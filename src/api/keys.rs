//! API keys: who may call.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{ApiError, App};

/// Keys shorter than this are refused: they can be guessed.
const SHORTEST_KEY: usize = 16;

/// The keys of a file. Only digests are kept: nothing that is logged or dumped holds a key.
pub struct KeyRing {
    file: PathBuf,
    keys: RwLock<Vec<Key>>,
}

struct Key {
    digest: [u8; 32],
    name: String,
}

impl KeyRing {
    /// Reads the keys of `file`: one a line, `KEY` or `KEY NAME`; what follows a `#` at a line's start is
    /// a comment.
    ///
    /// # Errors
    /// It cannot be read, holds no key, or one that is too short or stands there twice; the text says
    /// where, and repeats no key.
    pub fn open(file: &Path) -> Result<Self, String> {
        let keys = RwLock::new(read(file)?);
        Ok(Self { file: file.to_owned(), keys })
    }

    /// Reads the file again and gives the number of keys; what is wrong with it leaves the keys as they were.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn reload(&self) -> Result<usize, String> {
        let keys = read(&self.file)?;
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(count)
    }

    /// Reloads the file and logs how that went.
    pub fn reload_and_tell(&self) {
        match self.reload() {
            Ok(keys) => tracing::info!(keys, "API keys read again"),
            Err(error) => tracing::error!("API keys stay as they were: {error}"),
        }
    }

    /// Name of the key in `Authorization: Bearer KEY`. Takes as long for a wrong key as for a right one.
    ///
    /// # Errors
    /// There is none, or it is not known.
    pub fn check(&self, headers: &HeaderMap) -> Result<String, ApiError> {
        let value = headers.get(header::AUTHORIZATION).ok_or(ApiError::NoKey)?.as_bytes();
        let (scheme, key) = value.split_at_checked(7).ok_or(ApiError::NoKey)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(ApiError::NoKey);
        }
        let given: [u8; 32] = Sha256::digest(key.trim_ascii()).into();
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for key in keys.iter() {
            // Every key is compared, and all of it.
            let same: Choice = key.digest.ct_eq(&given);
            if same.into() {
                found = Some(key.name.clone());
            }
        }
        found.ok_or(ApiError::WrongKey)
    }
}

fn read(file: &Path) -> Result<Vec<Key>, String> {
    let place = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("api_keys_file: {place} cannot be read: {error}"))?;
    let mut known: Vec<Key> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (key, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if key.len() < SHORTEST_KEY {
            return Err(format!(
                "api_keys_file: the key in {place}:{number} is shorter than {SHORTEST_KEY} characters and can be \
                 guessed; make one with `openssl rand -hex 24`"
            ));
        }
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if known.iter().any(|other| other.digest == digest) {
            return Err(format!("api_keys_file: the key in {place}:{number} stands there twice"));
        }
        let name = if name.trim().is_empty() { format!("line {number}") } else { name.trim().to_owned() };
        known.push(Key { digest, name });
    }
    if known.is_empty() {
        return Err(format!(
            "api_keys_file: {place} holds no key; put one on a line, or leave the option out to ask for none"
        ));
    }
    Ok(known)
}

/// Lets through what bears a key, and what is open to all.
pub(super) async fn require(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(keys) = &app.keys
        && !is_open(request.uri().path(), app.settings.security.protect_metrics)
    {
        let name = keys.check(request.headers())?;
        tracing::Span::current().record("key", name.as_str());
    }
    Ok(next.run(request).await)
}

/// Whether a path asks for no key: health, the metrics unless protected, and the pages with the routes'
/// description, which are the same for everyone and know nothing.
pub(super) fn is_open(path: &str, protect_metrics: bool) -> bool {
    match path {
        "/v1/health/live" | "/v1/health/ready" => true,
        "/metrics" | "/v1/metrics" => !protect_metrics,
        "/" | "/playground.css" | "/playground.js" | "/docs" | "/openapi.json" => true,
        _ => path.starts_with("/docs/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Result<KeyRing, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        KeyRing::open(file.path())
    }

    fn refused(text: &str) -> String {
        ring(text).err().unwrap()
    }

    fn check(ring: &KeyRing, authorization: &str) -> Result<String, &'static str> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        ring.check(&headers).map_err(|error| error.class().code)
    }

    #[test]
    fn each_key_of_a_file_opens_and_no_other_does() {
        let ring = ring("# trainers\nsk-0123456789abcdef the trainer\n\n  sk-fedcba9876543210\n").unwrap();
        assert_eq!(check(&ring, "Bearer sk-0123456789abcdef"), Ok("the trainer".into()));
        assert_eq!(check(&ring, "bearer  sk-fedcba9876543210 "), Ok("line 4".into()));
        for wrong in
            ["Bearer sk-0123456789abcdeF", "Bearer sk-0123456789abcde", "Bearer the trainer", "Bearer "]
        {
            assert_eq!(check(&ring, wrong), Err("invalid_api_key"), "{wrong}");
        }
        for none in ["Basic sk-0123456789abcdef", "sk-0123456789abcdef", "x"] {
            assert_eq!(check(&ring, none), Err("missing_api_key"), "{none}");
        }
        assert_eq!(ring.check(&HeaderMap::new()).unwrap_err().class().code, "missing_api_key");
    }

    #[test]
    fn a_bad_file_is_refused_with_the_line_and_without_the_key() {
        assert!(refused("# nothing\n").contains("holds no key"));
        let short = refused("sk-0123456789abcdef\nsecret\n");
        assert!(short.contains(":2 is shorter") && !short.contains("secret"), "{short}");
        let twice = refused("sk-0123456789abcdef a\nsk-0123456789abcdef b\n");
        assert!(twice.contains(":2 stands there twice") && !twice.contains("sk-"), "{twice}");
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
        assert_eq!(ring.reload(), Ok(1));
        assert_eq!(check(&ring, "Bearer sk-0123456789abcdef"), Err("invalid_api_key"));
    }
}
