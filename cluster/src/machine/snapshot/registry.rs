//! Keys, servers, configuration, registers and secrets.

use bytes::Bytes;
use lockgate_proto::id::{Principal, RoleName, ServerName, Tenant};
use lockgate_proto::peer::v1::{
    RegistersPart, RegistryPart, SecretsPart, StoredDocument, StoredKey, StoredRegister,
    StoredServer, StoredVersion,
};

use crate::command::wire::{WireError, array, bytes, note_from, note_to};
use crate::machine::registers::{Register, Registers};
use crate::machine::registry::{ApiKey, ConfigVersion, DynamicServer, KeyMac, Registry, sha256};
use crate::machine::secrets::Secrets;

pub(super) fn to(registry: &Registry) -> RegistryPart {
    let keys = registry.keys.by_id.iter();
    let servers = registry.servers.in_order.iter();
    RegistryPart {
        keys: keys.map(|(id, key)| key_to(id, key)).collect(),
        servers: servers
            .map(|server| StoredServer {
                name: server.name.as_str().to_owned(),
                settings: server.settings.clone(),
                added_at_ms: server.added_at_ms,
            })
            .collect(),
        versions: registry.config.versions.iter().map(version_to).collect(),
    }
}

pub(super) fn from(part: RegistryPart) -> Result<Registry, WireError> {
    let mut registry = Registry::default();
    for key in part.keys {
        let (id, key) = key_from(key)?;
        registry.keys.by_id.insert(id, key);
    }
    let servers = part.servers.into_iter();
    registry.servers.in_order = servers
        .map(|server| DynamicServer {
            name: ServerName::new(server.name),
            settings: server.settings,
            added_at_ms: server.added_at_ms,
        })
        .collect();
    let versions = part.versions.into_iter().map(version_from);
    registry.config.versions = versions.collect::<Result<_, _>>()?;
    Ok(registry)
}

fn key_to(id: &str, key: &ApiKey) -> StoredKey {
    StoredKey {
        id: id.to_owned(),
        mac: bytes(&key.mac.0),
        principal: key.principal.as_str().to_owned(),
        tenant: key.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        roles: key
            .roles
            .iter()
            .map(|role| role.as_str().to_owned())
            .collect(),
        created_at_ms: key.created_at_ms,
        rotated_at_ms: key.rotated_at_ms,
        revoked_at_ms: key.revoked_at_ms,
        revoked_index: key.revoked_index,
    }
}

fn key_from(key: StoredKey) -> Result<(String, ApiKey), WireError> {
    let stored = ApiKey {
        mac: KeyMac(array("mac", &key.mac)?),
        principal: Principal::new(key.principal),
        tenant: key.tenant.map(Tenant::new),
        roles: key.roles.into_iter().map(RoleName::new).collect(),
        created_at_ms: key.created_at_ms,
        rotated_at_ms: key.rotated_at_ms,
        revoked_at_ms: key.revoked_at_ms,
        revoked_index: key.revoked_index,
    };
    Ok((key.id, stored))
}

fn version_to(version: &ConfigVersion) -> StoredVersion {
    StoredVersion {
        version: version.version,
        digest: bytes(&version.digest),
        note: Some(note_to(&version.note)),
        at_ms: version.at_ms,
        index: version.index,
        rolled_back_to: version.rolled_back_to,
    }
}

fn version_from(version: StoredVersion) -> Result<ConfigVersion, WireError> {
    Ok(ConfigVersion {
        version: version.version,
        digest: array("digest", &version.digest)?,
        note: note_from(version.note.unwrap_or_default()),
        at_ms: version.at_ms,
        index: version.index,
        rolled_back_to: version.rolled_back_to,
    })
}

/// Documents in the order of their digests, which the state hash covers by the versions that name them.
pub(super) fn documents_to(registry: &Registry) -> impl Iterator<Item = StoredDocument> + '_ {
    let documents = registry.config.documents.values();
    documents.map(|document| StoredDocument {
        document: document.clone(),
    })
}

pub(super) fn put_document(registry: &mut Registry, document: Bytes) {
    let documents = &mut registry.config.documents;
    documents.insert(sha256(&document), document);
}

/// Every version has its document, and every document a version.
pub(super) fn check(registry: &Registry) -> Result<(), WireError> {
    let config = &registry.config;
    let named = |digest: &[u8; 32]| config.versions.iter().any(|one| one.digest == *digest);
    let versions = config.versions.iter();
    let complete = versions
        .map(|version| &version.digest)
        .all(|digest| config.documents.contains_key(digest));
    if complete && config.documents.keys().all(named) {
        return Ok(());
    }
    Err(WireError::Field {
        field: "document of a configuration version",
    })
}

pub(super) fn registers_to(registers: &Registers) -> RegistersPart {
    let registers = registers.by_key.iter();
    RegistersPart {
        registers: registers
            .map(|(key, register)| StoredRegister {
                key: key.clone(),
                value: register.value.clone(),
                revision: register.revision,
            })
            .collect(),
    }
}

pub(super) fn registers_from(part: RegistersPart) -> Registers {
    let registers = part.registers.into_iter().map(|one| {
        let register = Register {
            value: one.value,
            revision: one.revision,
        };
        (one.key, register)
    });
    Registers {
        by_key: registers.collect(),
    }
}

pub(super) fn secrets_to(secrets: &Secrets) -> SecretsPart {
    SecretsPart {
        keyring: secrets.keyring.as_deref().map(bytes).unwrap_or_default(),
        keyring_revision: secrets.keyring_revision,
    }
}

pub(super) fn secrets_from(part: &SecretsPart) -> Secrets {
    Secrets {
        // No envelope is empty.
        keyring: Some(part.keyring.to_vec()).filter(|keyring| !keyring.is_empty()),
        keyring_revision: part.keyring_revision,
    }
}
