//! `Net`: the engine's way to the others.

use std::collections::BTreeSet;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::fetcher::Fetcher;
use super::files::Files;
use super::handler::EngineHandler;
use super::leases::{self, Leases};
use super::others::Others;
use super::removal::Asker;
use super::spends::Spends;
use super::{comparer, keeper, roster, segments, shard_keeper};
use crate::agreement::Agreed;
use crate::audit::Guards;
use crate::grpc::{Guard, Links, Listener, Members, NetworkFactory, Peers, Roster};
use crate::join::{Admission, Record};
use crate::plane::{FileSource, Plane};
use crate::raft::{self, Engine};
use crate::removal::Removal;
use crate::secret::Secret;
use crate::serving::Serving;
use crate::task::spawn_named;
use crate::tls::{Authority, Credentials};

/// What a [`Net`] is made of.
pub(super) struct NetParts {
    /// Directory of the cluster's files.
    pub(super) dir: PathBuf,
    pub(super) credentials: Credentials,
    pub(super) record: Record,
    /// Life of this node.
    pub(super) boot: u64,
    /// Names of the configured peers.
    pub(super) peers: BTreeSet<String>,
    pub(super) authority: Option<Arc<Authority>>,
    pub(super) key: Secret,
    pub(super) guards: Guards,
    /// Told about the lease of this node.
    pub(super) serving: Serving,
    pub(super) spends: Spends,
    pub(super) others: Others,
    /// Told how the state of this node compares.
    pub(super) agreed: Agreed,
    /// Told when the cluster has removed this node.
    pub(super) removal: Removal,
    pub(super) tcp: TcpListener,
    pub(super) udp: UdpSocket,
}

/// Everything between this node's engine and the other nodes.
pub(crate) struct Net {
    parts: NetParts,
    roster: watch::Sender<Arc<Roster>>,
    links: Links,
    /// Open from `serve` on.
    plane: Arc<OnceLock<Plane>>,
}

impl Net {
    pub(super) fn new(parts: NetParts) -> Self {
        let roster = watch::Sender::new(Arc::new(Roster {
            cluster: parts.record.cluster(),
            applied: Members::default(),
            vouched: parts.record.members(),
            ..Roster::default()
        }));
        let (raft_id, boot) = (parts.record.raft_id(), parts.boot);
        let links = Links::new(parts.credentials.clone(), roster.subscribe(), raft_id, boot);
        Self {
            parts,
            roster,
            links,
            plane: Arc::default(),
        }
    }

    /// Gets files of other members, once this serves.
    pub(super) fn fetcher(&self) -> Fetcher {
        Fetcher {
            plane: Arc::clone(&self.plane),
            roster: self.roster.subscribe(),
        }
    }
}

impl raft::Network for Net {
    type Factory = NetworkFactory;

    fn factory(&self) -> NetworkFactory {
        NetworkFactory::new(self.links.clone())
    }

    fn peers(&self) -> Arc<dyn raft::Peers> {
        Arc::new(Peers::new(self.links.clone()))
    }

    async fn serve(self, engine: Engine) -> io::Result<()> {
        let fetcher = self.fetcher();
        let Self {
            parts,
            roster,
            links,
            plane: opened,
        } = self;
        let asker = Asker::new(&parts, &roster, engine.id());
        let credentials = parts.credentials;
        let guard = Arc::new(Guard::new(engine.id(), roster.subscribe()));
        let peers = Peers::new(links.clone());
        let admission = Admission {
            peers: Arc::new(parts.peers),
            trust_domain: Arc::from(credentials.identity().trust_domain()),
            authority: parts.authority,
            key: parts.key,
            guards: parts.guards,
        };
        let leases = Leases::new(engine.clone());
        let handler = EngineHandler {
            engine: engine.clone(),
            peers: peers.clone(),
            admission,
            leases: leases.clone(),
            spends: parts.spends.clone(),
            serving: parts.serving.clone(),
            clock: credentials.clock(),
        };
        let (stop, stopped) = watch::channel(false);
        let listener = Listener::from_std(parts.tcp)?;
        // The tasks below all end with the runtime of the cluster, and these two with `stop`.
        let _listening = listener.serve(
            credentials.clone(),
            Arc::clone(&guard),
            (engine.clone(), handler),
            stopped,
        );
        let plane = Plane::open(parts.udp, credentials.clone(), links.clone());
        let plane = plane.map_err(io::Error::other)?;
        // Only this sets it, and only once: it has consumed the network.
        let _first = opened.set(plane.clone());
        let (snapshots, audit) = (engine.snapshots().clone(), parts.dir.join("audit"));
        let files: Arc<dyn FileSource> = Arc::new(Files { snapshots, audit });
        let _answering = plane.serve(&credentials, Arc::clone(&guard), files);
        let acknowledged = links.acknowledged().clone();
        let following = roster::follow(engine.clone(), roster.clone(), links);
        let _following = spawn_named("peer-roster", async move {
            following.await;
            plane.close().await;
            drop(stop);
        });
        let others = parts.others;
        others.serve(engine.clone(), leases.clone(), peers.clone());
        parts.spends.serve(engine.clone(), peers.clone());
        let keeping = shard_keeper::keep(engine.clone(), leases.clone());
        let _keeping_shards = spawn_named("peer-shards", keeping);
        let comparing = comparer::follow(engine.clone(), peers.clone(), parts.agreed);
        let _comparing = spawn_named("peer-comparer", comparing);
        let _asking = spawn_named("peer-removal", asker.run(peers.clone()));
        let renewing = leases::renew(engine.clone(), leases.clone(), peers.clone(), parts.serving);
        let _leasing = spawn_named("peer-lease", renewing);
        let vouching = roster::ask_about_newcomers(guard, roster, peers, engine.id());
        let _vouching = spawn_named("peer-newcomers", vouching);
        let completing = segments::complete(engine.clone(), fetcher);
        let _completing = spawn_named("peer-audit", completing);
        let _keeping = spawn_named("peer-keeper", keeper::keep(engine, leases, acknowledged));
        let _renewing = spawn_named("peer-certificates", async move {
            credentials.follow_files().await;
        });
        Ok(())
    }
}
