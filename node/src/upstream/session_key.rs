//! On whose behalf something happens at an upstream.

use std::sync::Arc;

use lockgate_proto::id::{Principal, Tenant};

use crate::call::Caller;

/// Decides which child a session shares (`CONTINUITY.md` section 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Name of the client's session, unique on this node; never the sealed id.
    pub session: Arc<str>,
    /// Who owns it.
    pub principal: Principal,
    /// Where the owner belongs.
    pub tenant: Option<Tenant>,
}

impl SessionKey {
    /// The owner, as a sender of requests of the stateless era.
    pub(super) fn owner(&self) -> Owner<'_> {
        Owner {
            tenant: self.tenant.as_ref(),
            principal: &self.principal,
            scoped: true,
        }
    }
}

/// Who sends a request of the stateless era, and through which door. What such a request leaves behind at the gateway
/// (an owned session, a parked call) is never shown to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner<'a> {
    /// Where the principal belongs.
    pub tenant: Option<&'a Tenant>,
    /// Who.
    pub principal: &'a Principal,
    /// Whether it came through the server's own route (`/s/{server}/mcp`).
    pub scoped: bool,
}

impl<'a> Owner<'a> {
    /// The caller, who came through the server's own route or not.
    pub fn of(caller: &'a Caller, scoped: bool) -> Self {
        Self {
            tenant: caller.tenant.as_ref(),
            principal: &caller.principal,
            scoped,
        }
    }
}
