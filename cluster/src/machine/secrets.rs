//! Part of the machine: secrets, only ever in envelopes. The machine can't open them.

use super::Refusal;
use crate::command::{Reply, SecretsCommand};

/// Longest envelope of a keyring, in bytes. One of today has less than 256.
const ENVELOPE_BYTES_MAX: usize = 16 << 10;

/// Encrypted secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    pub(super) keyring: Option<Vec<u8>>,
    pub(super) keyring_revision: u64,
}

impl Secrets {
    pub(super) fn apply(&mut self, command: SecretsCommand, index: u64) -> Result<Reply, Refusal> {
        let envelope = match command {
            // A second first keyring would orphan every stored API key.
            SecretsCommand::InstallKeyring { .. } if self.keyring.is_some() => {
                return Err(Refusal::KeyringInstalled);
            }
            SecretsCommand::InstallKeyring { envelope } => envelope,
            SecretsCommand::ReplaceKeyring {
                expected_revision, ..
            } if self.keyring.is_none() || self.keyring_revision != expected_revision => {
                return Err(Refusal::StaleKeyring {
                    revision: self.keyring_revision,
                });
            }
            SecretsCommand::ReplaceKeyring { envelope, .. } => envelope,
        };
        super::limits::check_length(super::limits::VALUE, &envelope, ENVELOPE_BYTES_MAX)?;
        self.keyring = Some(envelope);
        self.keyring_revision = index;
        Ok(Reply::Written { revision: index })
    }

    /// Keyring in its envelope.
    pub(crate) fn keyring(&self) -> Option<&[u8]> {
        self.keyring.as_deref()
    }

    /// Index of the entry that wrote the keyring.
    pub(crate) fn keyring_revision(&self) -> u64 {
        self.keyring_revision
    }
}
