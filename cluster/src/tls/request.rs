//! `SigningRequest`: a key, and the request to the cluster's CA to certify it.

use std::fmt;
use std::io;

use bytes::Bytes;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::dev::write_new;
use super::files::TlsFiles;

/// A fresh key of a node that has no certificate yet.
pub(crate) struct SigningRequest {
    key: KeyPair,
    der: Bytes,
}

impl SigningRequest {
    /// Draws a key. The request names nothing but `name`: a joining node does not know how its cluster is called, and
    /// the CA writes names by itself.
    pub(crate) fn generate(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let request = params.serialize_request(&key)?;
        Ok(Self {
            der: Bytes::copy_from_slice(request.der()),
            key,
        })
    }

    /// The request itself (DER).
    pub(crate) fn der(&self) -> Bytes {
        self.der.clone()
    }

    /// Writes the key (mode 0600) and what the cluster answered: the certificate of the node, then the CA's. Files that
    /// are there are not replaced, but for a CA file: the pinned CA is the one of this cluster.
    pub(crate) fn install(&self, files: &TlsFiles, certificates: &[Bytes]) -> io::Result<()> {
        let [leaf, ca] = certificates else {
            let why = "the cluster sent no certificate and CA";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        write_new(&files.key, 0o600, self.key.serialize_pem().as_bytes())?;
        std::fs::write(&files.ca, pem(ca))?;
        // Last: whether it is there says whether all of them are.
        write_new(&files.cert, 0o644, pem(leaf).as_bytes())
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest").finish_non_exhaustive()
    }
}

/// A certificate as text (RFC 7468).
fn pem(der: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    const LINE_CHARS: usize = 64;

    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}
