//! Why a command had no effect.

use lockgate_proto::id::{NodeId, NodeName, ServerName};

use super::audit::AuditRefusal;

/// Why a command had no effect. It is in the log all the same: every node refuses it alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The id is taken, if only by a revoked key.
    #[error("API key `{id}` exists already; choose another id")]
    KeyExists {
        /// Which.
        id: String,
    },
    /// Another key has the same value.
    #[error("this value already belongs to API key `{id}`")]
    KeyValueTaken {
        /// Which has it.
        id: String,
    },
    /// No such key.
    #[error("there is no API key `{id}`")]
    UnknownKey {
        /// Which.
        id: String,
    },
    /// The key was revoked; it can't come back.
    #[error("API key `{id}` is revoked; create a new one")]
    KeyRevoked {
        /// Which.
        id: String,
    },
    /// The name is taken.
    #[error("server `{name}` exists already; remove it first")]
    ServerExists {
        /// Which.
        name: ServerName,
    },
    /// No such server was added at run time.
    #[error("no server `{name}` was added at run time")]
    UnknownServer {
        /// Which.
        name: ServerName,
    },
    /// The keyring is in place.
    #[error("the keyring is installed already")]
    KeyringInstalled,
    /// The keyring is another one than the successor was made from.
    #[error("the keyring has changed since (revision {revision}); make its successor again")]
    StaleKeyring {
        /// Its revision; 0 when there is none.
        revision: u64,
    },
    /// Empty, or over its bound.
    #[error("{what} must have 1 to {limit} bytes")]
    BadLength {
        /// What is too long or empty.
        what: &'static str,
        /// Most bytes.
        limit: usize,
    },
    /// There are as many as there may be.
    #[error("there are {limit} already, and no more are kept; remove one first")]
    TooMany {
        /// Most of them.
        limit: usize,
    },
    /// Somebody else changed the configuration meanwhile.
    #[error("the configuration is at version {version} by now; look at it and apply again")]
    StaleConfig {
        /// Version in force.
        version: u64,
    },
    /// That version is not in the history.
    #[error("version {version} is not in the history; see `lockgate config history`")]
    UnknownVersion {
        /// Which.
        version: u64,
    },
    /// The register is not as expected.
    #[error("register `{key}` is not as expected (revision {revision})")]
    StaleRegister {
        /// Which.
        key: String,
        /// Its revision; 0 when it is not there.
        revision: u64,
    },
    /// The cluster exists.
    #[error("the cluster is founded already")]
    Founded,
    /// The cluster does not exist.
    #[error("the cluster is not founded; run `lockgate cluster init` on its first node")]
    NotFounded,
    /// No live member has this number.
    #[error("node {node} is no member")]
    UnknownNode {
        /// Which.
        node: NodeId,
    },
    /// No live member has this name.
    #[error("node `{name}` is no member")]
    UnknownNodeName {
        /// Which.
        name: NodeName,
    },
    /// A live member has this name.
    #[error("node `{name}` is a member already; remove it first")]
    NodeExists {
        /// Which.
        name: NodeName,
    },
    /// It owns shards, or holds copies of them.
    #[error("node {node} still holds shards; drain it first")]
    HoldsShards {
        /// Which.
        node: NodeId,
    },
    /// A cluster without a voter can decide nothing.
    #[error("this is the last voter; promote another node first")]
    LastVoter,
    /// The id of the token is taken.
    #[error("token `{id}` exists already")]
    TokenExists {
        /// Which.
        id: String,
    },
    /// No such token, or not this secret, or used, or over its time.
    #[error("token `{id}` is not valid: it is unknown, used or expired; create a new one")]
    UnknownToken {
        /// Which.
        id: String,
    },
    /// The proposal comes from a life of its node that is over.
    #[error("the node has started again since (start {boot})")]
    StaleBoot {
        /// Its present life.
        boot: u64,
    },
    /// The proposal was answered before, and its answer is forgotten.
    #[error("proposal {serial} was settled before")]
    Settled {
        /// Which.
        serial: u64,
    },
    /// The id of the request is taken.
    #[error("request `{id}` exists already")]
    ApprovalExists {
        /// Which.
        id: String,
    },
    /// No such request.
    #[error("there is no request `{id}`")]
    UnknownApproval {
        /// Which.
        id: String,
    },
    /// The request was decided, or ran out.
    #[error("request `{id}` has ended already")]
    ApprovalEnded {
        /// Which.
        id: String,
    },
    /// The audit log does not allow it.
    #[error(transparent)]
    Audit(AuditRefusal),
    /// A node of a newer version refused it, for a reason that this version has no words for.
    #[error(
        "refused for a reason that only a newer version knows (code {code}); upgrade this node"
    )]
    Newer {
        /// Its code.
        code: u32,
    },
}
