//! The replicated truth behind one handle: API keys, servers added at run time, the keyring, and how often a
//! node has started. It knows nothing of HTTP, of MCP calls or of the actors of the gateway.
//!
//! [`Cluster`] is all that the gateway sees. Behind it a state machine applies commands, purely and in order, and a
//! store keeps them durable before anybody is told that they happened. One node is a cluster of one.

mod agreement;
mod alarm;
pub mod audit;
mod backup;
mod command;
mod error;
mod grpc;
mod guarding;
mod handle;
mod join;
mod keyring;
pub mod lease;
mod machine;
mod net;
mod notary;
mod operate;
mod placement;
mod plane;
pub mod quota;
mod raft;
mod random;
mod removal;
mod secret;
mod serving;
mod starting;
mod store;
mod task;
mod tls;
mod view;

use std::time::SystemTime;

pub use self::agreement::Agreement;
pub use self::alarm::Alarm;
pub use self::backup::{
    RestoreError, RestoreOptions, Restored, SalvageError, Salvaged, SaveError, SavedSnapshot,
    SnapshotError, SnapshotSummary, inspect_snapshot, restore_snapshot, salvage_snapshot,
};
pub use self::command::wire::WireError;
pub use self::command::{
    ApprovalRequest, ApprovalsCommand, ChangeNote, Command, ConfigChange, Expected, Fence,
    JoinProof, JoinRequest, JoinRole, NewKey, NodesCommand, Origin, RegisterWrite, RegistryCommand,
    Reply, SecretsCommand, ShardChange, ShardStep, ShardsCommand, Speaks, Verdict,
};
pub use self::error::{OpenError, ProposeError, ReadError};
pub use self::guarding::{GuardMismatch, GuardStatus};
pub use self::handle::{Cluster, Options};
pub use self::join::{JoinToken, TokenError};
pub use self::keyring::{Keyring, RotationError, SealKey};
pub use self::machine::{
    ApiKey, Approval, ConfigVersion, DynamicServer, Ending, KeyMac, Member, MemberState, Refusal,
    Register, Shard, ShardOwner, StateHash, Token,
};
pub use self::net::{Begin, NetworkError, NetworkOptions, PeerFile, Sighting};
pub use self::notary::Notary;
pub use self::operate::RotateError;
pub use self::placement::{Candidate, Pace, plan as plan_placement};
pub use self::plane::FetchError;
pub use self::raft::{AdminError, LATENCY_BOUNDS_US, Latency, RaftRole, RaftStatus, Seat};
pub use self::removal::Removed;
pub use self::secret::Secret;
pub use self::serving::Serving;
pub use self::starting::{Starting, StatusReader};
pub use self::store::StoreError;
pub use self::tls::{
    Credentials, DevCertError, DevCerts, Identity, IdentityError, TlsError, TlsFiles,
};
pub use self::view::View;

/// Where the time comes from. Passed in, so that tests decide what time it is.
pub type Clock = fn() -> SystemTime;
