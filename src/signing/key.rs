//! Ed25519 keys in PEM files, as `openssl genpkey -algorithm ed25519` writes them.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest, Sha256};

use crate::manifest::digest::hexadecimal;
use crate::manifest::read_plain_file;

/// Largest file of a key.
const MAX_BYTES: u64 = 64 << 10;
/// What comes before the 32 bytes of an Ed25519 key in a public key's DER: its kind and its length (RFC 8410).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Permissions of users other than the file's owner and its group to read or write it.
const OTHERS: u32 = 0o006;

/// Why a file cannot be used as a key.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum SigningKeyError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        file: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// Every user of the machine could sign.
    #[error(
        "every user of this machine may read or write {}, which has the permissions {mode:o}; run `chmod 600` on it",
        file.display()
    )]
    Exposed {
        file: PathBuf,
        /// The permissions.
        mode: u32,
    },
    /// The file has no private key.
    #[error(
        "{} does not contain a private key in PEM without a password (-----BEGIN PRIVATE KEY-----); make one with \
         `openssl genpkey -algorithm ed25519`",
        _0.display()
    )]
    NotPrivate(PathBuf),
    /// The private key is of another kind.
    #[error(
        "the private key in {} is not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519`",
        _0.display()
    )]
    OtherPrivateKind(PathBuf),
    /// The file has no public key.
    #[error(
        "{} does not contain a public key in PEM (-----BEGIN PUBLIC KEY-----); write that of a private key with \
         `openssl pkey -in PRIVATE.pem -pubout`",
        _0.display()
    )]
    NotPublic(PathBuf),
    /// The file has several keys.
    #[error("{} contains several keys, and one is needed; keep that one", _0.display())]
    Several(PathBuf),
    /// The public key is of another kind.
    #[error("the public key in {} is not an Ed25519 key; name the key of the one who signed", _0.display())]
    OtherPublicKind(PathBuf),
}

/// A private key, which signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

/// Shows the id only.
impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

impl SigningKey {
    /// Reads the private key in a PEM file that only its owner and its group may read.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it does not hold an Ed25519 key.
    pub fn read(file: &Path) -> Result<Self, SigningKeyError> {
        let content = read(file)?;
        let der = only(file, PrivatePkcs8KeyDer::pem_slice_iter(&content))?
            .ok_or_else(|| SigningKeyError::NotPrivate(file.to_owned()))?;
        // openssl writes the first version of PKCS#8, which has no public key to compare with.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| SigningKeyError::OtherPrivateKind(file.to_owned()))?;
        let metadata = std::fs::metadata(file)
            .map_err(|source| SigningKeyError::Unreadable { file: file.to_owned(), source })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(SigningKeyError::Exposed { file: file.to_owned(), mode });
        }
        let id = key_id(pair.public_key().as_ref());
        Ok(Self { pair, id })
    }

    /// SHA-256 of the public key's DER, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// A public key, which checks signatures.
#[derive(Debug)]
pub struct PublicKey {
    bytes: Vec<u8>,
    id: String,
}

impl PublicKey {
    /// Reads the public key in a PEM file.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold an Ed25519 key.
    pub fn read(file: &Path) -> Result<Self, SigningKeyError> {
        let content = read(file)?;
        let der = only(file, SubjectPublicKeyInfoDer::pem_slice_iter(&content))?
            .ok_or_else(|| SigningKeyError::NotPublic(file.to_owned()))?;
        match der.strip_prefix(&PUBLIC_PREFIX) {
            Some(bytes) if bytes.len() == 32 => Ok(Self { bytes: bytes.to_vec(), id: key_id(bytes) }),
            _ => Err(SigningKeyError::OtherPublicKind(file.to_owned())),
        }
    }

    /// SHA-256 of the key's DER, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }
}

/// The key of a file; `None` if it has none.
fn only<T>(
    file: &Path,
    keys: impl Iterator<Item = Result<T, PemError>>,
) -> Result<Option<T>, SigningKeyError> {
    let mut keys = keys.map_while(Result::ok);
    let key = keys.next();
    if keys.next().is_some() {
        return Err(SigningKeyError::Several(file.to_owned()));
    }
    Ok(key)
}

fn read(file: &Path) -> Result<Vec<u8>, SigningKeyError> {
    read_plain_file(file, MAX_BYTES)
        .map_err(|source| SigningKeyError::Unreadable { file: file.to_owned(), source })
}

fn key_id(public: &[u8]) -> String {
    hexadecimal(&Sha256::new().chain_update(PUBLIC_PREFIX).chain_update(public).finalize())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Made by openssl 3.0.
    pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHAY1jgS4N79Bw9zcp6eVg/r+nlyQ3K/xgt5UjbEyMqZ\n-----END PRIVATE KEY-----\n";
    pub(crate) const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAw1NvL5Hy/S3OUck8IC5B6oHFBRtT0hbbGG4o/e+Pui0=\n-----END PUBLIC KEY-----\n";
    /// `openssl pkey -pubin -outform DER | sha256sum`.
    const ID: &str = "48392c3b06563b688fc497ab13c6f60e0c60169a89e9312851f13cbcbd927394";
    const ELLIPTIC: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZOrKskuSAHkRDTUt\n\
         sY+Jb4eEAr/VoWYyH7aZv6zUQh+hRANCAAQFbZRYM5Xu+Jc/qm8InscG183lwIeG\n\
         U48GrHkovo7FfKrFOybfYMbsYrihvjnbr/Na8s6lRJUDZ5WVpPxdR8TV\n-----END PRIVATE KEY-----\n";

    fn file(content: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    pub(crate) fn keys() -> (SigningKey, PublicKey) {
        let (private, public) = (file(PRIVATE, 0o600), file(PUBLIC, 0o644));
        (SigningKey::read(private.path()).unwrap(), PublicKey::read(public.path()).unwrap())
    }

    #[test]
    fn the_keys_of_openssl_are_read_and_have_the_id_that_openssl_gives() {
        let (private, public) = keys();
        assert_eq!((private.id(), public.id()), (ID, ID));
        assert!(public.verifies(b"text", &private.sign(b"text")));
        assert!(!public.verifies(b"texT", &private.sign(b"text")));
        assert_eq!(format!("{private:?}"), format!("SigningKey({ID:?})"));
    }

    #[test]
    fn a_private_key_that_others_may_read_is_refused_and_one_of_a_group_is_not() {
        for mode in [0o644, 0o602] {
            let error = SigningKey::read(file(PRIVATE, mode).path()).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && error.contains(&format!("{mode:o}")), "{error}");
        }
        assert!(SigningKey::read(file(PRIVATE, 0o440).path()).is_ok());
    }

    #[test]
    fn files_that_are_not_such_keys_are_refused_with_what_to_do() {
        let private = |content: &str| SigningKey::read(file(content, 0o600).path()).unwrap_err().to_string();
        let public = |content: &str| PublicKey::read(file(content, 0o600).path()).unwrap_err().to_string();
        let encrypted = PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE");
        for content in ["", "hello", PUBLIC, &encrypted] {
            assert!(private(content).contains("does not contain a private key"), "{content}");
        }
        assert!(private(ELLIPTIC).contains("is not an Ed25519 key"));
        assert!(public(PRIVATE).contains("-pubout"));
        assert!(public(&PUBLIC.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu")).contains("is not an Ed25519 key"));
        let several = [private(&PRIVATE.repeat(2)), public(&PUBLIC.repeat(2))];
        assert!(several.iter().all(|error| error.contains("contains several keys")), "{several:?}");
        let missing = SigningKey::read(Path::new("/nonexistent/key.pem")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/key.pem: "), "{missing}");
    }
}
