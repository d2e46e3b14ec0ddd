//! TLS, from files in PEM.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::Settings;

/// What accepts TLS connections, where the options ask for that: TLS 1.2 and 1.3.
///
/// # Errors
/// A file is missing, holds something else, or does not match another; the text says what to do.
pub(crate) fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, String> {
    let (Some(key_file), Some(cert_file)) = (&settings.tls_key, &settings.tls_cert) else { return Ok(None) };
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| unreadable("tls_key", key_file, "a private key", &error))?;
    let chain = certificates("tls_cert", cert_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let clients = match &settings.tls_client_ca {
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
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
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
