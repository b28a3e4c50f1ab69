//! `Authority`: a CA certificate with its key, which signs the certificates of nodes.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity::Identity;

/// How long before "now" a certificate begins: clocks of nodes differ.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
/// How long a CA made here is good.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long the certificate of a node is good.
const NODE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A CA that can sign.
pub(crate) struct Authority {
    pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Why a certificate was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignError {
    /// Not a signing request, or its signature is wrong.
    #[error("the signing request is malformed, or is not signed by its own key")]
    BadRequest(#[source] rcgen::Error),
    /// The request names somebody else.
    #[error("the signing request names another than `{expected}`")]
    OtherName {
        /// Who may ask.
        expected: Identity,
    },
    /// What it would sign nobody would take for the CA's.
    #[error("the key is not that of the CA's certificate")]
    OtherKey,
    /// The key or certificate of the CA can't be used.
    #[error("the CA can't sign")]
    Authority(#[source] rcgen::Error),
}

impl Authority {
    /// Makes a new CA for `trust_domain`, and the PEM of its key.
    pub(crate) fn generate(trust_domain: &str, now: SystemTime) -> Result<Self, SignError> {
        let key = KeyPair::generate().map_err(SignError::Authority)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, Self::name(trust_domain));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + CA_LIFE).into();
        let certificate = params.self_signed(&key).map_err(SignError::Authority)?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes over a CA that was made elsewhere.
    pub(crate) fn from_pem(pem: &str, key: &str) -> Result<Self, SignError> {
        let key = KeyPair::from_pem(key).map_err(SignError::Authority)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| SignError::Authority(rcgen::Error::CouldNotParseCertificate))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| SignError::Authority(rcgen::Error::CouldNotParseCertificate))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(SignError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(SignError::Authority)?;
        Ok(Self {
            pem: pem.to_owned(),
            certificate,
            issuer,
        })
    }

    /// What a CA that was made here for `trust_domain` is called.
    pub(crate) fn name(trust_domain: &str) -> String {
        format!("{trust_domain} node CA")
    }

    /// What this one is called.
    pub(crate) fn common_name(&self) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(&self.certificate).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    }

    /// Certificate of the CA.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same as text.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// PEM of the CA's key.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs the key of a request for `identity`. Nothing else of the request gets into the certificate: a joining node
    /// does not choose its own names, usages or time.
    pub(crate) fn sign_request(
        &self,
        request: &[u8],
        identity: &Identity,
        now: SystemTime,
    ) -> Result<Certificate, SignError> {
        let request = CertificateSigningRequestDer::from(request);
        let request =
            CertificateSigningRequestParams::from_der(&request).map_err(SignError::BadRequest)?;
        let uri = identity.to_string();
        let names = &request.params.subject_alt_names;
        // None is fine: the one who asks may not know how the cluster is called.
        if !matches!(names.as_slice(), [])
            && !matches!(names.as_slice(), [SanType::URI(name)] if name.as_str() == uri)
        {
            return Err(SignError::OtherName {
                expected: identity.clone(),
            });
        }
        self.sign(&request.public_key, identity, now)
    }

    /// Signs a key for `identity`.
    pub(crate) fn sign(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<Certificate, SignError> {
        let mut params = node_params(identity)?;
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + NODE_LIFE).into();
        params.use_authority_key_identifier_extension = true;
        params
            .signed_by(key, &self.issuer)
            .map_err(SignError::Authority)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What stands in the certificate of a node, and in its signing request.
pub(super) fn node_params(identity: &Identity) -> Result<CertificateParams, SignError> {
    let uri = identity
        .to_string()
        .try_into()
        .map_err(SignError::Authority)?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, identity.name());
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn request(names: &[&str]) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = names
            .iter()
            .map(|name| SanType::URI((*name).try_into().unwrap()))
            .collect();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_request_for_another_name_is_not_signed() {
        let authority = Authority::generate("prod", now()).unwrap();
        let n1 = Identity::new("prod", "n1").unwrap();
        for names in [
            &["spiffe://prod/node/n2"][..],
            &["spiffe://other/node/n1"],
            &["spiffe://prod/node/n1", "spiffe://prod/node/n2"],
        ] {
            let refused = authority.sign_request(&request(names), &n1, now());
            assert!(
                matches!(refused, Err(SignError::OtherName { .. })),
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_request_chooses_its_key_and_nothing_else() {
        let authority = Authority::generate("prod", now()).unwrap();
        let n1 = Identity::new("prod", "n1").unwrap();
        for names in [&["spiffe://prod/node/n1"][..], &[]] {
            let signed = authority.sign_request(&request(names), &n1, now()).unwrap();
            assert_eq!(Identity::of_certificate(signed.der()).unwrap(), n1);
            let (_rest, parsed) = x509_parser::parse_x509_certificate(signed.der()).unwrap();
            assert!(!parsed.is_ca());
        }
    }

    #[test]
    fn a_changed_request_is_not_signed() {
        let authority = Authority::generate("prod", now()).unwrap();
        let n1 = Identity::new("prod", "n1").unwrap();
        let mut bytes = request(&["spiffe://prod/node/n1"]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let refused = authority.sign_request(&bytes, &n1, now());
        assert!(matches!(refused, Err(SignError::BadRequest(_))));
    }
}
