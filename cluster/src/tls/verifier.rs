//! Checks the certificate at the other end of a handshake: signed by the CA of this cluster, for a node of it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::files::sha256;
use super::identity::Identity;

/// What makes the certificate of a server good.
pub(super) trait Trust: fmt::Debug + Send + Sync {
    /// Checks a certificate and its chain, leaf first.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them.
    fn check(
        &self,
        provider: &CryptoProvider,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// Accepts the servers that `T` trusts.
#[derive(Debug)]
pub(super) struct Servers<T> {
    provider: Arc<CryptoProvider>,
    trust: T,
}

impl<T> Servers<T> {
    pub(super) fn new(provider: Arc<CryptoProvider>, trust: T) -> Self {
        Self { provider, trust }
    }
}

impl<T: Trust> ServerCertVerifier for Servers<T> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = &self.trust;
        trust.check(&self.provider, end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Trusts the nodes of one cluster. That the node is the one that was dialled, or a member at all, others check.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) trust_domain: String,
}

impl Nodes {
    fn check_identity(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match Identity::of_certificate(certificate) {
            Ok(identity) if identity.trust_domain() == self.trust_domain => Ok(()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }
}

impl Trust for Nodes {
    fn check(
        &self,
        provider: &CryptoProvider,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        verify_chain(provider, &self.roots, leaf, intermediates, now)?;
        self.check_identity(leaf)
    }
}

/// Trusts the cluster whose CA has this SHA-256, of the certificate's DER: all that a node with a join token knows of it.
#[derive(Debug)]
pub(super) struct Pin(pub(super) [u8; 32]);

impl Trust for Pin {
    fn check(
        &self,
        provider: &CryptoProvider,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| sha256(certificate) == self.0)
            .ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        verify_chain(provider, &roots, leaf, intermediates, now)?;
        match Identity::of_certificate(leaf) {
            Ok(_node) => Ok(()),
            Err(_) => Err(CertificateError::NotValidForName.into()),
        }
    }
}

/// Accepts clients that are nodes of one cluster.
#[derive(Debug)]
pub(super) struct Clients {
    nodes: Nodes,
    chains: Arc<dyn ClientCertVerifier>,
    /// Whether a client may come without a certificate: a node that joins with a token has none yet.
    anonymous: bool,
}

impl Clients {
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        nodes: Nodes,
        anonymous: bool,
    ) -> Result<Self, Error> {
        let roots = Arc::clone(&nodes.roots);
        let chains = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            nodes,
            chains,
            anonymous,
        })
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        !self.anonymous
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chains
            .verify_client_cert(end_entity, intermediates, now)?;
        self.nodes.check_identity(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies that a chain of certificates ends at one of `roots`, and is good `now`.
pub(super) fn verify_chain(
    provider: &CryptoProvider,
    roots: &RootCertStore,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
}

/// Who is at the other end of a connection whose handshake verified these certificates.
pub(crate) fn identity_of(certificates: Option<&[CertificateDer<'_>]>) -> Option<Identity> {
    Identity::of_certificate(certificates?.first()?).ok()
}
