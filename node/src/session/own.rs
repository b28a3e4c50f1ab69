//! What servers offer to one session, where the client's capabilities change that.

use std::sync::Arc;

use lockgate_proto::id::ServerName;

use crate::route::Table;
use crate::upstream::UpstreamHandle;
use crate::upstream::catalog::Catalog;

/// A session's own catalogs and the table made of them.
///
/// What was fetched is kept only if no server said meanwhile that its lists had changed: it may be older than that.
#[derive(Debug, Default)]
pub(super) struct OwnLists {
    /// Counts what servers said about changed lists.
    generation: u64,
    known: Vec<Known>,
    table: Option<OwnTable>,
}

/// What one server offers, by the handle that it was asked through: a server that was replaced is asked again.
#[derive(Debug)]
struct Known {
    handle: UpstreamHandle,
    catalog: Arc<Catalog>,
}

/// A session's own table, and the shared one that it was derived from.
#[derive(Debug)]
pub(super) struct OwnTable {
    pub(super) shared_id: u64,
    pub(super) table: Arc<Table>,
    /// Whether every server that the caller may use has answered.
    pub(super) is_whole: bool,
}

impl OwnLists {
    /// Taken before a fetch, and given back with what was fetched.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The table derived from `shared_id`, whole or, if that will do, without servers that did not answer.
    pub(super) fn table(&self, shared_id: u64, part_will_do: bool) -> Option<Arc<Table>> {
        let table = self.table.as_ref()?;
        let fits = table.shared_id == shared_id && (table.is_whole || part_will_do);
        fits.then(|| Arc::clone(&table.table))
    }

    /// Keeps a table, unless it may be out of date already.
    pub(super) fn keep_table(&mut self, seen: u64, table: OwnTable) {
        if seen == self.generation {
            self.table = Some(table);
        }
    }

    /// What `handle`'s server offers, if it was asked.
    pub(super) fn catalog(&self, handle: &UpstreamHandle) -> Option<Arc<Catalog>> {
        let mut known = self.known.iter();
        let known = known.find(|known| known.handle.is_same_as(handle))?;
        Some(Arc::clone(&known.catalog))
    }

    /// Keeps a catalog, unless it may be out of date already.
    pub(super) fn keep_catalog(
        &mut self,
        seen: u64,
        handle: &UpstreamHandle,
        catalog: &Arc<Catalog>,
    ) {
        if seen != self.generation {
            return;
        }
        self.drop_catalog(&handle.settings().name);
        self.known.push(Known {
            handle: handle.clone(),
            catalog: Arc::clone(catalog),
        });
    }

    /// A server that a table was made without has answered since.
    pub(super) fn forget_part(&mut self) {
        self.table.take_if(|table| !table.is_whole);
    }

    /// A server said that its lists have changed.
    pub(super) fn changed(&mut self, server: &ServerName) {
        self.generation += 1;
        self.table = None;
        self.drop_catalog(server);
    }

    fn drop_catalog(&mut self, server: &ServerName) {
        self.known
            .retain(|known| known.handle.settings().name != *server);
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::mcp::Era;

    use super::*;

    fn table(shared_id: u64, is_whole: bool) -> OwnTable {
        OwnTable {
            shared_id,
            table: Arc::new(Table::new(Era::Session, Vec::new())),
            is_whole,
        }
    }

    #[test]
    fn what_was_fetched_across_a_change_is_not_kept() {
        let mut own = OwnLists::default();
        let seen = own.generation();
        own.changed(&"a".into());
        own.keep_table(seen, table(1, true));
        assert!(own.table(1, true).is_none());
        own.keep_table(own.generation(), table(1, true));
        assert!(own.table(1, false).is_some());
    }

    #[test]
    fn a_table_without_a_server_serves_calls_but_no_lists() {
        let mut own = OwnLists::default();
        own.keep_table(own.generation(), table(1, false));
        assert!(own.table(1, true).is_some());
        assert!(own.table(1, false).is_none());
        assert!(own.table(2, true).is_none());
        own.forget_part();
        assert!(own.table(1, true).is_none());
        own.keep_table(own.generation(), table(1, true));
        own.forget_part();
        assert!(own.table(1, true).is_some());
    }
}
