//! `TlsFiles`: where a node's certificates lie, and reading them.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::error::TlsError;
use super::identity::Identity;
use super::verifier::verify_chain;

/// The three files that make a node known to the others, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// CA certificates of the cluster. Several while it changes its CA.
    pub ca: PathBuf,
    /// Certificate of the node, then intermediates.
    pub cert: PathBuf,
    /// Private key of the node, mode 0600.
    pub key: PathBuf,
}

/// What the files hold, checked.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) identity: Identity,
    pub(super) roots: Arc<RootCertStore>,
    /// The node's certificate with its intermediates and the CA at the end, so that a joining node can find the CA it
    /// pins among what it is sent.
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_after: SystemTime,
    pub(super) ca_sha256: [u8; 32],
}

/// Changes when a file is written or replaced.
pub(super) type Stamp = [Option<(u64, i64, i64, u64)>; 3];

impl TlsFiles {
    /// Tells whether a file was written since. A file that is missing counts as another one.
    pub(super) fn stamp(&self) -> Stamp {
        let of = |metadata: &Metadata| {
            (
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.len(),
            )
        };
        [&self.ca, &self.cert, &self.key].map(|path| fs::metadata(path).as_ref().map(of).ok())
    }

    /// Reads and checks all three.
    pub(super) fn load(
        &self,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Loaded, TlsError> {
        let authorities = read_certificates(&self.ca, "CA certificates")?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots
                .add(authority.clone())
                .map_err(|source| TlsError::NotACa {
                    path: self.ca.clone(),
                    source,
                })?;
        }
        let mut chain = read_certificates(&self.cert, "a certificate")?;
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| TlsError::NotPem {
            path: self.cert.clone(),
            expected: "a certificate",
        })?;
        let no_identity = |why| TlsError::NoIdentity {
            path: self.cert.clone(),
            why,
        };
        let identity = Identity::of_certificate(leaf).map_err(no_identity)?;
        let not_after = self.check_time(leaf, now)?;
        let at = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        verify_chain(provider, &roots, leaf, intermediates, at).map_err(|source| {
            TlsError::OtherCa {
                path: self.cert.clone(),
                ca: self.ca.clone(),
                source,
            }
        })?;
        let ca_sha256 = self.append_ca(&mut chain, &authorities)?;
        let key = self.certified_key(provider, chain)?;
        Ok(Loaded {
            identity,
            roots: Arc::new(roots),
            key: Arc::new(key),
            not_after,
            ca_sha256,
        })
    }

    fn check_time(
        &self,
        leaf: &CertificateDer<'_>,
        now: SystemTime,
    ) -> Result<SystemTime, TlsError> {
        let (_rest, parsed) = X509Certificate::from_der(leaf).map_err(|_| TlsError::NotPem {
            path: self.cert.clone(),
            expected: "a certificate",
        })?;
        let validity = parsed.validity();
        let at = |seconds: i64| {
            UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        let not_before = at(validity.not_before.timestamp());
        let not_after = at(validity.not_after.timestamp());
        if now < not_before || now > not_after {
            return Err(TlsError::NotNow {
                path: self.cert.clone(),
                not_before: validity.not_before.to_string(),
                not_after: validity.not_after.to_string(),
            });
        }
        Ok(not_after)
    }

    /// Puts the CA behind the chain, and returns its hash: the one that join tokens pin.
    fn append_ca(
        &self,
        chain: &mut Vec<CertificateDer<'static>>,
        authorities: &[CertificateDer<'static>],
    ) -> Result<[u8; 32], TlsError> {
        let newest = authorities.first().ok_or_else(|| TlsError::NotPem {
            path: self.ca.clone(),
            expected: "CA certificates",
        })?;
        if !chain.contains(newest) {
            chain.push(newest.clone());
        }
        Ok(sha256(newest))
    }

    fn certified_key(
        &self,
        provider: &CryptoProvider,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<CertifiedKey, TlsError> {
        let unreadable = |source| TlsError::Unreadable {
            path: self.key.clone(),
            source,
        };
        let mode = fs::metadata(&self.key)
            .map_err(unreadable)?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            return Err(TlsError::KeyExposed {
                path: self.key.clone(),
                mode,
            });
        }
        let pem = Zeroizing::new(fs::read(&self.key).map_err(unreadable)?);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NotPem {
            path: self.key.clone(),
            expected: "a private key",
        })?;
        let mismatch = |source| TlsError::KeyMismatch {
            key: self.key.clone(),
            cert: self.cert.clone(),
            source,
        };
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(mismatch)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that can't tell its public half is found out in the first handshake.
            Ok(()) | Err(RustlsError::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(source) => Err(mismatch(source)),
        }
    }
}

fn read_certificates(
    path: &Path,
    expected: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let not_pem = || TlsError::NotPem {
        path: path.to_owned(),
        expected,
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| not_pem())?;
    if certificates.is_empty() {
        return Err(not_pem());
    }
    Ok(certificates)
}

/// SHA-256 of a certificate's DER.
pub(super) fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, certificate).as_ref());
    hash
}
