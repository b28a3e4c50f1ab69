//! `Identity`: the name in a node's certificate.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name of a node.
pub(crate) const NAME_BYTES_MAX: usize = 63;
/// Longest trust domain (SPIFFE-ID, section 2.1).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Who a certificate speaks for: `spiffe://<trust domain>/node/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    trust_domain: String,
    name: String,
}

/// Why a certificate names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a certificate at all.
    #[error("not an X.509 certificate")]
    Malformed,
    /// No URI name, or more than one.
    #[error("has {0} URI names where exactly one `spiffe://<cluster>/node/<name>` is expected")]
    NotOneName(usize),
    /// The URI has another form.
    #[error("URI name `{0}` is not `spiffe://<cluster>/node/<name>`")]
    NotANode(String),
}

impl Identity {
    /// Builds one from its parts.
    ///
    /// # Errors
    ///
    /// [`IdentityError::NotANode`] when a part has characters that it must not have, or is too long.
    pub fn new(trust_domain: &str, name: &str) -> Result<Self, IdentityError> {
        let identity = Self {
            trust_domain: trust_domain.to_owned(),
            name: name.to_owned(),
        };
        if is_trust_domain(trust_domain) && is_name(name) {
            Ok(identity)
        } else {
            Err(IdentityError::NotANode(identity.to_string()))
        }
    }

    /// Reads `spiffe://<trust domain>/node/<name>`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::NotANode`] for any other form.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        uri.strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once("/node/"))
            .and_then(|(trust_domain, name)| Self::new(trust_domain, name).ok())
            .ok_or_else(|| IdentityError::NotANode(uri.to_owned()))
    }

    /// Reads the one URI name of a certificate. Does not ask who signed it.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the certificate names no node, or more than one.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_rest, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Malformed)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris.as_slice() {
            [uri] => Self::parse(uri),
            uris => Err(IdentityError::NotOneName(uris.len())),
        }
    }

    /// The cluster's part of the name.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The node's part of the name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/node/{}", self.trust_domain, self.name)
    }
}

/// How long a certificate is still good. `None` when it is no more, or can't be read.
pub(crate) fn time_left(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<Duration> {
    let (_rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    let not_after = UNIX_EPOCH + Duration::from_secs(seconds);
    not_after.duration_since(now).ok()
}

/// Letters, digits, `.`, `-` and `_`: what SPIFFE allows of a path segment.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.bytes().all(|byte| byte == b'.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn is_trust_domain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= TRUST_DOMAIN_BYTES_MAX
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<(&str, &str)>) {
        let parsed = Identity::parse(uri).ok();
        let parts = parsed.as_ref().map(|it| (it.trust_domain(), it.name()));
        assert_eq!(parts, expected, "{uri}");
        if let Some(identity) = &parsed {
            assert_eq!(identity.to_string(), uri);
        }
    }

    #[test]
    fn only_the_name_of_a_node_is_an_identity() {
        check(
            "spiffe://prod.example/node/n1",
            Some(("prod.example", "n1")),
        );
        check("spiffe://a/node/N_2.x-y", Some(("a", "N_2.x-y")));
        check("spiffe://a/node/", None);
        check("spiffe:///node/n1", None);
        check("spiffe://A/node/n1", None);
        check("spiffe://a/node/n1/x", None);
        check("spiffe://a/node/n1/node/n2", None);
        check("spiffe://a/b/node/n1", None);
        check("spiffe://a:80/node/n1", None);
        check("spiffe://a/watchdog/n1", None);
        check("spiffe://a/node/..", None);
        check("spiffe://a/node/n1?x", None);
        check("https://a/node/n1", None);
        check(&format!("spiffe://a/node/{}", "n".repeat(64)), None);
        check(&format!("spiffe://{}/node/n", "a".repeat(256)), None);
    }
}
