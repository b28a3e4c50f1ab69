//! The bare engine: three nodes of openraft in one process that call each other directly, without serialisation, names
//! or certificates. With a log in memory it shows what the engine itself can do, with one on sled and real syncs what
//! the disk leaves of it.

mod disk;
mod log;
mod machine;
mod network;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clap::ValueEnum;
use openraft::{
    Config, EmptyNode, Raft, ServerState, SnapshotPolicy, async_runtime::WatchReceiver as _,
};
use serde::{Deserialize, Serialize};
use tokio::runtime;

use self::{disk::Disk, log::LogStore, machine::Machine, network::Hub};
use super::writers::{Writer, serve};
use crate::{
    cli::RaftBareArgs,
    error::{Error, Result},
};

/// Nodes.
const NODES: u64 = 3;
/// What is attempted before it leads.
const START: &str = "start the engine";
/// Longest wait for the first leader.
const LEADER_WAIT: Duration = Duration::from_secs(10);

openraft::declare_raft_types!(
    /// Parameters of the engine.
    pub(super) TypeConfig:
        D = Write,
        R = u64,
        NodeId = u64,
        Node = EmptyNode,
);

type Engine = Raft<TypeConfig, Machine>;
type Entry = openraft::alias::EntryOf<TypeConfig>;
type LogId = openraft::alias::LogIdOf<TypeConfig>;
type Vote = openraft::alias::VoteOf<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, machine::Registers>;
type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;

/// Where the bare engine keeps its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// In memory.
    Memory,
    /// On sled, with a sync of the file before anything counts as written.
    Sled,
}

impl Log {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sled => "sled",
        }
    }
}

/// A register and what it is to hold.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Write {
    register: u64,
    value: Bytes,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes to {}", self.value.len(), self.register)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The verb `raft-bare`.
pub(crate) fn run(args: &RaftBareArgs) -> Result<ExitCode> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))?;
    let node = runtime.block_on(start(args.log, &args.dir))?;
    serve(&runtime, &node)?;
    Ok(ExitCode::SUCCESS)
}

/// The settings of the product, as far as they matter for writes.
fn config() -> Result<Arc<Config>> {
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 250,
        election_timeout_max: 400,
        max_payload_entries: 1024,
        max_append_entries: Some(1024),
        replication_lag_threshold: 20_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(10_000),
        max_in_snapshot_log_to_keep: 5_000,
        purge_batch_size: 512,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    let config = config.validate();
    config
        .map(Arc::new)
        .map_err(Error::caused("set the engine up"))
}

/// Starts all nodes and gives the one that leads.
async fn start(log: Log, directory: &Path) -> Result<Node> {
    let hub = Hub::default();
    let mut nodes = BTreeMap::new();
    for id in 1..=NODES {
        let n_syncs = Arc::new(AtomicU64::new(0));
        let disk = match log {
            Log::Memory => None,
            Log::Sled => {
                let directory = directory.join(format!("n{id}"));
                Some(Disk::open(&directory, Arc::clone(&n_syncs))?)
            }
        };
        let (store, machine) = (LogStore::new(disk), Machine::default());
        let engine = Raft::new(id, config()?, hub.clone(), store, machine);
        let engine = engine.await.map_err(Error::caused(START))?;
        hub.add(id, engine.clone());
        nodes.insert(
            id,
            Node {
                id,
                engine,
                n_syncs,
            },
        );
    }
    let members: BTreeMap<u64, EmptyNode> = (1..=NODES).map(|id| (id, EmptyNode {})).collect();
    let first = &nodes[&1];
    first
        .engine
        .initialize(members)
        .await
        .map_err(Error::caused(START))?;
    let elected = first.engine.wait(Some(LEADER_WAIT));
    let elected = elected.metrics(|seen| seen.current_leader.is_some(), "a leader");
    let leader = elected.await.map_err(Error::caused(START))?.current_leader;
    let leader = leader.and_then(|leader| nodes.remove(&leader));
    leader.ok_or_else(|| Error::NotReady {
        name: "engine".to_owned(),
        why: "nobody leads".to_owned(),
    })
}

/// The node that leads.
#[derive(Clone)]
struct Node {
    id: u64,
    engine: Engine,
    n_syncs: Arc<AtomicU64>,
}

impl Writer for Node {
    async fn write(&self, client: usize, value: Vec<u8>) -> Result<()> {
        let write = Write {
            register: client as u64,
            value: value.into(),
        };
        let written = self.engine.client_write(write).await;
        written.map(drop).map_err(Error::caused("write"))
    }

    fn term(&self) -> Option<u64> {
        let metrics = self.engine.metrics();
        let metrics = metrics.borrow_watched();
        let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(self.id);
        leads.then_some(metrics.current_term)
    }

    fn syncs(&self) -> u64 {
        self.n_syncs.load(Ordering::Relaxed)
    }
}
