//! [`Signer`]: signs responses with the key of a file, which may be replaced while the server runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::signing::{SigningKey, SigningKeyError};

/// The key that signs responses.
pub(super) struct Signer {
    file: PathBuf,
    key: RwLock<Arc<SigningKey>>,
}

impl Signer {
    /// Reads the key in `file`.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) fn open(file: &Path) -> Result<Self, SigningKeyError> {
        let key = RwLock::new(Arc::new(SigningKey::read(file)?));
        Ok(Self { file: file.to_owned(), key })
    }

    /// The key for the next response.
    pub(super) fn key(&self) -> Arc<SigningKey> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again and logs the result. After an error the key stays as it was.
    pub(super) fn reload_and_log(&self) {
        match SigningKey::read(&self.file) {
            Ok(key) => {
                tracing::info!(key = key.id(), "signing key reloaded");
                *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
            }
            Err(error) => tracing::error!("signing key not reloaded: {error}"),
        }
    }
}
