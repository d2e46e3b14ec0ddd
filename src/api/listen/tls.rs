//! TLS, from PEM files that may be replaced while the server runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::config::SecuritySettings;
use crate::manifest::read_plain_file;

/// Largest file of a key or of certificates.
const MAX_BYTES: u64 = 16 << 20;

/// Why TLS cannot be served with the files that the options name.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{option}: cannot read {}: {source}", file.display())]
    Unreadable {
        /// The option that names the file.
        option: &'static str,
        file: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{option}: {} does not contain a {expected} in PEM", file.display())]
    Missing {
        /// The option that names the file.
        option: &'static str,
        file: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A file is damaged.
    #[error("{option}: {} does not hold a valid {expected} in PEM: {source}", file.display())]
    Invalid {
        /// The option that names the file.
        option: &'static str,
        file: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong with it.
        source: PemError,
    },
    /// A certificate of a certificate authority cannot be used.
    #[error("tls_client_ca: a certificate in {} cannot be used: {source}", file.display())]
    ClientCertificate {
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The certificate authorities cannot be used together.
    #[error("tls_client_ca: {} cannot be used: {source}", file.display())]
    ClientAuthority {
        file: PathBuf,
        /// What is wrong with it.
        source: VerifierBuilderError,
    },
    /// The key is not that of the first certificate.
    #[error(
        "tls_key {} and tls_cert {} do not match: the first certificate must be for that key",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificates.
        cert: PathBuf,
    },
    /// rustls refuses the key and the certificates.
    #[error("TLS cannot be served with tls_key {} and tls_cert {}: {source}", key.display(), cert.display())]
    Refused {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificates.
        cert: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// rustls has no protocol version to offer: a bug in Assay.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Accepts TLS 1.2 and 1.3 connections, with what the files held when they were last read without an error.
pub struct Tls {
    files: Files,
    loaded: RwLock<Loaded>,
}

/// What the files held.
#[derive(Clone)]
struct Loaded {
    acceptor: TlsAcceptor,
    /// When the server's certificate expires, after 1970; `None` if it cannot be read from it.
    expiry: Option<Duration>,
}

#[derive(Clone)]
struct Files {
    key: PathBuf,
    cert: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Files {
    fn from_settings(settings: &SecuritySettings) -> Option<Self> {
        let (key, cert) = settings.tls_key.clone().zip(settings.tls_cert.clone())?;
        Some(Self { key, cert, client_ca: settings.tls_client_ca.clone() })
    }
}

impl Tls {
    /// TLS as the options ask for it; `None` if they do not.
    ///
    /// # Errors
    /// A file cannot be read or used, or does not match another.
    pub fn open(settings: &SecuritySettings) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = Files::from_settings(settings) else { return Ok(None) };
        let loaded = RwLock::new(load(&files)?);
        Ok(Some(Arc::new(Self { files, loaded })))
    }

    /// The files that the options name.
    pub(crate) fn files(settings: &SecuritySettings) -> Vec<PathBuf> {
        let Some(files) = Files::from_settings(settings) else { return Vec::new() };
        [files.key, files.cert].into_iter().chain(files.client_ca).collect()
    }

    /// The acceptor for the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// When the certificate in use expires, after 1970.
    pub(crate) fn expiry(&self) -> Option<Duration> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).expiry
    }

    /// Reloads the files for new connections and logs the result. After an error the old certificate stays in use.
    pub fn reload_and_log(&self) {
        match load(&self.files) {
            Ok(loaded) => {
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!("TLS certificates reloaded");
            }
            Err(error) => tracing::error!("TLS certificates not reloaded: {error}"),
        }
    }
}

fn load(files: &Files) -> Result<Loaded, TlsError> {
    let Files { key: key_file, cert: cert_file, client_ca } = files;
    let key = read(key_file)
        .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem))
        .map_err(|error| unusable("tls_key", key_file, "private key", error))?;
    let chain = certificates("tls_cert", cert_file)?;
    let expiry = chain.first().and_then(expiry);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let clients = match client_ca {
        None => versions.with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(client_roots(file)?, provider)
                .build()
                .map_err(|source| TlsError::ClientAuthority { file: file.clone(), source })?;
            versions.with_client_cert_verifier(verifier)
        }
    };
    let mut config = clients.with_single_cert(chain, key).map_err(|source| {
        let (key, cert) = (key_file.clone(), cert_file.clone());
        match source {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { key, cert },
            source => TlsError::Refused { key, cert, source },
        }
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(config)), expiry })
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration())
}

/// The certificate authorities whose clients may connect.
fn client_roots(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates("tls_client_ca", file)? {
        roots.add(root).map_err(|source| TlsError::ClientCertificate { file: file.to_owned(), source })?;
    }
    Ok(Arc::new(roots))
}

/// The content of a PEM file.
fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    read_plain_file(file, MAX_BYTES).map_err(PemError::Io)
}

fn certificates(option: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found =
        read(file).and_then(|pem| CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>());
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(option, file, "certificate", PemError::NoItemsFound)),
        Err(error) => Err(unusable(option, file, "certificate", error)),
    }
}

fn unusable(option: &'static str, file: &Path, expected: &'static str, error: PemError) -> TlsError {
    let file = file.to_owned();
    match error {
        PemError::Io(source) => TlsError::Unreadable { option, file, source },
        PemError::NoItemsFound => TlsError::Missing { option, file, expected },
        source => TlsError::Invalid { option, file, expected, source },
    }
}
