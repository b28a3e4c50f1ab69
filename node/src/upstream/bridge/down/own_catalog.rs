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
    signs: Signs,
}

/// All that shows that a server may offer something else than before. While none of it changes, nothing has.
#[derive(Clone, Debug)]
pub(super) struct Signs {
    /// What the session has heard, or may have missed.
    n_changes: u64,
    /// What opened the session: another one where it was opened again, by whoever found it forgotten. Its server was
    /// restarted, and need not have a stream on which that shows.
    introduction: Arc<str>,
    /// What the gateway has found in a session of its own: the last resort at a server that tells nothing to callers who
    /// do nothing but ask for lists, which are answered from here.
    n_renewals: u64,
}

impl Signs {
    /// Those of now.
    fn of(owned: &Owned) -> Self {
        Self {
            n_changes: owned.hub.n_changes(),
            introduction: owned.session.initialize_result(),
            n_renewals: owned.session.n_renewals(),
        }
    }
}

impl PartialEq for Signs {
    fn eq(&self, other: &Self) -> bool {
        self.n_changes == other.n_changes
            && self.n_renewals == other.n_renewals
            // A server says the same every time.
            && Arc::ptr_eq(&self.introduction, &other.introduction)
    }
}

impl OwnCatalog {
    /// Asks the server over `owned`, unless nothing has changed since it was asked last.
    pub(super) async fn fetch(owned: &Arc<Owned>, shared: &Shared) -> Result<Self, UpstreamError> {
        // Whoever keeps a catalog has to hear when it is true no more.
        owned.follow();
        let mut known = owned.catalog.lock().await;
        // Taken before the server is asked: what changes meanwhile is asked for again.
        let signs = Signs::of(owned);
        let catalog = match &*known {
            Some((then, catalog)) if *then == signs => Arc::clone(catalog),
            _ => {
                let found = catalog::fetch(&**owned, &signs.introduction, Era::Session).await?;
                let catalog = shared.interner.intern(super::catalog(&found));
                *known = Some((signs.clone(), Arc::clone(&catalog)));
                catalog
            }
        };
        Ok(Self {
            catalog,
            owned: Arc::downgrade(owned),
            signs,
        })
    }

    /// What is offered.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Whether the session that it was asked for over lives, and nothing shows since that its server may offer something
    /// else.
    pub fn is_current(&self) -> bool {
        let owned = self.owned.upgrade();
        owned.is_some_and(|owned| Signs::of(&owned) == self.signs)
    }
}

impl Ask for Owned {
    async fn ask(&self, frame: Frame) -> Result<Frame, UpstreamError> {
        let params = frame.params().unwrap_or("{}");
        self.request(&frame.method(), params).await
    }
}
