//! What can be proposed, and what the machine answers. Plain Rust here, one file a part; `wire` turns it into the
//! protobuf that is replicated and back.

mod approvals;
#[cfg(test)]
pub(crate) mod arbitrary;
mod entry;
mod nodes;
mod registers;
mod registry;
mod reply;
mod secrets;
mod shards;
pub(crate) mod wire;

pub use self::approvals::{ApprovalRequest, ApprovalsCommand, Verdict};
pub use self::entry::Origin;
pub(crate) use self::entry::{Entry, Outcome};
pub use self::nodes::{JoinProof, JoinRequest, JoinRole, NodesCommand, Speaks};
pub use self::registers::{Expected, RegisterWrite};
pub use self::registry::{ChangeNote, ConfigChange, NewKey, RegistryCommand};
pub use self::reply::Reply;
pub use self::secrets::SecretsCommand;
use crate::machine::audit::AuditCommand;
pub(crate) use crate::machine::quota::{Command as QuotaCommand, Reply as QuotaReply};

pub use self::shards::{Fence, ShardChange, ShardStep, ShardsCommand};

/// One change of the replicated state: of one part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Keys, servers, configuration.
    Registry(RegistryCommand),
    /// Small values under a name.
    Register(RegisterWrite),
    /// Secrets that all nodes share.
    Secrets(SecretsCommand),
    /// Members of the cluster.
    Nodes(NodesCommand),
    /// Which node owns which shard.
    Shards(ShardsCommand),
    /// Calls that wait for a person.
    Approvals(ApprovalsCommand),
    /// Who may spend how much.
    Quota(QuotaCommand),
    /// The audit log.
    Audit(AuditCommand),
}

impl Command {
    /// Oldest format of an entry that can carry it. It may be proposed once every voter has announced that one. What
    /// needs more than a format, as [`AuditCommand::SetGuard`] needs a secret, is announced for itself.
    pub(crate) fn format(&self) -> u32 {
        match self {
            Self::Registry(_)
            | Self::Register(_)
            | Self::Secrets(_)
            | Self::Nodes(_)
            | Self::Shards(_)
            | Self::Approvals(_)
            | Self::Quota(_)
            | Self::Audit(_) => 1,
        }
    }
}

macro_rules! command_from {
    ($($part:ident($type:ty)),+ $(,)?) => {
        $(impl From<$type> for Command {
            fn from(command: $type) -> Self {
                Self::$part(command)
            }
        })+
    };
}
command_from!(
    Registry(RegistryCommand),
    Register(RegisterWrite),
    Secrets(SecretsCommand),
    Nodes(NodesCommand),
    Shards(ShardsCommand),
    Approvals(ApprovalsCommand),
    Quota(QuotaCommand),
    Audit(AuditCommand),
);
