//! TLS of the data plane. Certificate files are read again when they change; a bad pair changes nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::coalesce::Socket;
use crate::config::Tls;

/// How often the files are looked at. Certificates are replaced hours before they end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a certificate pair cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("{what} `{path}` cannot be read as PEM")]
    Read {
        /// `tls.cert` or `tls.key`.
        what: &'static str,
        /// Path.
        path: String,
        /// Cause.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit.
    #[error("`tls.cert` and `tls.key` cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// Accepts TLS with the certificate of the moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    settings: Arc<Tls>,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn load(settings: Tls) -> Result<Self, TlsError> {
        let current = Arc::new(ArcSwap::from_pointee(read(&settings)?));
        Ok(Self {
            settings: Arc::new(settings),
            current,
        })
    }

    pub(super) async fn accept(&self, stream: Socket) -> io::Result<TlsStream<Socket>> {
        TlsAcceptor::from(self.current.load_full())
            .accept(stream)
            .await
    }

    /// Reads the files again whenever one changes, until `stop` fires.
    pub async fn watch(self, stop: CancellationToken) {
        let mut seen = stamp(&self.settings);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = stamp(&self.settings);
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.settings) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    tracing::info!("certificate was read again");
                }
                // Both files rarely change in the same instant; the next look sees the pair.
                Err(error) => {
                    tracing::warn!(%error, "changed certificate is not usable; the old one stays")
                }
            }
        }
    }
}

type Stamp = [Option<(SystemTime, u64)>; 2];

fn stamp(settings: &Tls) -> Stamp {
    [&settings.cert, &settings.key].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

fn read(settings: &Tls) -> Result<ServerConfig, TlsError> {
    let problem = |what, path: &Path| {
        let path = path.display().to_string();
        move |source| TlsError::Read { what, path, source }
    };
    let chain: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(&settings.cert) {
        Ok(certificates) => certificates.collect(),
        Err(error) => Err(error),
    };
    let chain = chain.map_err(problem("tls.cert", &settings.cert))?;
    let key =
        PrivateKeyDer::from_pem_file(&settings.key).map_err(problem("tls.key", &settings.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
