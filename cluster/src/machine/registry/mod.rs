//! Part of the machine: the configuration document with its history, and the API keys and servers that the command
//! line and the API add beside it. Those survive a new document, unless it prunes them.

mod config;
mod keys;
mod servers;

pub(crate) use self::config::Config;
pub use self::config::ConfigVersion;
pub(in crate::machine) use self::config::sha256;
pub(crate) use self::keys::Keys;
pub use self::keys::{ApiKey, KeyMac};
pub use self::servers::DynamicServer;
pub(crate) use self::servers::Servers;

use bytes::Bytes;

use super::{Refusal, Stamp};
use crate::command::{ConfigChange, RegistryCommand, Reply};

/// Keys, servers, configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) keys: Keys,
    pub(crate) servers: Servers,
    pub(crate) config: Config,
}

impl Registry {
    pub(super) fn apply(
        &mut self,
        command: RegistryCommand,
        stamp: Stamp,
    ) -> Result<Reply, Refusal> {
        match command {
            RegistryCommand::CreateKey(key) => done(self.keys.create(key, stamp)),
            RegistryCommand::RotateKey { id, mac } => done(self.keys.rotate(&id, mac, stamp)),
            RegistryCommand::RevokeKey { id } => {
                let index = self.keys.revoke(&id, stamp)?;
                Ok(Reply::Revoked { index })
            }
            RegistryCommand::AddServer { name, settings } => {
                done(self.servers.add(name, settings, stamp))
            }
            RegistryCommand::RemoveServer { name } => done(self.servers.remove(&name)),
            RegistryCommand::ApplyConfig {
                change,
                document,
                prune,
            } => self.apply_config(change, document, prune, stamp),
            RegistryCommand::RollBackConfig { change, to } => {
                let changed = self.config.roll_back(change, to, stamp)?;
                Ok(self.configured(changed, (0, 0), stamp))
            }
        }
    }

    fn apply_config(
        &mut self,
        change: ConfigChange,
        document: Bytes,
        prune: bool,
        stamp: Stamp,
    ) -> Result<Reply, Refusal> {
        let changed = self.config.apply(change, document, stamp)?;
        let pruned = if prune {
            (self.keys.revoke_all(stamp), self.servers.remove_all())
        } else {
            (0, 0)
        };
        Ok(self.configured(changed, pruned, stamp))
    }

    fn configured(&self, changed: bool, (keys, servers): (u32, u32), stamp: Stamp) -> Reply {
        Reply::Configured {
            version: self.config.version(),
            changed,
            keys_pruned: keys,
            servers_pruned: servers,
            index: stamp.index,
        }
    }
}

fn done(result: Result<(), Refusal>) -> Result<Reply, Refusal> {
    result.map(|()| Reply::Done)
}
