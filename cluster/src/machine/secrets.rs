//! Part of the machine: secrets, only ever in envelopes. The machine can't open them.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Encrypted secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    keyring: Option<Vec<u8>>,
}

impl Secrets {
    /// Puts the first keyring in place. A second one would orphan every stored API key.
    pub(super) fn install(&mut self, envelope: Vec<u8>) -> Result<(), Refusal> {
        if self.keyring.is_some() {
            return Err(Refusal::KeyringInstalled);
        }
        self.keyring = Some(envelope);
        Ok(())
    }

    /// Keyring in its envelope.
    pub(crate) fn keyring(&self) -> Option<&[u8]> {
        self.keyring.as_deref()
    }
}
