//! Bounds of what is stored, so that no client makes the state of all nodes grow without end.

use super::Refusal;

/// Longest name, id or note of who, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 128;
/// Longest reason that a person gives, in bytes.
pub(super) const REASON_BYTES_MAX: usize = 1024;

/// What a bound is about. On the wire it is its text, so that none is ever renamed.
const SUBJECTS: &[&str] = &[
    ADDRESS, ARGUMENTS, DOCUMENT, ID, KEY_ID, NAME, NODE_NAME, REASON, REGISTER, SERVER, SETTINGS,
    VALUE, WHO,
];
pub(super) const ADDRESS: &str = "address";
pub(super) const ARGUMENTS: &str = "arguments";
pub(super) const DOCUMENT: &str = "configuration";
pub(super) const ID: &str = "id";
pub(super) const KEY_ID: &str = "key id";
pub(super) const NAME: &str = "name";
pub(super) const NODE_NAME: &str = "node name";
pub(super) const REASON: &str = "reason";
pub(super) const REGISTER: &str = "register name";
pub(super) const SETTINGS: &str = "server settings";
pub(super) const SERVER: &str = "server name";
pub(super) const VALUE: &str = "value";
pub(super) const WHO: &str = "author";

/// The subject of that text.
pub(crate) fn subject(text: &str) -> Option<&'static str> {
    SUBJECTS.iter().find(|subject| **subject == text).copied()
}

/// Refuses what is empty or longer than `limit` bytes.
pub(super) fn check_length(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::BadLength { what, limit });
    }
    check_bound(what, bytes, limit)
}

/// Refuses what is longer than `limit` bytes.
pub(super) fn check_bound(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), Refusal> {
    if bytes.len() > limit {
        return Err(Refusal::BadLength { what, limit });
    }
    Ok(())
}
