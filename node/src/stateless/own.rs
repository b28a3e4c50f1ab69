//! What servers offer to one caller together, where the capabilities that its request declares change that: servers
//! with sessions learn them when a session begins, and register what they offer by them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lockgate_proto::id::{Principal, Tenant};
use lockgate_proto::jsonrpc::{Frame, members};
use lockgate_proto::mcp::Era;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::identity::Authenticated;
use crate::route::{Entry, Table};
use crate::upstream::{OwnCatalog, Owner};

use super::validate::CAPABILITIES_KEY;

/// Longest wait for one server when lists are collected: a slow one shows what it shows everybody, and so does, at once,
/// one that is known to be down.
const LIST_WAIT: Duration = Duration::from_secs(5);
/// A server that did not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Tables that are kept; when there are more, they are made anew.
const TABLES_MAX: usize = 1_024;

/// Whose table it is, and for which capabilities, as they were spelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: Option<Tenant>,
    principal: Principal,
    capabilities: Box<str>,
}

/// A table and what makes it true.
#[derive(Debug)]
struct Known {
    shared_id: u64,
    parts: Vec<OwnCatalog>,
    table: Arc<Table>,
    /// When a server that did not answer is asked again.
    until: Option<Instant>,
}

/// A server did not say what it offers.
#[derive(Clone, Copy, Debug)]
struct Missing;

/// Tables of callers with capabilities.
#[derive(Debug, Default)]
pub(super) struct OwnTables(Mutex<HashMap<Key, Known>>);

impl OwnTables {
    /// The table that the names in `request` resolve by, on the endpoint of all servers.
    pub(super) async fn table(
        &self,
        shared: &Arc<Table>,
        who: &Authenticated,
        request: &Frame,
    ) -> Arc<Table> {
        let capabilities = request.param(&["_meta", CAPABILITIES_KEY]);
        let capabilities = capabilities.map_or("{}", |span| span.of(request.text()));
        let is_bridged = |entry: &Entry| entry.handle.speaks(Era::Stateless) == Some(false);
        if members(capabilities).next().is_none() || !shared.servers.iter().any(is_bridged) {
            return Arc::clone(shared);
        }
        let key = Key {
            tenant: who.caller.tenant.clone(),
            principal: who.caller.principal.clone(),
            capabilities: capabilities.into(),
        };
        if let Some(table) = self.known(&key, shared.id) {
            return table;
        }
        let asked = shared
            .servers
            .iter()
            .map(|entry| own_catalog(entry, who, request));
        let found = join_all(asked).await;
        let is_whole = found.iter().all(Result::is_ok);
        let found: Vec<_> = found.into_iter().map(|own| own.ok().flatten()).collect();
        let changes = |(entry, own): (&Entry, &Option<OwnCatalog>)| {
            own.as_ref().is_some_and(|own| {
                let shown = entry.catalog.as_ref();
                shown.is_none_or(|shown| !shown.same_as(own.catalog()))
            })
        };
        let table = if shared.servers.iter().zip(&found).any(changes) {
            let entries = shared.servers.iter().zip(&found);
            let entries = entries.map(|(entry, own)| Entry {
                catalog: match own {
                    Some(own) => Some(Arc::clone(own.catalog())),
                    None => entry.catalog.clone(),
                },
                ..entry.clone()
            });
            Arc::new(Table::new(Era::Stateless, entries.collect()))
        } else {
            Arc::clone(shared)
        };
        let known = Known {
            shared_id: shared.id,
            parts: found.into_iter().flatten().collect(),
            table: Arc::clone(&table),
            until: (!is_whole).then(|| Instant::now() + ASK_AGAIN),
        };
        let mut tables = self.0.lock();
        if tables.len() >= TABLES_MAX {
            tables.clear();
        }
        tables.insert(key, known);
        table
    }

    fn known(&self, key: &Key, shared_id: u64) -> Option<Arc<Table>> {
        let tables = self.0.lock();
        let known = tables.get(key)?;
        let is_true = known.shared_id == shared_id
            && known.until.is_none_or(|until| Instant::now() < until)
            && known.parts.iter().all(OwnCatalog::is_current);
        is_true.then(|| Arc::clone(&known.table))
    }
}

/// What one server offers to this caller, if that differs. The log names a server that does not say.
async fn own_catalog(
    entry: &Entry,
    who: &Authenticated,
    request: &Frame,
) -> Result<Option<OwnCatalog>, Missing> {
    let server = &entry.settings.name;
    if !who.access.allows_server(server) {
        return Ok(None);
    }
    let owner = Owner::of(&who.caller, false);
    let asked = entry.handle.own_catalog(&owner, request);
    let is_down = entry.handle.is_down();
    // Even then it may be known, from when it was up.
    let wait = if is_down { Duration::ZERO } else { LIST_WAIT };
    match timeout(wait, asked).await {
        Ok(Ok(own)) => Ok(own),
        Ok(Err(error)) => {
            tracing::warn!(%server, %error, "server does not say what it offers to this caller");
            Err(Missing)
        }
        Err(_elapsed) if is_down => Err(Missing),
        Err(_elapsed) => {
            tracing::warn!(%server, waited = ?LIST_WAIT, "server is slow to say what it offers to this caller");
            Err(Missing)
        }
    }
}
