//! What a server offers to one caller, where the caller's capabilities change that.

use std::sync::{Arc, Weak};

use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::Era;

use crate::error::UpstreamError;
use crate::upstream::catalog::{self, Ask, Catalog};
use crate::upstream::shared::Shared;

use super::owned::Owned;

/// A caller's own catalog, for as long as it is true.
#[derive(Clone, Debug)]
pub struct OwnCatalog {
    catalog: Arc<Catalog>,
    owned: Weak<Owned>,
    seen: u64,
}

impl OwnCatalog {
    /// Asks the server over `owned`, unless nothing has changed since it was asked last.
    pub(super) async fn fetch(owned: &Arc<Owned>, shared: &Shared) -> Result<Self, UpstreamError> {
        // Whoever keeps a catalog has to hear when it is true no more.
        owned.follow();
        let mut known = owned.catalog.lock().await;
        // Taken before the server is asked: what changes meanwhile is asked for again.
        let seen = owned.hub.n_changes();
        let catalog = match &*known {
            Some((then, catalog)) if *then == seen => Arc::clone(catalog),
            _ => {
                let introduction = owned.session.initialize_result();
                let found = catalog::fetch(&**owned, &introduction, Era::Session).await?;
                let catalog = shared.interner.intern(super::catalog(&found));
                *known = Some((seen, Arc::clone(&catalog)));
                catalog
            }
        };
        Ok(Self {
            catalog,
            owned: Arc::downgrade(owned),
            seen,
        })
    }

    /// What is offered.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Whether the session that it was asked for over lives, and its server has told of no change since.
    pub fn is_current(&self) -> bool {
        let owned = self.owned.upgrade();
        owned.is_some_and(|owned| owned.hub.n_changes() == self.seen)
    }
}

impl Ask for Owned {
    async fn ask(&self, frame: Frame) -> Result<Frame, UpstreamError> {
        let params = frame.params().unwrap_or("{}");
        self.request(&frame.method(), params).await
    }
}
