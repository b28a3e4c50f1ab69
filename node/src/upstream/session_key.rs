//! Whose session at an upstream it is.

use std::sync::Arc;

use lockgate_proto::id::Principal;

/// Decides which child a session shares (`CONTINUITY.md` section 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Name of the client's session, unique on this node; never the sealed id.
    pub session: Arc<str>,
    /// Who owns it.
    pub principal: Principal,
}
