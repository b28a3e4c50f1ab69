//! `Cluster`: all that the gateway sees of the replicated truth.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::{NodeId, NodeName};
use tokio::sync::{oneshot, watch};

use crate::Clock;
use crate::agreement::Agreed;
use crate::audit::Guards;
use crate::audit::segment::SegmentReader;
use crate::command::{Command, Reply};
use crate::error::{OpenError, ProposeError, ReadError};
use crate::machine::quota::Key;
use crate::net::{Fetcher, NetworkOptions, Others, PeerFile, Spends};
use crate::plane::FetchError;
use crate::quota::{Unreachable, Wallet};
use crate::raft::{RaftStatus, Running};
use crate::removal::{Removal, Removed};
use crate::secret::Secret;
use crate::serving::Serving;
use crate::starting::Starting;
use crate::view::View;

/// Name of the node in a cluster of one.
const SOLE_NODE: &str = "n1";
/// How long a node waits for a leader when it starts. One that is alone leads at once, but its store may be busy.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The replicated truth. Cheap to clone; all clones are one.
///
/// What is proposed is on the disks of a majority before the answer comes; one node is a cluster of one.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) running: Running,
    /// `None` in a cluster of one.
    fetcher: Option<Fetcher>,
    serving: Serving,
    /// `None` in a cluster of one.
    pub(crate) others: Option<Others>,
    /// Decides small quotas, here and at the leader. `None` in a cluster of one.
    pub(crate) spends: Option<Spends>,
    pub(crate) agreed: Agreed,
    removal: Removal,
    /// Opens the secrets in the state.
    pub(crate) key: Secret,
}

/// What a node has beside its engine.
pub(crate) struct Beside {
    /// `None` in a cluster of one.
    pub(crate) fetcher: Option<Fetcher>,
    pub(crate) serving: Serving,
    /// `None` in a cluster of one.
    pub(crate) others: Option<Others>,
    /// Decides small quotas, here and at the leader. `None` in a cluster of one.
    pub(crate) spends: Option<Spends>,
    pub(crate) agreed: Agreed,
    pub(crate) removal: Removal,
    /// Opens the secrets in the state.
    pub(crate) key: Secret,
}

/// What a node needs to take part in a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where its files are. Created when it is missing.
    pub data_dir: PathBuf,
    /// Where the time comes from.
    pub clock: Clock,
    /// Name of this node. Its store remembers it.
    pub node: NodeName,
    /// How it reaches other nodes; `None` for a cluster of one.
    pub network: Option<NetworkOptions>,
    /// Secrets of the operator that guard the audit log: the same ones on all nodes.
    pub guards: Guards,
}

impl Options {
    /// A cluster of one in `data_dir`.
    pub fn alone(data_dir: &Path, clock: Clock) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            clock,
            node: NodeName::from(SOLE_NODE),
            network: None,
            guards: Guards::default(),
        }
    }
}

impl Cluster {
    /// [`Cluster::start`] of a cluster of one.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open(data_dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        Self::start(Options::alone(data_dir, clock))
    }

    /// Opens the state in the data directory and counts the start of this node. The first time ever it also makes the
    /// cluster and draws the keyring. Reads and writes files, and waits for that, so call it before the node serves.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when another process has the directory, or when something in it is missing, damaged or open to
    /// others. Nothing is ever replaced by an empty state.
    pub fn start(options: Options) -> Result<Self, OpenError> {
        Starting::begin(options, Some(WAIT_MAX))?.wait()
    }

    /// As [`Cluster::start`], but returns when the engine of this node runs. A cluster of several nodes is then waited
    /// for as long as it takes until more than half of its voters are there.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn begin(options: Options) -> Result<Starting, OpenError> {
        let is_alone = options.network.is_none();
        Starting::begin(options, is_alone.then_some(WAIT_MAX))
    }

    pub(crate) fn new(running: Running, beside: Beside) -> Self {
        let Beside {
            fetcher,
            serving,
            others,
            spends,
            agreed,
            removal,
            key,
        } = beside;
        Self {
            running,
            fetcher,
            serving,
            others,
            spends,
            agreed,
            removal,
            key,
        }
    }

    /// Carries out `command`, once: when the answer is there, the change is durable and in [`Cluster::view`].
    ///
    /// # Errors
    ///
    /// [`ProposeError::Refused`] when the state doesn't allow it; the other cases mean that there was no leader to
    /// carry it out, or that this node takes no changes any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let proposer = Arc::clone(&self.running.proposer);
        self.answer(async move { proposer.propose(command).await })
            .await
    }

    /// As [`Cluster::propose`], but when the answer is there, the change may not be in [`Cluster::view`] yet: it is on
    /// the disks of a majority, and this node need not be one of them.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn propose_unseen(&self, command: Command) -> Result<Reply, ProposeError> {
        let proposer = Arc::clone(&self.running.proposer);
        self.answer(async move { proposer.propose_unseen(command).await })
            .await
    }

    async fn answer(
        &self,
        proposing: impl Future<Output = Result<Reply, ProposeError>> + Send + 'static,
    ) -> Result<Reply, ProposeError> {
        // When the engine ended in between, it can't be told whether the command was written.
        match self.on_runtime(proposing) {
            Some(answer) => answer.await.unwrap_or(Err(ProposeError::Unknown)),
            None => Err(ProposeError::Closed),
        }
    }

    /// Waits until everything that was answered before, on any node, is in the state of this one, and returns it (a
    /// linearizable read).
    ///
    /// # Errors
    ///
    /// [`ReadError`] when this node can't tell what the newest state is.
    pub async fn read(&self) -> Result<Arc<View>, ReadError> {
        let proposer = Arc::clone(&self.running.proposer);
        let reading = async move { proposer.read().await.map(|_applied| ()) };
        match self.on_runtime(reading) {
            Some(answer) => answer.await.unwrap_or(Err(ReadError::Closed))?,
            None => return Err(ReadError::Closed),
        }
        Ok(self.view())
    }

    /// Waits until the entry at `index` binds every node that serves: each has applied it, or may not serve before it
    /// has. A revocation is true then. Takes milliseconds, or one lease when a node is cut off.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when no leader can tell. The entry counts all the same.
    pub async fn settled(&self, index: u64) -> Result<(), ReadError> {
        // Alone: what was answered is applied.
        let Some(others) = self.others.clone() else {
            return Ok(());
        };
        match self.on_runtime(async move { others.settled(index).await }) {
            Some(answer) => answer.await.unwrap_or(Err(ReadError::Closed)),
            None => Err(ReadError::Closed),
        }
    }

    /// Lets this node spend from `wallet` for others while it leads.
    pub(crate) fn open_wallet(&self, wallet: &Arc<Wallet>) {
        if let Some(spends) = &self.spends {
            spends.open(wallet);
        }
    }

    /// Whether there can be other nodes, so that small quotas are decided by one of them.
    pub(crate) fn has_network(&self) -> bool {
        self.spends.is_some()
    }

    /// Has the leader spend of a quota that is too small to be divided.
    pub(crate) async fn spend_at_leader(
        &self,
        key: Key,
        tokens: u64,
    ) -> Result<Option<u64>, Unreachable> {
        let spends = self.spends.clone().ok_or(Unreachable)?;
        let answer = self.on_runtime(async move { spends.ask(&key, tokens).await });
        match answer {
            Some(answer) => answer.await.unwrap_or(Err(Unreachable)),
            None => Err(Unreachable),
        }
    }

    /// Waits until another member says that the cluster has removed this node. It serves nothing by then, and should
    /// stop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn removed(&self) -> Removed {
        self.removal.told().await
    }

    /// Whether this node may serve. To be asked for each call.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// The state as this node knows it. Never waits.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.running.views.borrow())
    }

    /// Whether this node leads, as far as it knows. Never waits.
    pub fn leads(&self) -> bool {
        self.running.proposer.leads()
    }

    /// Follows the state: every change of it, the latest only. Audit records are seen by whoever looks, and told of only
    /// when there are enough for a checkpoint. The channel closes when this node takes no changes any
    /// more, which after anything but [`Cluster::close`] means that its store has failed and the node should stop.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.running.views.clone()
    }

    /// How the engine of this node stands. Never waits.
    pub fn raft_status(&self) -> RaftStatus {
        let mut status = self.running.proposer.engine().status();
        // A leader without a lease has not heard from a quorum lately: it decides nothing, and another one may lead.
        if !self.serving.is_on() {
            status.leader = status.leader.filter(|leader| *leader != status.id);
        }
        status
    }

    /// Fetches a file of another member into `path`, and returns its size. What `path` holds already is kept and
    /// continued; what came is checked against damage on the way, not against a member that lies.
    ///
    /// # Errors
    ///
    /// [`FetchError`] when the member has no such file or can't be reached, or `path` can't be written.
    pub async fn fetch(
        &self,
        from: NodeId,
        file: PeerFile,
        path: PathBuf,
    ) -> Result<u64, FetchError> {
        let broken = || FetchError::Broken {
            node: from.to_string(),
            name: format!("{file:?}"),
            source: std::io::ErrorKind::NotConnected.into(),
        };
        let Some(fetcher) = self.fetcher.clone() else {
            return Err(broken());
        };
        let wanted = file.clone();
        let fetching = async move { fetcher.fetch(from, wanted, path).await };
        match self.on_runtime(fetching) {
            Some(answer) => answer.await.unwrap_or_else(|_ended| Err(broken())),
            None => Err(broken()),
        }
    }

    /// Reader of the audit records on this node. `None` while some are missing here that other nodes have.
    pub fn audit_reader(&self) -> Option<SegmentReader> {
        self.running.proposer.engine().audit().reader()
    }

    /// Ends the part of this node in the cluster, and releases the data directory. Later proposals are refused.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        match self.running.stop.send(done).await {
            // An error means that it has ended by itself, and with it its hold on the directory.
            Ok(()) => drop(closed.await),
            // Somebody else has closed it, and may still wait.
            Err(_ended) => self.running.stop.closed().await,
        }
    }

    /// Runs `work` beside the engine, to its end also when nobody waits for it. `None` after the end of that.
    pub(crate) fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        if self.running.stop.is_closed() {
            return None;
        }
        let (done, answer) = oneshot::channel();
        self.running.runtime.spawn(async move {
            // Whoever asked may have gone; then nobody needs the answer.
            let _gone = done.send(work.await);
        });
        Some(answer)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}
