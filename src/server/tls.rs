//! The listener's certificate, and that of those whose clients are let through: read anew when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::files::{self, Stamps};
use crate::metrics::Metrics;
use crate::settings::{Inbound, seconds};

/// The files that TLS takes.
#[derive(Clone, Debug)]
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Files {
    /// Those of the settings, if they say TLS.
    pub fn of(inbound: &Inbound) -> Option<Self> {
        Some(Self {
            cert: inbound.tls_cert_file.clone()?,
            key: inbound.tls_key_file.clone()?,
            client_ca: inbound.tls_client_ca_file.clone(),
        })
    }

    fn paths(&self) -> Vec<PathBuf> {
        let both = [&self.cert, &self.key].into_iter().chain(&self.client_ca);
        both.cloned().collect()
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// One sentence on the file at fault.
    pub fn read(&self) -> Result<ServerConfig, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = certificates("inbound.tls_cert_file", &self.cert)?;
        let key = &self.key;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|e| format!("inbound.tls_key_file {}: {e}", key.display()))?;
        let builder = match &self.client_ca {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(path) => {
                let of_file = |fault: String| format!("inbound.tls_client_ca_file {}: {fault}", path.display());
                let mut roots = RootCertStore::empty();
                for authority in certificates("inbound.tls_client_ca_file", path)? {
                    roots.add(authority).map_err(|e| of_file(e.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                ServerConfig::builder().with_client_cert_verifier(verifier.map_err(|e| of_file(e.to_string()))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, private)
            .map_err(|e| format!("inbound.tls_cert_file {}: {e}", self.cert.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all = read.map_err(|e| format!("{key} {}: {e}", path.display()))?;
    if all.is_empty() {
        return Err(format!("{key} {}: there is no certificate in it", path.display()));
    }
    Ok(all)
}

/// What handshakes are made with now; clones share it.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<ServerConfig>>);

impl Current {
    fn new(config: ServerConfig) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// For one handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

/// Looks after the files.
pub struct Watch {
    files: Files,
    watch: files::Watch,
    current: Current,
    metrics: Metrics,
}

impl Watch {
    /// Reads the files, and will look after them.
    ///
    /// # Errors
    /// One sentence on the file at fault.
    pub fn over(files: Files, inbound: &Inbound, metrics: Metrics) -> Result<Self, String> {
        let paths = files.paths();
        let read: Stamps = files::stamps(&paths);
        Ok(Self {
            current: Current::new(files.read()?),
            watch: files::Watch::new(paths, seconds(inbound.reload_s), read),
            files,
            metrics,
        })
    }

    /// What is in use, now and later.
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// Watches for ever. Connections that are there keep what they began with.
    pub async fn run(mut self) {
        loop {
            let cause = self.watch.next().await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || files.read()).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(config) => {
                    self.current.0.store(Arc::new(config));
                    self.metrics.file_reload("certificate", "done");
                    tracing::info!(?cause, "the certificate was read anew");
                }
                Err(fault) => {
                    self.metrics.file_reload("certificate", "refused");
                    tracing::error!(%fault, "the new certificate is refused, and the one before stays in use");
                }
            }
        }
    }
}
