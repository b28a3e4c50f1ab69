//! Who calls, as every stage sees it.

use std::sync::Arc;

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
}
