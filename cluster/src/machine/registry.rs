//! Part of the machine: API keys, and servers that were added at run time.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use lockgate_proto::id::{Principal, RoleName, ServerName, Tenant};
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::command::NewKey;

/// Longest key id and server name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest settings of one server, in bytes. Keeps a record far below the size at which the store puts values into
/// files of their own.
const SETTINGS_BYTES_MAX: usize = 64 << 10;

/// HMAC-SHA256 of an API key's value under the keyring's pepper.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyMac(pub [u8; 32]);

// The bytes are uniform and nobody without the pepper can choose them, so that eight of them are a good hash. A hasher
// that passes `write_u64` through makes a lookup as cheap as an array index.
impl Hash for KeyMac {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for KeyMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMac(..)")
    }
}

/// One API key of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Keyed hash of its value.
    pub mac: KeyMac,
    /// Whom it identifies.
    pub principal: Principal,
    /// Where that principal belongs.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub roles: Vec<RoleName>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When its value was last replaced.
    pub rotated_at_ms: Option<u64>,
    /// When it was revoked. A revoked key opens nothing.
    pub revoked_at_ms: Option<u64>,
}

/// One server that was added at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicServer {
    /// Its name.
    pub name: ServerName,
    /// Raw JSON object with the keys that the configuration file has for a server.
    pub settings: String,
    /// When it was added, in milliseconds since 1970.
    pub added_at_ms: u64,
}

/// API keys by id, and added servers in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registry {
    keys: BTreeMap<String, ApiKey>,
    servers: Vec<DynamicServer>,
}

impl Registry {
    pub(crate) fn keys(&self) -> &BTreeMap<String, ApiKey> {
        &self.keys
    }

    pub(crate) fn servers(&self) -> &[DynamicServer] {
        &self.servers
    }

    pub(super) fn create_key(&mut self, key: NewKey, at_ms: u64) -> Result<(), Refusal> {
        check_length("key id", &key.id, NAME_BYTES_MAX)?;
        if self.keys.contains_key(&key.id) {
            return Err(Refusal::KeyExists { id: key.id });
        }
        self.check_value(key.mac)?;
        let NewKey {
            id,
            mac,
            principal,
            tenant,
            roles,
        } = key;
        let stored = ApiKey {
            mac,
            principal,
            tenant,
            roles,
            created_at_ms: at_ms,
            rotated_at_ms: None,
            revoked_at_ms: None,
        };
        self.keys.insert(id, stored);
        Ok(())
    }

    pub(super) fn rotate_key(&mut self, id: &str, mac: KeyMac, at_ms: u64) -> Result<(), Refusal> {
        self.live_key(id)?;
        self.check_value(mac)?;
        let key = self.live_key(id)?;
        key.mac = mac;
        key.rotated_at_ms = Some(at_ms);
        Ok(())
    }

    /// Revoking twice is no error: whoever asks gets what was wanted, and the first time stays on record.
    pub(super) fn revoke_key(&mut self, id: &str, at_ms: u64) -> Result<(), Refusal> {
        let key = self
            .keys
            .get_mut(id)
            .ok_or_else(|| Refusal::UnknownKey { id: id.to_owned() })?;
        key.revoked_at_ms.get_or_insert(at_ms);
        Ok(())
    }

    pub(super) fn add_server(
        &mut self,
        name: ServerName,
        settings: String,
        at_ms: u64,
    ) -> Result<(), Refusal> {
        check_length("server name", name.as_str(), NAME_BYTES_MAX)?;
        check_length("server settings", &settings, SETTINGS_BYTES_MAX)?;
        if self.servers.iter().any(|server| server.name == name) {
            return Err(Refusal::ServerExists { name });
        }
        self.servers.push(DynamicServer {
            name,
            settings,
            added_at_ms: at_ms,
        });
        Ok(())
    }

    pub(super) fn remove_server(&mut self, name: &ServerName) -> Result<(), Refusal> {
        let at = self.servers.iter().position(|server| server.name == *name);
        let at = at.ok_or_else(|| Refusal::UnknownServer { name: name.clone() })?;
        self.servers.remove(at);
        Ok(())
    }

    fn live_key(&mut self, id: &str) -> Result<&mut ApiKey, Refusal> {
        match self.keys.get_mut(id) {
            None => Err(Refusal::UnknownKey { id: id.to_owned() }),
            Some(key) if key.revoked_at_ms.is_some() => {
                Err(Refusal::KeyRevoked { id: id.to_owned() })
            }
            Some(key) => Ok(key),
        }
    }

    /// Two keys with one value could not be told apart; a revoked value must not come back to life.
    fn check_value(&self, mac: KeyMac) -> Result<(), Refusal> {
        match self.keys.iter().find(|(_, key)| key.mac == mac) {
            Some((id, _)) => Err(Refusal::KeyValueTaken { id: id.clone() }),
            None => Ok(()),
        }
    }
}

fn check_length(what: &'static str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > limit {
        return Err(Refusal::BadLength { what, limit });
    }
    Ok(())
}
