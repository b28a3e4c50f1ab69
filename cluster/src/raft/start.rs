//! Starts the engine of this node on a runtime of its own, and ends it.
//!
//! The runtime has one thread, which nothing but the cluster uses: a heartbeat must not wait for calls of the gateway.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lockgate_proto::id::NodeName;
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, ServerState};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::audit_files::{AuditFiles, AuditWriter};
use super::config::Timing;
use super::engine::{Engine, EngineParts};
use super::log_clock::LogClock;
use super::log_store::{Identity, LogStore};
use super::machine_store::MachineStore;
use super::network::Network;
use super::proposer::Proposer;
use super::publish::{Applied, Publisher};
use super::rounds::Rounds;
use super::snapshot::Snapshots;
use super::starting::{Progress, Starting};
use super::types::{Member, RaftId, TypeConfig};
use crate::Clock;
use crate::audit::{AuditCommand, AuditRefusal, Genesis, Guards};
use crate::command::{NodesCommand, Reply, SecretsCommand, Speaks};
use crate::error::{OpenError, ProposeError, ReadError};
use crate::guarding;
use crate::keyring::Keyring;
use crate::machine::Refusal;
use crate::random::random;
use crate::removal::Removal;
use crate::secret::Secret;
use crate::store::Lock;
use crate::view::View;

/// Work that only waits for files has this many threads, at most.
const BLOCKING_THREADS: usize = 4;
/// Tasks that wait for a file when the node ends have this long.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// What a node says that waits for its cluster, and how often.
const WAITING: &str = "waiting for a leader, which takes more than half of the cluster's voters; they have to be reached \
                       where they were last";
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Longer than any node lives, and short of an overflow of the clock.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What is needed to start.
pub(crate) struct StartOptions {
    /// Directory of the cluster's files.
    pub(crate) dir: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) name: NodeName,
    /// Where other nodes reach this one: host and port. Empty when none can.
    pub(crate) address: String,
    /// What this node is when its store is new.
    pub(crate) role: Role,
    pub(crate) timing: Timing,
    /// How long to wait for a leader; `None`: for as long as it takes.
    pub(crate) wait_max: Option<Duration>,
    /// Opens the keyring.
    pub(crate) key: Secret,
    /// Whether the cluster has removed this node.
    pub(crate) removal: Removal,
    /// Secrets of the operator that guard the audit log.
    pub(crate) guards: Guards,
}

/// What a node with a new store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The first node: it makes the cluster.
    Founder,
    /// A node that was given this number by a cluster that exists.
    Joined(RaftId),
}

/// A node that runs. It ends when this and its clones of `stop` are gone, or when it is told to.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) views: watch::Receiver<Arc<View>>,
    pub(crate) runtime: Handle,
    /// Ends the node and tells when everything of it is released.
    pub(crate) stop: mpsc::Sender<oneshot::Sender<()>>,
}

/// Starts a node. Returns when its engine runs; when it takes part depends on the cluster.
pub(crate) fn start<N: Network>(
    options: StartOptions,
    network: N,
    lock: Lock,
) -> Result<Starting, OpenError> {
    let dir = options.dir.clone();
    Starting::begin(move |progress| {
        let run = move || {
            let ended = run_thread(options, network, &progress);
            // Whoever hears of the end finds the directory free.
            drop(lock);
            match ended {
                Ok(closers) => {
                    for closer in closers {
                        // Whoever asked may have gone; then nobody needs the answer.
                        let _gone = closer.send(());
                    }
                }
                Err(failure) => {
                    let _is_heard = progress.end(Err(failure));
                }
            }
        };
        let spawned = thread::Builder::new().name("cluster".to_owned()).spawn(run);
        spawned.map(drop).map_err(|source| OpenError::Io {
            what: "start the thread for",
            path: dir,
            source,
        })
    })
}

/// Those who wait for the end of a node.
type Closers = Vec<oneshot::Sender<()>>;

/// Runs a node to its end.
fn run_thread<N: Network>(
    options: StartOptions,
    network: N,
    progress: &Progress,
) -> Result<Closers, OpenError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name("cluster-files")
        .max_blocking_threads(BLOCKING_THREADS)
        .build();
    let runtime = runtime.map_err(|source| OpenError::Io {
        what: "start the runtime for",
        path: options.dir.clone(),
        source,
    })?;
    let snapshots = Snapshots::open(&options.dir.join("snapshots"))?;
    let identity = Identity {
        id: match options.role {
            Role::Founder => NodesCommand::FIRST.0,
            Role::Joined(id) => id,
        },
        name: options.name.to_string(),
    };
    let (log, flusher) = LogStore::open(&options.dir, &identity)?;
    let files = AuditFiles::new(options.dir.join("audit"), !options.address.is_empty());
    let (audit, keeper) = AuditWriter::start(files, options.guards.clone())?;
    let stores = Stores {
        log,
        snapshots,
        audit,
    };
    let closers = runtime.block_on(run(options, network, stores, progress));
    // All tasks go, and with them all that still holds the log and the segments; then their own threads end.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    for (what, thread) in [("log", flusher), ("audit segments", keeper)] {
        if thread.join().is_err() {
            error!(what, "the thread of a store has panicked");
        }
    }
    closers
}

/// What a node keeps on its disk.
struct Stores {
    log: LogStore,
    snapshots: Snapshots,
    audit: AuditWriter,
}

async fn run<N: Network>(
    options: StartOptions,
    network: N,
    stores: Stores,
    progress: &Progress,
) -> Result<Closers, OpenError> {
    let begun = Instant::now();
    let views = Arc::new(OnceLock::new());
    let files = stores.audit.files().clone();
    let booted = boot(&options, network, stores, &views).await;
    // The engine names what failed, and not why in words for people.
    let proposer = booted.map_err(|error| files.mismatch().map_or(error, OpenError::from))?;
    progress.has_engine(proposer.engine().clone());
    let counted = tokio::select! {
        mismatch = files.mismatched() => Err(mismatch.into()),
        counted = take_part(&options, &proposer) => counted,
        () = progress.given_up() => Err(OpenError::GivenUp),
        removed = options.removal.told() => Err(removed.into()),
    };
    if let Err(failure) = counted {
        let _ended = proposer.engine().raft().shutdown().await;
        return Err(failure);
    }
    let proposer = Arc::new(proposer);
    let Some(mut views) = views.get().cloned() else {
        let _ended = proposer.engine().raft().shutdown().await;
        let path = options.dir.join("key");
        return Err(OpenError::KeyFileForeign { path });
    };
    views.mark_unchanged();
    let (stop, mut stops) = mpsc::channel(1);
    let running = Running {
        proposer: Arc::clone(&proposer),
        views,
        runtime: Handle::current(),
        stop,
    };
    info!(took = ?begun.elapsed(), node = %options.name, "cluster joined");
    let mut closers = Vec::new();
    if progress.end(Ok(running)) {
        let raft = proposer.engine().raft();
        let mut metrics = raft.metrics();
        let failed = async {
            while metrics.borrow_watched().running_state.is_ok() {
                if metrics.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            // No handle is left, or one asks to close.
            closer = stops.recv() => closers.extend(closer),
            () = failed => error!("the cluster's engine has failed, this node takes no changes any more"),
        }
    }
    // Proposals under way end, as the engine does.
    let _ended = proposer.engine().raft().shutdown().await;
    stops.close();
    while let Ok(closer) = stops.try_recv() {
        closers.push(closer);
    }
    Ok(closers)
}

/// Brings the engine up.
async fn boot<N: Network>(
    options: &StartOptions,
    network: N,
    stores: Stores,
    views: &Arc<OnceLock<watch::Receiver<Arc<View>>>>,
) -> Result<Proposer, OpenError> {
    let Stores {
        log,
        snapshots,
        audit,
    } = stores;
    let id = log.identity().id;
    let (publisher, applied) = Publisher::new(
        options.name.as_str().into(),
        (options.key.clone(), options.guards.clone()),
        Arc::clone(views),
    );
    let (log_metrics, machine_metrics) = (log.metrics(), Arc::default());
    let files = audit.files().clone();
    let machine = MachineStore::new(
        publisher,
        snapshots.clone(),
        Arc::clone(&machine_metrics),
        audit,
    );
    let config = options.timing.config().map_err(OpenError::engine)?;
    let raft = Raft::new(id, config, network.factory(), log, machine).await;
    let raft: Raft<TypeConfig, MachineStore> = raft.map_err(OpenError::engine)?;
    let parts = EngineParts {
        id,
        clock: LogClock::new(options.clock),
        applied,
        snapshots,
        audit: files,
        rounds: Rounds::start().map_err(OpenError::engine)?,
        log_metrics,
        machine_metrics,
        heard_us: AtomicU64::new(0),
    };
    let engine = Engine::new(raft, parts);
    let proposer = Proposer::new(engine.clone(), network.peers());
    if let Err(source) = network.serve(engine.clone()).await {
        let _ended = engine.raft().shutdown().await;
        let path = options.dir.clone();
        let what = "listen for";
        return Err(OpenError::Io { what, path, source });
    }
    Ok(proposer)
}

/// Makes the cluster if it is new, and counts this start in it.
pub(super) async fn take_part(
    options: &StartOptions,
    proposer: &Proposer,
) -> Result<(), OpenError> {
    lead_when_alone(options, proposer.engine()).await?;
    begin_life(options, proposer).await?;
    let deadline = Instant::now() + options.wait_max.unwrap_or(FOREVER);
    let state = read_patiently(proposer, deadline).await?;
    let (parts, guards, own) = (&state.parts, &options.guards, options.name.as_str());
    guarding::check(parts, guards, own)?;
    if let Some(status) = guarding::status(parts, guards, own).filter(|status| !status.is_in_force)
    {
        let awaited = &status.awaited;
        info!(
            ?awaited,
            "the secret of the audit log comes in force when all nodes have it"
        );
    }
    Ok(())
}

/// Makes the cluster at the first start of its first node. The only voter takes the lead at once.
async fn lead_when_alone(options: &StartOptions, engine: &Engine) -> Result<(), OpenError> {
    let raft = engine.raft();
    let initialized = raft.is_initialized().await.map_err(OpenError::engine)?;
    if !initialized {
        if options.role != Role::Founder {
            // The leader will find this node, once it is a learner there.
            return Ok(());
        }
        let member = Member {
            name: options.name.to_string(),
            address: options.address.clone(),
        };
        let members = [(engine.id(), member)].into_iter().collect();
        let members: std::collections::BTreeMap<RaftId, Member> = members;
        return raft.initialize(members).await.map_err(OpenError::engine);
    }
    let is_alone = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters: Vec<RaftId> = metrics.membership_config.voter_ids().collect();
        voters == [engine.id()] && metrics.state != ServerState::Leader
    };
    if is_alone {
        raft.trigger()
            .elect(false)
            .await
            .map_err(OpenError::engine)?;
    }
    Ok(())
}

/// Begins the audit log of a new cluster, under the cluster's id.
async fn begin_audit(proposer: &Proposer, deadline: Instant) -> Result<(), OpenError> {
    let state = proposer.read().await.map_err(OpenError::engine)?;
    let cluster = state.parts.nodes().cluster();
    let cluster = cluster.ok_or_else(|| OpenError::engine("the new cluster has no id"))?;
    let genesis = Genesis::of_cluster(cluster, None);
    let begin = AuditCommand::Begin(genesis).into();
    match proposer.propose_idempotent(begin, deadline).await {
        // Sent twice; the first one has begun it.
        Ok(_) | Err(ProposeError::Refused(Refusal::Audit(AuditRefusal::Begun))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads, and says every now and then that nobody answers.
async fn read_patiently(proposer: &Proposer, deadline: Instant) -> Result<Arc<Applied>, OpenError> {
    loop {
        match proposer.read().await {
            Ok(state) => return Ok(state),
            Err(ReadError::NoLeader) if Instant::now() < deadline => {
                warn!("{WAITING}");
            }
            Err(error) => return Err(OpenError::engine(error)),
        }
    }
}

/// Has this start counted, and says every now and then that nobody answers.
pub(super) async fn count_start(
    count: &NodesCommand,
    proposer: &Proposer,
    deadline: Instant,
) -> Result<Reply, OpenError> {
    loop {
        let now = Instant::now();
        let told_at = deadline.min(now + TELL_EVERY);
        let counting = proposer.propose_idempotent(count.clone().into(), told_at);
        match counting.await {
            // Earlier it is no wait that ended, but the engine.
            Err(ProposeError::NoLeader | ProposeError::Unknown)
                if told_at < deadline && Instant::now() + Duration::from_secs(1) >= told_at =>
            {
                warn!("{WAITING}");
            }
            counted => return Ok(counted?),
        }
    }
}

/// Waits for a leader, and counts this start.
async fn begin_life(options: &StartOptions, proposer: &Proposer) -> Result<(), OpenError> {
    let deadline = Instant::now() + options.wait_max.unwrap_or(FOREVER);
    let count = NodesCommand::Boot {
        name: options.name.clone(),
        address: options.address.clone(),
        nonce: random()?,
        speaks: Speaks::ours(),
    };
    let known = Arc::clone(&proposer.engine().applied().borrow());
    let is_new = options.role == Role::Founder && known.parts.nodes().cluster().is_none();
    let mut counted = None;
    if !is_new {
        // Before anything else: it may have moved, and is not sent what it lacks before the others know where it is.
        counted = Some(count_start(&count, proposer, deadline).await?);
    }
    let state = read_patiently(proposer, deadline).await?;
    if options.role == Role::Founder && state.parts.nodes().cluster().is_none() {
        let found = NodesCommand::Found {
            cluster: random()?,
            name: options.name.clone(),
            address: options.address.clone(),
            speaks: Speaks::ours(),
        };
        proposer.propose_idempotent(found.into(), deadline).await?;
    }
    if options.role == Role::Founder && state.parts.secrets().keyring().is_none() {
        let keyring = Keyring::generate().ok_or(OpenError::NoRandomness)?;
        let envelope = keyring.to_envelope(&options.key);
        let envelope = envelope.ok_or(OpenError::NoRandomness)?;
        let install = SecretsCommand::InstallKeyring { envelope };
        proposer
            .propose_idempotent(install.into(), deadline)
            .await?;
    }
    if options.role == Role::Founder && state.parts.audit().genesis().is_none() {
        begin_audit(proposer, deadline).await?;
    }
    let counted = match counted {
        Some(counted) => counted,
        None => proposer.propose_idempotent(count.into(), deadline).await?,
    };
    match counted {
        Reply::Boot(boot) => {
            proposer.begin_life(boot);
            Ok(())
        }
        other => Err(OpenError::engine(format!(
            "a start was answered with {other:?}"
        ))),
    }
}
