//! What can be proposed, and what the machine answers.

use lockgate_proto::id::{Principal, RoleName, ServerName, Tenant};
use serde::{Deserialize, Serialize};

use crate::machine::KeyMac;

/// One change of the replicated state.
///
/// The body in the log is bincode behind a version byte: variants and fields keep their order, new variants go to
/// the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// A node has started. Answered with [`Reply::Boot`].
    Boot {
        /// Name of the node.
        node: String,
    },
    /// Puts the first keyring in place; a later one is refused.
    InstallKeyring {
        /// Keyring, encrypted under the key file of the data directory.
        envelope: Vec<u8>,
    },
    /// Adds an API key.
    CreateKey(NewKey),
    /// Replaces the value of an API key; the old value is refused from then on.
    RotateKey {
        /// Which.
        id: String,
        /// Keyed hash of the new value.
        mac: KeyMac,
    },
    /// Ends an API key. Its id stays taken, so that audit lines stay unambiguous.
    RevokeKey {
        /// Which.
        id: String,
    },
    /// Adds a server beside those of the configuration file.
    AddServer {
        /// Its name.
        name: ServerName,
        /// Its settings: the JSON object that would stand under its name in the file.
        settings: String,
    },
    /// Takes such a server away.
    RemoveServer {
        /// Which.
        name: ServerName,
    },
}

/// An API key to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// Name in logs and audit lines.
    pub id: String,
    /// Keyed hash of its value.
    pub mac: KeyMac,
    /// Whom it identifies.
    pub principal: Principal,
    /// Where that principal belongs.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub roles: Vec<RoleName>,
}

/// What the machine answers to a command that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Done.
    Done,
    /// How often the node has started, this start included.
    Boot(u64),
}
