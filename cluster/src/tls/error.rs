//! What can be wrong with the files of a node's identity.

use std::io;
use std::path::PathBuf;

use super::identity::IdentityError;

/// Why a node's certificate files can't be used. Each names the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Others can read the private key.
    #[error("key file `{}` is open to others (mode {mode:03o}); run `chmod 600` on it", path.display())]
    KeyExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A PEM file without what it should hold, or with something broken.
    #[error("`{}` does not hold {expected} in PEM", path.display())]
    NotPem {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The certificate bears no name of a node.
    #[error("certificate `{}` {why}", path.display())]
    NoIdentity {
        /// Which file.
        path: PathBuf,
        /// What is wrong with the name.
        why: IdentityError,
    },
    /// The certificate is for another node than the configuration says.
    #[error("certificate `{}` is for node `{found}`, but `cluster.node` says `{expected}`", path.display())]
    OtherNode {
        /// Which file.
        path: PathBuf,
        /// Name in the certificate.
        found: String,
        /// Name in the configuration.
        expected: String,
    },
    /// Too late or too early.
    #[error("certificate `{}` is not valid now (from {not_before} to {not_after})", path.display())]
    NotNow {
        /// Which file.
        path: PathBuf,
        /// Start of its time.
        not_before: String,
        /// End of its time.
        not_after: String,
    },
    /// The CA did not sign the certificate.
    #[error("certificate `{}` was not signed by the CA in `{}`", path.display(), ca.display())]
    OtherCa {
        /// File of the certificate.
        path: PathBuf,
        /// File of the CA.
        ca: PathBuf,
        /// What verification said.
        #[source]
        source: rustls::Error,
    },
    /// The key is not the certificate's.
    #[error("key `{}` does not belong to certificate `{}`", key.display(), cert.display())]
    KeyMismatch {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        cert: PathBuf,
        /// What the comparison said.
        #[source]
        source: rustls::Error,
    },
    /// A CA certificate that can't anchor a chain.
    #[error("`{}` holds a certificate that is no CA", path.display())]
    NotACa {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: rustls::Error,
    },
    /// The TLS library refused the combination.
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}
