//! A certificate and its key, read and checked.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::validity::Validity;
use crate::config::{Problem, Tls};

const CERT: &str = "tls.cert";
const KEY: &str = "tls.key";
/// How an encrypted key begins: PKCS #8, and what OpenSSL wrote before (RFC 1421, section 4.6.1.1).
const ENCRYPTED: [&[u8]; 2] = [
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
    b"Proc-Type: 4,ENCRYPTED",
];

/// Why a certificate pair cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{what} `{path}` cannot be read")]
    Read {
        /// `tls.cert` or `tls.key`.
        what: &'static str,
        /// Path.
        path: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{what} `{path}` cannot be read as PEM")]
    Pem {
        /// `tls.cert` or `tls.key`.
        what: &'static str,
        /// Path.
        path: String,
        /// Cause.
        #[source]
        source: pem::Error,
    },
    /// A file has other things inside, or nothing.
    #[error("{what} `{path}` holds no {missing}")]
    Nothing {
        /// `tls.cert` or `tls.key`.
        what: &'static str,
        /// Path.
        path: String,
        /// What it should hold.
        missing: &'static str,
    },
    /// The key needs a password.
    #[error("tls.key `{path}` is encrypted")]
    Encrypted {
        /// Path.
        path: String,
    },
    /// The key belongs to a certificate further on in the chain.
    #[error("the key belongs to certificate {place} of `tls.cert`, which has to be the first")]
    Order {
        /// Counted from 1.
        place: usize,
    },
    /// The gateway's own certificate is damaged, or of a kind that no client takes.
    #[error("the first certificate of `tls.cert` cannot be used")]
    Certificate(#[source] rustls::Error),
    /// Certificate and key do not fit.
    #[error("`tls.cert` and `tls.key` cannot be used together")]
    Pair(#[source] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name a file that the gateway may read",
            Self::Pem { .. } => "name a PEM file",
            Self::Nothing { what: CERT, .. } => "name a PEM file with the chain",
            Self::Nothing { .. } => "name a PEM file with the private key",
            Self::Encrypted { .. } => {
                "take its password away (`openssl pkey -in FILE -out NEW`) and let the gateway alone read it"
            }
            Self::Order { .. } => {
                "write the gateway's certificate first, then those that signed it, one after another"
            }
            Self::Certificate(_) => "have it issued again, as X.509 of version 3",
            Self::Pair(_) => "name the private key that belongs to the certificate",
        }
    }

    /// The error and why, in one line.
    pub fn with_causes(&self) -> String {
        let cause = self.source().map(|cause| format!(": {cause}"));
        format!("{self}{}", cause.unwrap_or_default())
    }
}

impl From<TlsError> for Problem {
    fn from(error: TlsError) -> Self {
        Self {
            line: None,
            key: "tls".to_owned(),
            what: error.with_causes(),
            remedy: error.remedy().to_owned(),
        }
    }
}

/// What a listener serves with.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    /// Of the gateway's own certificate. `None` when its dates cannot be read.
    pub(super) validity: Option<Validity>,
}

impl Pair {
    pub(super) fn read(settings: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = chain(&settings.cert)?;
        let key = key(&settings.key)?;
        let validity = chain.first().and_then(Validity::of);
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let (chain, key) = (chain.clone(), key.clone_key());
                builder.with_no_client_auth().with_single_cert(chain, key)
            });
        let mut config = config.map_err(|error| match place_of(&key, &chain, &provider) {
            Some(place) => TlsError::Order { place },
            None if matches!(error, rustls::Error::InvalidCertificate(_)) => {
                TlsError::Certificate(error)
            }
            None => TlsError::Pair(error),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            validity,
        })
    }
}

/// Reads the certificates of a listener, its own first.
///
/// # Errors
///
/// See [`TlsError`].
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = bytes(CERT, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|source| TlsError::Pem {
        what: CERT,
        path: path.display().to_string(),
        source,
    })?;
    if chain.is_empty() {
        return Err(TlsError::Nothing {
            what: CERT,
            path: path.display().to_string(),
            missing: "certificate",
        });
    }
    Ok(chain)
}

/// Reads the private key of a listener.
///
/// # Errors
///
/// See [`TlsError`].
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = bytes(KEY, path)?;
    let shown = path.display().to_string();
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| {
        let is_encrypted = |sign: &&[u8]| memchr::memmem::find(&bytes, sign).is_some();
        match source {
            _ if ENCRYPTED.iter().any(is_encrypted) => TlsError::Encrypted { path: shown },
            pem::Error::NoItemsFound => TlsError::Nothing {
                what: KEY,
                path: shown,
                missing: "private key",
            },
            source => TlsError::Pem {
                what: KEY,
                path: shown,
                source,
            },
        }
    })
}

fn bytes(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| TlsError::Read {
            what,
            path: path.display().to_string(),
            source,
        })
}

/// Place in `chain`, from 1, of the certificate that `key` belongs to.
fn place_of(
    key: &PrivateKeyDer<'_>,
    chain: &[CertificateDer<'static>],
    provider: &CryptoProvider,
) -> Option<usize> {
    let fits = |certificate: &CertificateDer<'static>| {
        let key = provider.key_provider.load_private_key(key.clone_key());
        key.is_ok_and(|key| {
            let certified = CertifiedKey::new(vec![certificate.clone()], key);
            certified.keys_match().is_ok()
        })
    };
    chain.iter().position(fits).map(|at| at + 1)
}
