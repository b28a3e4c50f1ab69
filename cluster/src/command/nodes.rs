//! `NodesCommand`: who is a member of the cluster, and as what.

use lockgate_proto::id::{NodeId, NodeName};
use lockgate_proto::peer::compat::{Formats, OURS};

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodesCommand {
    /// Makes the cluster, with its first member, whose number is [`NodesCommand::FIRST`].
    Found {
        /// Names the cluster for ever; drawn at random.
        cluster: [u8; 16],
        /// Name of that member.
        name: NodeName,
        /// Where other nodes reach it: host and port. Empty when it listens for none.
        address: String,
        /// What its program reads and writes.
        speaks: Speaks,
    },
    /// A member has started. Answered with [`super::Reply::Boot`].
    Boot {
        /// Its name.
        name: NodeName,
        /// Where other nodes reach it now.
        address: String,
        /// Drawn by this life of the node: the same command again gives the same answer.
        nonce: [u8; 16],
        /// What its program reads and writes.
        speaks: Speaks,
    },
    /// Makes a token with which one node may join, once.
    CreateToken {
        /// Public half of the token.
        id: String,
        /// SHA-256 of its secret half.
        digest: [u8; 32],
        /// What that node becomes.
        role: JoinRole,
        /// How long it may be used, in milliseconds.
        lifetime_ms: u64,
    },
    /// Ends a token that was not used.
    RevokeToken {
        /// Public half of the token.
        id: String,
    },
    /// Makes a node a member. Answered with [`super::Reply::Joined`].
    Join(JoinRequest),
    /// Says who votes and who learns in the log's own membership, which decides. A member in neither list keeps its
    /// state.
    Seat {
        /// Voters.
        voters: Vec<NodeId>,
        /// Learners.
        learners: Vec<NodeId>,
    },
    /// Begins or calls off the drain of a member: no shard is placed there.
    Drain {
        /// Which.
        node: NodeId,
        /// Whether it drains.
        on: bool,
    },
    /// Ends a membership. Its number never comes back.
    Remove {
        /// Which.
        node: NodeId,
        /// Whether its disk is gone as well, and with it whatever it alone held.
        lost: bool,
    },
    /// Gives a member a vote once it has caught up.
    Promote {
        /// Which.
        node: NodeId,
    },
}

impl NodesCommand {
    /// Number of the first member. Every other number is the index of the entry that admitted its node, and those
    /// come later.
    pub const FIRST: NodeId = NodeId(1);
}

/// A node that wants to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Its name, which no other live member has.
    pub name: NodeName,
    /// Where other nodes reach it: host and port.
    pub address: String,
    /// Drawn by it: the same command again gives the same number.
    pub nonce: [u8; 16],
    /// What its program reads and writes.
    pub speaks: Speaks,
    /// Why it may.
    pub proof: JoinProof,
    /// It wants no vote, also where it may have one.
    pub learner: bool,
}

/// What a joining node becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRole {
    /// Follows the log; has no vote.
    Learner,
    /// Votes, once it has caught up.
    Voter,
}

/// Why a node may join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinProof {
    /// It has a token, which is used up thereby.
    Token {
        /// Public half.
        id: String,
        /// SHA-256 of the secret half.
        digest: [u8; 32],
    },
    /// It has a certificate with the name of a configured peer, which the node that proposes this has checked. Such
    /// a node becomes a voter, unless it wants no vote.
    Peer,
}

/// What one build of the program reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaks {
    /// Its version, for people.
    pub version: String,
    /// Newest formats.
    pub formats: Formats,
}

impl Speaks {
    /// What this build speaks.
    pub fn ours() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            formats: OURS,
        }
    }
}
