//! Sessions whose server was replaced while they listen to it. The others move with their next call.

use std::sync::Arc;

use crate::route::{Entry, Table};
use crate::task::spawn_named;

use super::cell::Cell;
use super::door::{Door, Inner};

impl Door {
    /// Moves every session that listens to where `table` has its servers now.
    pub fn follow(&self, table: &Table) {
        for cell in self.inner.directory.cells() {
            if cell.is_listening() || cell.state.lock().has_subscriptions() {
                self.inner.follow(&cell, table);
            }
        }
    }
}

impl Inner {
    /// Moves what a session has open at servers that `table` knows a successor of.
    pub(super) fn follow(self: &Arc<Self>, cell: &Arc<Cell>, table: &Table) {
        for (server, session) in cell.bound() {
            let at = table.server(server.as_str());
            let Some(entry) = at.map(|at| &table.servers[at]) else {
                continue;
            };
            if session.is_outlived_by(&entry.handle) {
                self.move_later(cell, entry.clone());
            }
        }
    }

    fn move_later(self: &Arc<Self>, cell: &Arc<Cell>, entry: Entry) {
        let Some(cell) = self.directory.hold(cell) else {
            // It has fallen asleep, or ended: nobody listens.
            return;
        };
        let inner = Arc::clone(self);
        // Ends when the new session is open, which the server's timeout bounds.
        drop(spawn_named("session follows its server", async move {
            // In turn, as sessions end: they must not meet the new server all at once. Never closed.
            let _turn = inner.farewells.acquire().await;
            if let Err(error) = inner.bound(&cell, &entry).await {
                let server = &entry.settings.name;
                tracing::debug!(%server, %error, "a session does not hear its server any more");
            }
        }));
    }
}
