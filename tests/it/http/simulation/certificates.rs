//! TLS certificates in files that change while clients connect.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use assay::api::Tls;
use assay::config::Settings;
use rand::Rng;
use rand::rngs::SmallRng;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsConnector, client, server};

use super::periods::Periods;

const HOST: &str = "localhost";
/// Keys and their certificates.
const ISSUED: [(&str, &str); 2] = [
    (include_str!("../../../certificates/0.key"), include_str!("../../../certificates/0.cert")),
    (include_str!("../../../certificates/1.key"), include_str!("../../../certificates/1.cert")),
];
/// Bytes that are on their way between the ends of a connection.
const IN_TRANSIT: usize = 4096;

/// What becomes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertificateChange {
    /// They hold the key and certificate of this number.
    Issued(usize),
    /// The key is not that of the certificate: what was in force stays.
    Mismatched,
    /// The certificate is cut off: what was in force stays.
    CutOff,
}

impl CertificateChange {
    pub(super) fn random(random: &mut SmallRng) -> Self {
        [Self::Issued(0), Self::Issued(1), Self::Mismatched, Self::CutOff][random.random_range(0..4)]
    }
}

/// The files, who reads them, and which certificate was in force when.
pub(super) struct CertificateFiles {
    directory: TempDir,
    tls: Arc<Tls>,
    connector: TlsConnector,
    periods: Periods<usize>,
}

/// A connection that was made under some certificate.
pub(super) struct Connection {
    client: client::TlsStream<DuplexStream>,
    server: server::TlsStream<DuplexStream>,
}

impl CertificateFiles {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), CertificateChange::Issued(0));
        let mut security = Settings::defaults(directory.path().to_owned()).security;
        security.tls_key = Some(directory.path().join("key"));
        security.tls_cert = Some(directory.path().join("cert"));
        let mut roots = RootCertStore::empty();
        for number in 0..ISSUED.len() {
            roots.add(certificate(number)).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = versions.unwrap().with_root_certificates(roots).with_no_client_auth();
        Self {
            tls: Tls::open(&security).unwrap().unwrap(),
            connector: TlsConnector::from(Arc::new(config)),
            periods: Periods::new(0),
            directory,
        }
    }

    pub(super) fn change(&self, change: CertificateChange) {
        write(self.directory.path(), change);
        let start = Instant::now();
        self.tls.reload_and_log();
        if let CertificateChange::Issued(number) = change {
            self.periods.replace(start, number);
        }
    }

    /// Connects as a client does, which must be shown a certificate that was in force meanwhile.
    pub(super) async fn connect(&self) -> Connection {
        let start = Instant::now();
        let (near, far) = tokio::io::duplex(IN_TRANSIT);
        let name = ServerName::try_from(HOST).unwrap();
        let (client, server) =
            tokio::try_join!(self.connector.connect(name, near), self.tls.acceptor().accept(far)).unwrap();
        let shown = &client.get_ref().1.peer_certificates().unwrap()[0];
        let in_force = self.periods.during(start, Instant::now());
        assert!(
            in_force.iter().any(|number| certificate(*number) == *shown),
            "the client was shown a certificate that was not in force: {in_force:?} were"
        );
        Connection { client, server }
    }
}

impl Connection {
    /// Sends an answer to the client, which must get all of it, whatever became of the certificate.
    pub(super) async fn carry(&mut self, answer: &str) {
        let send = async {
            self.server.write_all(answer.as_bytes()).await?;
            self.server.flush().await
        };
        let mut received = vec![0; answer.len()];
        let receive = self.client.read_exact(&mut received);
        let (sent, read) = tokio::join!(send, receive);
        assert!(sent.is_ok() && read.is_ok(), "the connection broke off: {sent:?}, {read:?}");
        assert_eq!(received, answer.as_bytes());
    }
}

fn certificate(number: usize) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(ISSUED[number].1.as_bytes()).unwrap()
}

fn write(directory: &Path, change: CertificateChange) {
    let (key, cert) = match change {
        CertificateChange::Issued(number) => ISSUED[number],
        CertificateChange::Mismatched => (ISSUED[0].0, ISSUED[1].1),
        CertificateChange::CutOff => (ISSUED[0].0, &ISSUED[0].1[..ISSUED[0].1.len() / 2]),
    };
    std::fs::write(directory.join("key"), key).unwrap();
    std::fs::write(directory.join("cert"), cert).unwrap();
}
