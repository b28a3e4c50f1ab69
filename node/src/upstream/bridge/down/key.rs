//! Whose an owned session is, and for what.

use std::sync::Arc;

use lockgate_proto::id::{Principal, Tenant};
use serde::{Deserialize, Serialize};

use crate::upstream::Owner;

/// Whose session it is, and for what. Nothing of it is ever shared with another key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Key {
    tenant: Option<Tenant>,
    principal: Principal,
    scoped: bool,
    /// Raw `ClientCapabilities`, in one spelling.
    pub(super) capabilities: Arc<str>,
    /// Sessions beside the first, where one can do one call at a time.
    lane: u8,
}

impl Key {
    /// Of the first lane.
    pub(super) fn new(owner: &Owner<'_>, capabilities: Arc<str>) -> Self {
        Self {
            tenant: owner.tenant.cloned(),
            principal: owner.principal.clone(),
            scoped: owner.scoped,
            capabilities,
            lane: 0,
        }
    }

    /// The same of another lane.
    pub(super) fn in_lane(&self, lane: u8) -> Self {
        Self {
            lane,
            ..self.clone()
        }
    }

    /// Whether it is of the first lane.
    pub(super) fn is_first(&self) -> bool {
        self.lane == 0
    }

    /// Who owns it.
    pub(super) fn owner(&self) -> Owner<'_> {
        Owner {
            tenant: self.tenant.as_ref(),
            principal: &self.principal,
            scoped: self.scoped,
        }
    }
}
