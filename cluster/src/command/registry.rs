//! `RegistryCommand`: changes of keys, servers and configuration.

use bytes::Bytes;
use lockgate_proto::id::{Principal, RoleName, ServerName, Tenant};

use crate::machine::KeyMac;

/// A change of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryCommand {
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
    /// Adds a server beside those of the configuration.
    AddServer {
        /// Its name.
        name: ServerName,
        /// Its settings: the JSON object that would stand under its name in the configuration.
        settings: String,
    },
    /// Takes such a server away.
    RemoveServer {
        /// Which.
        name: ServerName,
    },
    /// Puts a configuration document in force.
    ApplyConfig {
        /// What comes of it, and for what reason.
        change: ConfigChange,
        /// The registry part of the configuration as canonical JSON. The machine keeps its bytes and never looks into
        /// them; whoever proposes it has checked it.
        document: Bytes,
        /// Also ends the keys and takes away the servers that were added beside the document.
        prune: bool,
    },
    /// Puts the document of an older version in force again, as a new version.
    RollBackConfig {
        /// What comes of it, and for what reason.
        change: ConfigChange,
        /// Whose document.
        to: u64,
    },
}

/// An API key to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What every change of the configuration says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Version that its author saw; 0 when there was none. Any other in force refuses the change.
    pub expected_version: u64,
    /// Who and why.
    pub note: ChangeNote,
}

/// Who changed something, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeNote {
    /// Principal or operator.
    pub who: String,
    /// As that one said it; may be empty.
    pub why: String,
}
