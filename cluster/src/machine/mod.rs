//! The state machine: commands in, replies out. Pure and deterministic, so that every node that applies the same log
//! holds the same state. No clock (an entry carries its time), no randomness (a command carries what was drawn).
//! One part a file.

mod nodes;
mod refusal;
mod registry;
mod secrets;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::nodes::Nodes;
use self::registry::Registry;
use self::secrets::Secrets;
use crate::command::{Command, Reply};

pub use self::refusal::Refusal;
pub use self::registry::{ApiKey, DynamicServer, KeyMac};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was proposed, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// What is to happen.
    pub(crate) command: Command,
}

/// All replicated state. A clone shares its parts until one of them changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    index: u64,
    registry: Arc<Registry>,
    secrets: Arc<Secrets>,
    nodes: Arc<Nodes>,
}

impl Machine {
    /// Applies the entry that follows the last one. A refused command changes nothing but the index.
    pub(crate) fn apply(&mut self, entry: Entry) -> Result<Reply, Refusal> {
        self.index += 1;
        let at_ms = entry.at_ms;
        match entry.command {
            Command::Boot { node } => Ok(Reply::Boot(Arc::make_mut(&mut self.nodes).boot(node))),
            Command::InstallKeyring { envelope } => {
                done(Arc::make_mut(&mut self.secrets).install(envelope))
            }
            Command::CreateKey(key) => {
                done(Arc::make_mut(&mut self.registry).create_key(key, at_ms))
            }
            Command::RotateKey { id, mac } => {
                done(Arc::make_mut(&mut self.registry).rotate_key(&id, mac, at_ms))
            }
            Command::RevokeKey { id } => {
                done(Arc::make_mut(&mut self.registry).revoke_key(&id, at_ms))
            }
            Command::AddServer { name, settings } => {
                done(Arc::make_mut(&mut self.registry).add_server(name, settings, at_ms))
            }
            Command::RemoveServer { name } => {
                done(Arc::make_mut(&mut self.registry).remove_server(&name))
            }
        }
    }

    /// Index of the last entry that was applied.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// API keys and servers.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Encrypted secrets.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Nodes and their starts.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }
}

fn done(result: Result<(), Refusal>) -> Result<Reply, Refusal> {
    result.map(|()| Reply::Done)
}
