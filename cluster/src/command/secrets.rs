//! `SecretsCommand`: changes of what all nodes keep secret.

/// A change of the secrets of the cluster, which stand in the log in envelopes only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretsCommand {
    /// Puts the first keyring in place; a later one is refused.
    InstallKeyring {
        /// Keyring in its envelope.
        envelope: Vec<u8>,
    },
    /// Replaces the keyring by its successor.
    ReplaceKeyring {
        /// Revision of the keyring from which the successor was made.
        expected_revision: u64,
        /// Successor in its envelope.
        envelope: Vec<u8>,
    },
}
