//! What the engine is told about our log: types of entries, answers and members.

use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use serde::{Deserialize, Serialize};

use super::snapshot::SnapshotFile;

/// Number of a member. Taken from the log and never used again, also not by the same machine after it lost its disk.
pub(crate) type RaftId = u64;

openraft::declare_raft_types!(
    /// The engine's parameters.
    pub(crate) TypeConfig:
        D = Payload,
        R = Outcome,
        NodeId = RaftId,
        Node = Member,
);

/// One entry of the log.
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
/// Position of an entry: term, leader, index.
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// Whom a node votes for, and whether a quorum did.
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
/// The members, and where the log says so.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot stands for.
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot and its file.
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// The entry at `index` that the leader of `term` wrote.
pub(crate) fn log_id(term: u64, leader: RaftId, index: u64) -> LogId {
    let leader = LeaderId {
        term,
        node_id: leader,
    };
    LogId::new(leader, index)
}

/// One proposal: `lockgate.peer.v1.Entry`, encoded once by the leader and carried as it is, so that a node stores and
/// passes on what it can't read yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(pub(crate) Bytes);

/// What the machine answered: `lockgate.peer.v1.Outcome`, encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome(pub(crate) Bytes);

/// A member as the others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name, which its certificate must bear.
    pub(crate) name: String,
    /// Where it listens for other nodes: host and port.
    pub(crate) address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

macro_rules! show_size_only {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}
show_size_only!(Payload);
show_size_only!(Outcome);
