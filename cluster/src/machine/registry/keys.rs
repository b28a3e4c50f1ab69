//! API keys.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use lockgate_proto::id::{Principal, RoleName, Tenant};

use crate::command::NewKey;
use crate::machine::limits::{KEY_ID, NAME_BYTES_MAX, check_length};
use crate::machine::{Refusal, Stamp};

/// HMAC-SHA256 of an API key's value under the keyring's pepper.
#[derive(Clone, Copy, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Index of the entry that revoked it: a node that has applied this one refuses the key. The revocation is
    /// acknowledged when every node has, or has no lease any more.
    pub revoked_index: Option<u64>,
}

/// API keys by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(in crate::machine) by_id: BTreeMap<String, ApiKey>,
}

impl Keys {
    pub(crate) fn by_id(&self) -> &BTreeMap<String, ApiKey> {
        &self.by_id
    }

    pub(super) fn create(&mut self, key: NewKey, stamp: Stamp) -> Result<(), Refusal> {
        check_length(KEY_ID, key.id.as_bytes(), NAME_BYTES_MAX)?;
        if self.by_id.contains_key(&key.id) {
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
            created_at_ms: stamp.at_ms,
            rotated_at_ms: None,
            revoked_at_ms: None,
            revoked_index: None,
        };
        self.by_id.insert(id, stored);
        Ok(())
    }

    pub(super) fn rotate(&mut self, id: &str, mac: KeyMac, stamp: Stamp) -> Result<(), Refusal> {
        self.live(id)?;
        self.check_value(mac)?;
        let key = self.live(id)?;
        key.mac = mac;
        key.rotated_at_ms = Some(stamp.at_ms);
        Ok(())
    }

    /// Revoking twice is no error: whoever asks gets what was wanted, and the first time stays on record. Returns the
    /// index of that first time.
    pub(super) fn revoke(&mut self, id: &str, stamp: Stamp) -> Result<u64, Refusal> {
        let key = self
            .by_id
            .get_mut(id)
            .ok_or_else(|| Refusal::UnknownKey { id: id.to_owned() })?;
        Ok(revoke(key, stamp))
    }

    /// Revokes every key that is not yet; returns how many.
    pub(super) fn revoke_all(&mut self, stamp: Stamp) -> u32 {
        let mut revoked = 0;
        for key in self.by_id.values_mut() {
            revoked += u32::from(key.revoked_at_ms.is_none());
            revoke(key, stamp);
        }
        revoked
    }

    fn live(&mut self, id: &str) -> Result<&mut ApiKey, Refusal> {
        match self.by_id.get_mut(id) {
            None => Err(Refusal::UnknownKey { id: id.to_owned() }),
            Some(key) if key.revoked_at_ms.is_some() => {
                Err(Refusal::KeyRevoked { id: id.to_owned() })
            }
            Some(key) => Ok(key),
        }
    }

    /// Two keys with one value could not be told apart; a revoked value must not come back to life.
    fn check_value(&self, mac: KeyMac) -> Result<(), Refusal> {
        match self.by_id.iter().find(|(_, key)| key.mac == mac) {
            Some((id, _)) => Err(Refusal::KeyValueTaken { id: id.clone() }),
            None => Ok(()),
        }
    }
}

fn revoke(key: &mut ApiKey, stamp: Stamp) -> u64 {
    key.revoked_at_ms.get_or_insert(stamp.at_ms);
    *key.revoked_index.get_or_insert(stamp.index)
}
