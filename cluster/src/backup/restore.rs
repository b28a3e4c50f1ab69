//! Begins a new cluster with the state of an old one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use lockgate_proto::id::NodeName;
use openraft::Membership;
use openraft::storage::RaftLogStorage;

use super::inspect::{SnapshotError, load};
use crate::Clock;
use crate::error::OpenError;
use crate::join::Record;
use crate::keyring::Keyring;
use crate::machine::{Position, Refounder, snapshot};
use crate::raft::{
    Identity, LogStore, Member, RaftId, SnapshotMeta, Snapshots, StoredMembership, Vote, log_id,
    write_snapshot,
};
use crate::random::random;
use crate::secret::Secret;
use crate::store::{self, Lock};

/// Where a restore works until all of it is there.
const DRAFT: &str = "cluster.restoring";
const STATE: &str = "cluster";
/// What an empty data directory may hold.
const LOCK: &str = "lock";

/// How a snapshot becomes the state of a new cluster.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The snapshot.
    pub file: PathBuf,
    /// Copy of the key file of a node of the old cluster (`cluster/key` in its data directory), which opens the
    /// secrets in the snapshot.
    pub key: PathBuf,
    /// Where the node's files will be; empty or missing.
    pub data_dir: PathBuf,
    /// Where the time comes from.
    pub clock: Clock,
    /// Name of the node, which is the first of the new cluster.
    pub node: NodeName,
    /// Where other nodes will reach it: host and port. `None` for a cluster of one.
    pub address: Option<String>,
}

/// A cluster that was made from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Id of the new cluster.
    pub cluster: [u8; 16],
    /// Id of the one that the snapshot is from.
    pub former: [u8; 16],
    /// Last entry of the snapshot.
    pub index: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot is no good.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The directory belongs to a node, or to something else.
    #[error("`{}` is not empty: a snapshot is restored into an empty data directory only", dir.display())]
    NotEmpty {
        /// Which.
        dir: PathBuf,
    },
    /// The key is another cluster's.
    #[error("`{}` does not open the secrets of the snapshot; give the `cluster/key` of a node of that cluster", key.display())]
    OtherKey {
        /// The key file.
        key: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The new state could not be put in place.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Makes `data_dir` that of the first node of a new cluster, which begins with what the snapshot holds. Reads and
/// writes files. Nothing is there before all of it is.
///
/// # Errors
///
/// [`RestoreError`]; nothing was changed then.
pub fn restore_snapshot(
    options: &RestoreOptions,
    on_written: &mut dyn FnMut(u64),
) -> Result<Restored, RestoreError> {
    let (meta, mut machine, bytes) = load(&options.file)?;
    let key = key(&options.key)?;
    let envelope = machine.parts().secrets().keyring();
    if envelope.is_some_and(|envelope| Keyring::from_envelope(envelope, &key).is_none()) {
        let key = options.key.clone();
        return Err(RestoreError::OtherKey { key });
    }
    let dir = &options.data_dir;
    check_empty(dir)?;
    store::create_private_dir(dir)?;
    let lock = Lock::take(dir)?;
    let former = machine.parts().nodes().cluster().unwrap_or_default();
    let cluster = random()?;
    let last = meta
        .last_log_id
        .as_ref()
        .map(|at| (at.committed_leader_id().term, at.index));
    let (last_term, last_index) = last.unwrap_or_default();
    let position = Position {
        term: last_term + 1,
        index: last_index + 1,
    };
    let id = machine.refound(refounder(options, cluster), position).0;
    let draft = dir.join(DRAFT);
    // What an attempt before this one left.
    drop(fs::remove_dir_all(&draft));
    store::create_private_dir(&draft)?;
    store::install_key(&draft, &key)?;
    let meta = head(options, id, position)?;
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Io { what, path, source }
    };
    let snapshots = Snapshots::open(&draft.join("snapshots"))?;
    let mut written = 0;
    let records = snapshot::records(&machine).inspect(|record| {
        written += record.len() as u64;
        on_written(written);
    });
    write_snapshot(&snapshots, &meta, records).map_err(io("write", &draft))?;
    begin_log(&draft, options, (id, position.term))?;
    if options.address.is_some() {
        let record = Record::founder(&draft, id, Bytes::copy_from_slice(&cluster));
        record.save().map_err(OpenError::engine)?;
    }
    fs::rename(&draft, dir.join(STATE)).map_err(io("move", &draft))?;
    store::sync_dir(dir).map_err(io("write", dir))?;
    drop(lock);
    Ok(Restored {
        cluster,
        former,
        index: last_index,
        bytes,
    })
}

fn refounder(options: &RestoreOptions, cluster: [u8; 16]) -> Refounder {
    let now = (options.clock)().duration_since(UNIX_EPOCH);
    Refounder {
        cluster,
        name: options.node.clone(),
        address: options.address.clone().unwrap_or_default(),
        at_ms: u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
    }
}

fn key(path: &Path) -> Result<Secret, RestoreError> {
    let read = fs::read(path).map_err(|source| RestoreError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    let read = zeroize::Zeroizing::new(read);
    match <[u8; 32]>::try_from(read.as_slice()) {
        Ok(key) => Ok(Secret::from_bytes(key)),
        Err(_) => Err(RestoreError::OtherKey {
            key: path.to_owned(),
        }),
    }
}

fn check_empty(dir: &Path) -> Result<(), RestoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            let (what, path) = ("read", dir.to_owned());
            return Err(RestoreError::Io { what, path, source });
        }
    };
    for entry in entries {
        let name = entry.map(|entry| entry.file_name());
        if !name.is_ok_and(|name| name == LOCK || name == DRAFT) {
            let dir = dir.to_owned();
            return Err(RestoreError::NotEmpty { dir });
        }
    }
    Ok(())
}

/// One voter, since the entry at `position`, which no log holds.
fn head(
    options: &RestoreOptions,
    id: RaftId,
    position: Position,
) -> Result<SnapshotMeta, RestoreError> {
    let member = Member {
        name: options.node.to_string(),
        address: options.address.clone().unwrap_or_default(),
    };
    let members = BTreeMap::from([(id, member)]);
    let membership = Membership::new(vec![[id].into()], members).map_err(OpenError::engine)?;
    let at = Some(log_id(position.term, id, position.index));
    Ok(SnapshotMeta {
        last_log_id: at,
        last_membership: StoredMembership::new(at, membership),
    })
}

/// An empty log of that member, which has voted as high as the snapshot's term: what it writes next comes behind that.
fn begin_log(
    dir: &Path,
    options: &RestoreOptions,
    (id, term): (RaftId, u64),
) -> Result<(), RestoreError> {
    let identity = Identity {
        id,
        name: options.node.to_string(),
    };
    let (mut log, thread) = LogStore::open(dir, &identity)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(OpenError::engine)?;
    let voted = runtime.block_on(log.save_vote(&Vote::new(term, id)));
    drop(log);
    let ended = thread.join();
    voted.map_err(OpenError::engine)?;
    ended.map_err(|_panic| OpenError::engine("the log's thread has panicked").into())
}
