//! Why a node can't take its place among others.

use std::io;
use std::path::PathBuf;

use crate::tls::TlsError;

/// Why a node can't take its place among others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Its certificate files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key of the CA, with which this node was to sign certificates.
    #[error("CA key `{}` can't be used with CA `{}`: {why}", key.display(), ca.display())]
    CaKey {
        /// File of the key.
        key: PathBuf,
        /// File of the CA.
        ca: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Its port.
    #[error("cannot listen on {protocol} `{address}` for other nodes")]
    Listen {
        /// TCP or UDP.
        protocol: &'static str,
        /// Where.
        address: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// What it keeps of its membership.
    #[error("{what}")]
    Record {
        /// What is wrong, with the file's name.
        what: String,
    },
    /// The cluster did not admit it.
    #[error("this node was not admitted: {why}")]
    NotAdmitted {
        /// What the cluster said, or why nobody answered.
        why: String,
    },
    /// The certificate that the cluster signed could not be kept.
    #[error("cannot write the certificate that the cluster signed")]
    Certificate(#[source] io::Error),
}
