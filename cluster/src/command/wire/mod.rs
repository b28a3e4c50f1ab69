//! Commands and answers as the protobuf of `lockgate_proto::peer::v1`, and back. What can't be read is an error,
//! never a guess: a node that applied something else than the others would hold another state from then on.

mod approvals;
mod entry;
#[cfg(test)]
mod golden;
mod nodes;
mod outcome;
mod refusal;
mod registry;
mod shards;
#[cfg(test)]
mod tests;

pub(crate) use self::approvals::{request_from, request_to};
pub(crate) use self::entry::{decode_entry, encode_entry};
pub(crate) use self::nodes::{role_from, role_to, speaks_from, speaks_to};
pub(crate) use self::outcome::{decode_outcome, encode_outcome, outcome_from, outcome_to};
pub(crate) use self::registry::{note_from, note_to};

use crate::machine::audit;

/// Why bytes are no message that this version can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A newer version wrote it.
    #[error(
        "{what} has format {format}, and this version reads up to {known}; upgrade this node to a version that the others run"
    )]
    Newer {
        /// What kind of message.
        what: &'static str,
        /// Its format.
        format: u32,
        /// Newest format that this version reads.
        known: u32,
    },
    /// It is no protobuf of that kind.
    #[error("{what} is not readable")]
    Malformed {
        /// What kind of message.
        what: &'static str,
        /// Cause.
        #[source]
        source: prost::DecodeError,
    },
    /// A field is missing, or holds what it can't.
    #[error("{field} is missing or holds what this version does not know")]
    Field {
        /// Which.
        field: &'static str,
    },
}

impl From<audit::WireError> for WireError {
    fn from(error: audit::WireError) -> Self {
        Self::Field { field: error.field }
    }
}

/// Takes a field that every message of its kind has.
pub(crate) fn need<T>(field: &'static str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or(WireError::Field { field })
}

/// Takes a field of a fixed length.
pub(crate) fn array<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], WireError> {
    bytes.try_into().map_err(|_| WireError::Field { field })
}

/// Bytes of a fixed-length field.
pub(crate) fn bytes(array: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(array)
}
