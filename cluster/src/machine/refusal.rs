//! Why a command had no effect.

use lockgate_proto::id::ServerName;

/// Why a command had no effect. It is in the log all the same: every node refuses it alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The id is taken, if only by a revoked key.
    #[error("API key `{id}` exists already; choose another id")]
    KeyExists {
        /// Which.
        id: String,
    },
    /// Another key has the same value.
    #[error("this value already belongs to API key `{id}`")]
    KeyValueTaken {
        /// Which has it.
        id: String,
    },
    /// No such key.
    #[error("there is no API key `{id}`")]
    UnknownKey {
        /// Which.
        id: String,
    },
    /// The key was revoked; it can't come back.
    #[error("API key `{id}` is revoked; create a new one")]
    KeyRevoked {
        /// Which.
        id: String,
    },
    /// The name is taken.
    #[error("server `{name}` exists already; remove it first")]
    ServerExists {
        /// Which.
        name: ServerName,
    },
    /// No such server was added at run time.
    #[error("no server `{name}` was added at run time")]
    UnknownServer {
        /// Which.
        name: ServerName,
    },
    /// The keyring is in place.
    #[error("the keyring is installed already")]
    KeyringInstalled,
    /// Empty, or over its bound.
    #[error("{what} must have 1 to {limit} bytes")]
    BadLength {
        /// What is too long or empty.
        what: &'static str,
        /// Most bytes.
        limit: usize,
    },
}
