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
    late: Vec<Late>,
    table: Option<OwnTable>,
}

/// A server that is asked while no list waits for it.
#[derive(Debug)]
struct Late {
    handle: UpstreamHandle,
    /// Whether a list has waited for it in vain, and none does again before it has answered.
    is_slow: bool,
    /// Whether it is being asked.
    is_asked: bool,
}

/// What a list does about a server that has not said yet what it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Approach {
    /// Asks it, and waits.
    Wait,
    /// Asks it, and goes on.
    Ask,
    /// Goes on: it is being asked.
    Leave,
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

    /// What a list does about `handle`'s server. Where it is told to ask and go on, it has to say when the answer is
    /// there: see [`Self::answered`].
    pub(super) fn approach(&mut self, handle: &UpstreamHandle, is_down: bool) -> Approach {
        let late = self.late_mut(handle);
        let is_slow = late.as_ref().is_some_and(|late| late.is_slow);
        if !is_down && !is_slow {
            return Approach::Wait;
        }
        match late {
            Some(late) if late.is_asked => return Approach::Leave,
            Some(late) => late.is_asked = true,
            None => self.add_late(handle, false),
        }
        Approach::Ask
    }

    /// A list has waited in vain for `handle`'s server, which is still being asked: see [`Self::answered`].
    pub(super) fn waited(&mut self, handle: &UpstreamHandle) {
        match self.late_mut(handle) {
            Some(late) => (late.is_slow, late.is_asked) = (true, true),
            None => self.add_late(handle, true),
        }
    }

    /// A server that no list waited for has said what it offers, or that it does not.
    pub(super) fn answered(&mut self, handle: &UpstreamHandle, is_answer: bool) {
        if let Some(late) = self.late_mut(handle) {
            late.is_asked = false;
        }
        self.late
            .retain(|late| !late.handle.is_same_as(handle) || (late.is_slow && !is_answer));
    }

    fn late_mut(&mut self, handle: &UpstreamHandle) -> Option<&mut Late> {
        let mut late = self.late.iter_mut();
        late.find(|late| late.handle.is_same_as(handle))
    }

    fn add_late(&mut self, handle: &UpstreamHandle, is_slow: bool) {
        // A predecessor of the server is asked no more.
        let server = &handle.settings().name;
        self.late
            .retain(|late| late.handle.settings().name != *server);
        self.late.push(Late {
            handle: handle.clone(),
            is_slow,
            is_asked: true,
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
