//! `Credentials`: what a node shows the others and how it checks them, kept up to date with its files.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use super::error::TlsError;
use super::files::{Loaded, Stamp, TlsFiles};
use super::identity::Identity;
use super::verifier::{Clients, Nodes, Pin, Servers};
use super::{ALPN_GRPC, ALPN_PLANE};
use crate::Clock;

/// How often the files are looked at. Renewed certificates overlap for days; a wrong one is noticed while its author
/// still looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A node's certificate, key and CA. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Credentials {
    files: Arc<TlsFiles>,
    clock: Clock,
    current: watch::Sender<Arc<Material>>,
}

/// One state of the files, ready for handshakes.
pub(crate) struct Material {
    identity: Identity,
    ca_sha256: [u8; 32],
    not_after: SystemTime,
    stamp: Stamp,
    /// For gRPC connections that come in. A client without a certificate gets through the handshake: it may be joining.
    pub(crate) grpc_server: Arc<ServerConfig>,
    /// For gRPC connections to others.
    pub(crate) grpc_client: Arc<ClientConfig>,
    /// For plane connections that come in.
    pub(crate) plane_server: Arc<ServerConfig>,
    /// For plane connections to others.
    pub(crate) plane_client: Arc<ClientConfig>,
}

impl Credentials {
    /// Reads and checks the files of node `name`. Blocks on them.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles, name: &str, clock: Clock) -> Result<Self, TlsError> {
        let material = Material::load(&files, clock)?;
        if material.identity.name() != name {
            return Err(TlsError::OtherNode {
                path: files.cert,
                found: material.identity.name().to_owned(),
                expected: name.to_owned(),
            });
        }
        Ok(Self {
            files: Arc::new(files),
            clock,
            current: watch::Sender::new(Arc::new(material)),
        })
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.material().identity.clone()
    }

    /// SHA-256 of the CA's certificate (DER): what a join token pins.
    pub fn ca_sha256(&self) -> [u8; 32] {
        self.material().ca_sha256
    }

    /// When the node's certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.material().not_after
    }

    /// Looks at the files for ever, and takes them over when they have changed. Files that are wrong are reported once
    /// and leave everything as it was: a node keeps its last good certificate.
    pub async fn follow_files(&self) {
        let mut bad: Option<Stamp> = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let stamp = self.files.stamp();
            if bad == Some(stamp) {
                continue;
            }
            match self.reload() {
                Ok(true) => tracing::info!(not_after = ?self.not_after(), "certificates reloaded"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "certificate files are wrong; the last good ones stay in use");
                    bad = Some(stamp);
                    continue;
                }
            }
            bad = None;
        }
    }

    /// Takes over the files if they have changed, and says whether. Three small files, so it may block.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let current = self.material();
        if self.files.stamp() == current.stamp {
            return Ok(false);
        }
        let material = Material::load(&self.files, self.clock)?;
        if material.identity != current.identity {
            return Err(TlsError::OtherNode {
                path: self.files.cert.clone(),
                found: material.identity.to_string(),
                expected: current.identity.to_string(),
            });
        }
        self.current.send_replace(Arc::new(material));
        Ok(true)
    }

    /// The state of the files now.
    pub(crate) fn material(&self) -> Arc<Material> {
        Arc::clone(&self.current.borrow())
    }

    /// Follows the state of the files.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Material>> {
        self.current.subscribe()
    }

    /// The clock that decides whether a certificate is good now.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }
}

impl Material {
    fn load(files: &TlsFiles, clock: Clock) -> Result<Self, TlsError> {
        // Before reading: a file that is written meanwhile is read again at the next look.
        let stamp = files.stamp();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let loaded = files.load(&provider, clock())?;
        let setup = Setup {
            provider,
            time: Arc::new(Now(clock)),
            loaded: &loaded,
        };
        Ok(Self {
            grpc_server: setup.server(ALPN_GRPC, true)?,
            grpc_client: setup.client(ALPN_GRPC)?,
            plane_server: setup.server(ALPN_PLANE, false)?,
            plane_client: setup.client(ALPN_PLANE)?,
            identity: loaded.identity,
            ca_sha256: loaded.ca_sha256,
            not_after: loaded.not_after,
            stamp,
        })
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("identity", &self.identity)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What both directions have in common. Sessions are never resumed: a handshake is rare here, and each one checks the
/// certificate of the other end as it is now.
struct Setup<'a> {
    provider: Arc<CryptoProvider>,
    time: Arc<Now>,
    loaded: &'a Loaded,
}

impl Setup<'_> {
    fn server(&self, alpn: &[u8], anonymous: bool) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver = SingleCertAndKey::from(Arc::clone(&self.loaded.key));
        let provider = Arc::clone(&self.provider);
        let time = Arc::clone(&self.time);
        let clients = Clients::new(Arc::clone(&provider), self.nodes(), anonymous);
        let clients = clients.map_err(TlsError::Setup)?;
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(Arc::new(clients))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![alpn.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    fn client(&self, alpn: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
        let resolver = SingleCertAndKey::from(Arc::clone(&self.loaded.key));
        let provider = Arc::clone(&self.provider);
        let time = Arc::clone(&self.time);
        let servers = Servers::new(Arc::clone(&provider), self.nodes());
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn nodes(&self) -> Nodes {
        Nodes {
            roots: Arc::clone(&self.loaded.roots),
            trust_domain: self.loaded.identity.trust_domain().to_owned(),
        }
    }
}

/// How a node without a certificate talks to a cluster whose CA it knows by hash only.
pub(crate) fn pinned_client(
    ca_sha256: [u8; 32],
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let cluster = Servers::new(Arc::clone(&provider), Pin(ca_sha256));
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Now(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(cluster))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_GRPC.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The clock of the node, as rustls asks for it.
#[derive(Debug)]
struct Now(Clock);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let since = (self.0)().duration_since(UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}
