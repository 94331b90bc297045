//! The listener's certificate, and that of those whose clients are let through: read anew when their files change. When
//! the certificate ends is told in time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::files::{self, Stamps};
use crate::cloud::Ahead;
use crate::metrics::Metrics;
use crate::settings::{Inbound, seconds};

/// How often the certificate's end is looked at, and how often it is warned of.
const EVERY: Duration = Duration::from_secs(60);
const WARN_EVERY: SignedDuration = SignedDuration::from_hours(24);
const CERTIFICATE: &str = "inbound.tls_cert_file";

/// What the files say.
pub struct Read {
    config: Arc<ServerConfig>,
    /// The first end of the chain. (The verifier of clients does not ask when an authority ends, so that is nobody's trouble.)
    pub ends: Option<Timestamp>,
}

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
    pub fn read(&self) -> Result<Read, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = certificates(CERTIFICATE, &self.cert)?;
        let ends = chain.iter().filter_map(end).min();
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
            .map_err(|e| format!("{CERTIFICATE} {}: {e}", self.cert.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Read {
            config: Arc::new(config),
            ends,
        })
    }
}

/// When a certificate ends.
fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(read.validity().not_after.timestamp()).ok()
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
pub struct Current(Arc<ArcSwap<Read>>);

impl Current {
    fn new(read: Read) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(read)))
    }

    /// For one handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.load().config))
    }

    /// When the certificate ends.
    pub fn ends(&self) -> Option<Timestamp> {
        self.0.load().ends
    }

    /// Tells the end in the figures, and in the log from thirty days before, once a day.
    async fn tell_end(&self, metrics: &Metrics) {
        let mut warned: Option<(Timestamp, Timestamp)> = None;
        loop {
            let now = Timestamp::now();
            if let Some(ends) = self.ends() {
                let left = ends.duration_since(now);
                metrics.certificate_ends(CERTIFICATE, left.as_secs());
                let is_told = warned.is_some_and(|(of, at)| of == ends && now.duration_since(at) < WARN_EVERY);
                let told = match Ahead::of(Some(ends), now) {
                    _ if is_told => false,
                    Ahead::Unknown | Ahead::Long => false,
                    Ahead::Days(days) => {
                        tracing::warn!(%ends, days, "the certificate of inbound.tls_cert_file ends soon: put a new one in its place, no restart is needed");
                        true
                    }
                    Ahead::Over => {
                        tracing::error!(%ends, "the certificate of inbound.tls_cert_file is over, and clients refuse it: put a new one in its place, no restart is needed");
                        true
                    }
                };
                if told {
                    warned = Some((ends, now));
                }
            }
            tokio::time::sleep(EVERY).await;
        }
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
    pub async fn run(self) {
        let (current, metrics) = (self.current(), self.metrics.clone());
        tokio::join!(self.read_anew(), current.tell_end(&metrics));
    }

    async fn read_anew(mut self) {
        loop {
            let cause = self.watch.next().await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || files.read()).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(read) => {
                    self.current.0.store(Arc::new(read));
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
