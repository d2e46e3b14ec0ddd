//! TLS, from files in PEM that may be replaced while it is served.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::SecuritySettings;

/// What accepts TLS connections: 1.2 and 1.3, with what the files held when they were last read well.
pub(crate) struct Tls {
    files: Files,
    acceptor: RwLock<TlsAcceptor>,
}

#[derive(Clone)]
struct Files {
    key: PathBuf,
    cert: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Files {
    fn of(settings: &SecuritySettings) -> Option<Self> {
        let (key, cert) = settings.tls_key.clone().zip(settings.tls_cert.clone())?;
        Some(Self { key, cert, client_ca: settings.tls_client_ca.clone() })
    }
}

impl Tls {
    /// As the options ask for it, if they do.
    ///
    /// # Errors
    /// A file is missing, holds something else, or does not match another; the text says what to do.
    pub(crate) fn open(settings: &SecuritySettings) -> Result<Option<Arc<Self>>, String> {
        let Some(files) = Files::of(settings) else { return Ok(None) };
        let acceptor = RwLock::new(acceptor(&files)?);
        Ok(Some(Arc::new(Self { files, acceptor })))
    }

    /// The files that the options name.
    pub(crate) fn files(settings: &SecuritySettings) -> impl Iterator<Item = PathBuf> {
        Files::of(settings)
            .into_iter()
            .flat_map(|files| [files.key, files.cert].into_iter().chain(files.client_ca))
    }

    /// What accepts the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again for the connections to come and logs how that went; what is wrong with one
    /// leaves all as they were.
    pub(crate) fn reload_and_tell(&self) {
        match acceptor(&self.files) {
            Ok(acceptor) => {
                *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                tracing::info!("TLS certificates read again");
            }
            Err(error) => tracing::error!("TLS certificates stay as they were: {error}"),
        }
    }
}

fn acceptor(files: &Files) -> Result<TlsAcceptor, String> {
    let Files { key: key_file, cert: cert_file, client_ca } = files;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| unreadable("tls_key", key_file, "a private key", &error))?;
    let chain = certificates("tls_cert", cert_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let clients = match client_ca {
        None => versions.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("tls_client_ca", file)? {
                roots.add(root).map_err(|error| {
                    format!("tls_client_ca: a certificate in {} is refused: {error}", file.display())
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| format!("tls_client_ca {} is refused: {error}", file.display()))?;
            versions.with_client_cert_verifier(verifier)
        }
    };
    let mut config = clients.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "tls_key {} and tls_cert {} do not match: the first certificate must be of that key",
            key_file.display(),
            cert_file.display()
        ),
        error => format!(
            "TLS cannot be served with tls_key {} and tls_cert {}: {error}",
            key_file.display(),
            cert_file.display()
        ),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refused = |error: PemError| unreadable(option, file, "a certificate", &error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(refused)?.collect::<Result<_, _>>().map_err(refused)?;
    if found.is_empty() {
        return Err(unreadable(option, file, "a certificate", &PemError::NoItemsFound));
    }
    Ok(found)
}

fn unreadable(option: &str, file: &Path, wanted: &str, error: &PemError) -> String {
    let file = file.display();
    match error {
        PemError::Io(error) => format!("{option}: {file} cannot be read: {error}"),
        PemError::NoItemsFound => format!("{option}: {file} holds no {} in PEM", &wanted[2..]),
        error => format!("{option}: {file} is not {wanted} in PEM: {error}"),
    }
}
