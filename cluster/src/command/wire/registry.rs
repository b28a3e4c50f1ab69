//! Commands on registry, registers and secrets.

use lockgate_proto::id::{Principal, RoleName, ServerName, Tenant};
use lockgate_proto::peer::v1;

use super::{WireError, array, bytes, need};
use crate::command::{
    ChangeNote, ConfigChange, Expected, NewKey, RegisterWrite, RegistryCommand, SecretsCommand,
};
use crate::machine::KeyMac;

pub(super) fn command_to(command: &RegistryCommand) -> v1::RegistryCommand {
    use v1::registry_command::{
        AddServer, ApplyConfig, Command as Wire, CreateKey, RemoveServer, RevokeKey,
        RollBackConfig, RotateKey,
    };
    let command = match command {
        RegistryCommand::CreateKey(key) => Wire::CreateKey(CreateKey {
            id: key.id.clone(),
            mac: bytes(&key.mac.0),
            principal: key.principal.as_str().to_owned(),
            tenant: key.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
            roles: texts(&key.roles),
        }),
        RegistryCommand::RotateKey { id, mac } => Wire::RotateKey(RotateKey {
            id: id.clone(),
            mac: bytes(&mac.0),
        }),
        RegistryCommand::RevokeKey { id } => Wire::RevokeKey(RevokeKey { id: id.clone() }),
        RegistryCommand::AddServer { name, settings } => Wire::AddServer(AddServer {
            name: name.as_str().to_owned(),
            settings: settings.clone(),
        }),
        RegistryCommand::RemoveServer { name } => Wire::RemoveServer(RemoveServer {
            name: name.as_str().to_owned(),
        }),
        RegistryCommand::ApplyConfig {
            change,
            document,
            prune,
        } => Wire::ApplyConfig(ApplyConfig {
            expected_version: change.expected_version,
            document: document.clone(),
            note: Some(note_to(&change.note)),
            prune: *prune,
        }),
        RegistryCommand::RollBackConfig { change, to } => Wire::RollBackConfig(RollBackConfig {
            expected_version: change.expected_version,
            to: *to,
            note: Some(note_to(&change.note)),
        }),
    };
    v1::RegistryCommand {
        command: Some(command),
    }
}

pub(super) fn command_from(message: v1::RegistryCommand) -> Result<RegistryCommand, WireError> {
    use v1::registry_command::Command as Wire;
    Ok(match need("registry command", message.command)? {
        Wire::CreateKey(key) => RegistryCommand::CreateKey(NewKey {
            id: key.id,
            mac: mac(&key.mac)?,
            principal: Principal::new(key.principal),
            tenant: key.tenant.map(Tenant::new),
            roles: key.roles.into_iter().map(RoleName::new).collect(),
        }),
        Wire::RotateKey(one) => RegistryCommand::RotateKey {
            id: one.id,
            mac: mac(&one.mac)?,
        },
        Wire::RevokeKey(one) => RegistryCommand::RevokeKey { id: one.id },
        Wire::AddServer(one) => RegistryCommand::AddServer {
            name: ServerName::new(one.name),
            settings: one.settings,
        },
        Wire::RemoveServer(one) => RegistryCommand::RemoveServer {
            name: ServerName::new(one.name),
        },
        Wire::ApplyConfig(one) => RegistryCommand::ApplyConfig {
            change: change(one.expected_version, one.note),
            document: one.document,
            prune: one.prune,
        },
        Wire::RollBackConfig(one) => RegistryCommand::RollBackConfig {
            change: change(one.expected_version, one.note),
            to: one.to,
        },
    })
}

fn change(expected_version: u64, note: Option<v1::ChangeNote>) -> ConfigChange {
    ConfigChange {
        expected_version,
        note: note_from(note.unwrap_or_default()),
    }
}

pub(crate) fn note_to(note: &ChangeNote) -> v1::ChangeNote {
    v1::ChangeNote {
        who: note.who.clone(),
        why: note.why.clone(),
    }
}

pub(crate) fn note_from(note: v1::ChangeNote) -> ChangeNote {
    ChangeNote {
        who: note.who,
        why: note.why,
    }
}

fn texts(roles: &[RoleName]) -> Vec<String> {
    roles.iter().map(|role| role.as_str().to_owned()).collect()
}

fn mac(bytes: &[u8]) -> Result<KeyMac, WireError> {
    array("mac", bytes).map(KeyMac)
}

pub(super) fn register_to(write: &RegisterWrite) -> v1::RegisterWrite {
    use v1::register_write::{Absent, Expected as Wire};
    v1::RegisterWrite {
        key: write.key.clone(),
        expected: match &write.expected {
            Expected::Any => None,
            Expected::Absent => Some(Wire::Absent(Absent {})),
            Expected::Value(value) => Some(Wire::Value(value.clone())),
            Expected::Revision(revision) => Some(Wire::Revision(*revision)),
        },
        write: write.value.clone(),
    }
}

pub(super) fn register_from(message: v1::RegisterWrite) -> RegisterWrite {
    use v1::register_write::Expected as Wire;
    RegisterWrite {
        key: message.key,
        expected: match message.expected {
            None => Expected::Any,
            Some(Wire::Absent(_)) => Expected::Absent,
            Some(Wire::Value(value)) => Expected::Value(value),
            Some(Wire::Revision(revision)) => Expected::Revision(revision),
        },
        value: message.write,
    }
}

pub(super) fn secrets_to(command: &SecretsCommand) -> v1::SecretsCommand {
    use v1::secrets_command::{Command as Wire, InstallKeyring, ReplaceKeyring};
    let command = match command {
        SecretsCommand::InstallKeyring { envelope } => Wire::InstallKeyring(InstallKeyring {
            envelope: bytes(envelope),
        }),
        SecretsCommand::ReplaceKeyring {
            expected_revision,
            envelope,
        } => Wire::ReplaceKeyring(ReplaceKeyring {
            expected_revision: *expected_revision,
            envelope: bytes(envelope),
        }),
    };
    v1::SecretsCommand {
        command: Some(command),
    }
}

pub(super) fn secrets_from(message: v1::SecretsCommand) -> Result<SecretsCommand, WireError> {
    use v1::secrets_command::Command as Wire;
    Ok(match need("secrets command", message.command)? {
        Wire::InstallKeyring(one) => SecretsCommand::InstallKeyring {
            envelope: one.envelope.to_vec(),
        },
        Wire::ReplaceKeyring(one) => SecretsCommand::ReplaceKeyring {
            expected_revision: one.expected_revision,
            envelope: one.envelope.to_vec(),
        },
    })
}
