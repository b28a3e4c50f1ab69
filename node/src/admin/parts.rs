//! What the admin plane sees of the node.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use lockgate_cluster::Cluster;
use tokio::sync::watch;

use crate::config::{Options, Registry, ReloadHandle};
use crate::pipeline::Pipeline;
use crate::session;
use crate::upstream::Upstreams;

/// Whether the node takes new sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    #[default]
    Starting,
    /// Yes.
    Ready,
    /// Not any more: the node goes down when its calls have ended.
    Draining,
}

impl Readiness {
    /// Word in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// Outcome of [`Parts::apply`]; an error says what could not be made effective.
pub type ApplyFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Reads the hash of the cluster's CA; an error says why it can't be read.
pub type CaHash = Arc<dyn Fn() -> Result<[u8; 32], String> + Send + Sync>;

/// Handles of everything that the admin plane shows or changes. Made once, by `app`.
#[derive(Clone)]
pub struct Parts {
    /// Data plane, as bound.
    pub listen: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// First and last second of its certificate. `None` without TLS.
    pub certificate: Arc<dyn Fn() -> Option<(SystemTime, SystemTime)> + Send + Sync>,
    /// When this process started.
    pub started: SystemTime,
    /// Tells the time.
    pub clock: fn() -> SystemTime,
    /// Keys, and servers that were added at run time.
    pub cluster: Cluster,
    /// Sessions.
    pub sessions: session::Door,
    /// Servers.
    pub upstreams: Upstreams,
    /// Routes, counters and the audit log.
    pub pipeline: Arc<Pipeline>,
    /// Registry in force: the file's, and what was added at run time.
    pub registry: Arc<ArcSwap<Registry>>,
    /// Versions of the file. `None` when the configuration is no file.
    pub config: Option<ReloadHandle>,
    /// How settings of added servers are checked.
    pub server_options: Options,
    /// Whether the node takes new sessions.
    pub readiness: watch::Receiver<Readiness>,
    /// Open connections of clients.
    pub connections: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Hash of the CA that join tokens pin. `None` in a cluster of one.
    pub ca_sha256: Option<CaHash>,
    /// Whether the file says something else than the registry that the nodes share.
    pub file_differs: Arc<AtomicBool>,
    /// How long what the keyring has sealed is of use.
    pub sealed_age_max: Duration,
    /// Makes file and registry effective on this node as they are now, and resolves when they are. An answer to a
    /// change is sent after that, so that a revoked key opens nothing any more.
    pub apply: Arc<dyn Fn() -> ApplyFuture + Send + Sync>,
}

impl Parts {
    /// Whether it shares its registry with other nodes; otherwise the configuration file is the registry.
    pub(super) fn has_others(&self) -> bool {
        self.ca_sha256.is_some()
    }

    /// What is in the registry as it was written, in words, and how it is taken out there.
    pub(super) fn written(&self) -> (&'static str, &'static str) {
        match self.has_others() {
            true => (
                "stands in the registry that the nodes share",
                "take it out of the file, and put that in force with `lockgate config apply FILE`",
            ),
            false => (
                "stands in the configuration file",
                "take it out of the configuration file",
            ),
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}
