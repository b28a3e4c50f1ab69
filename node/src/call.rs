//! Who calls, as every stage sees it.

use std::sync::{Arc, OnceLock};

use lockgate_proto::id::{Principal, RoleName, Tenant};

/// The authenticated caller; made once per credential and shared.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Where the principal belongs.
    pub tenant: Option<Tenant>,
    /// Roles, sorted.
    pub roles: Vec<RoleName>,
    /// Name of the credential in logs: key id, or `anonymous`.
    pub credential: Arc<str>,
    /// How audit lines name the caller: made with the first line, and the same in all that follow.
    pub in_audit: OnceLock<Box<[u8]>>,
}
