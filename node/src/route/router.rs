//! Keeps the tables current: rebuilds them when a server's catalog or the configuration changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::Era;
use tokio::sync::watch;

use crate::upstream::UpstreamHandle;
use crate::upstream::catalog::ListKind;

use super::table::{Entry, Table};

/// Both tables. Reading is a pointer load.
#[derive(Debug)]
pub struct Router {
    session: ArcSwap<Table>,
    stateless: ArcSwap<Table>,
    version: watch::Sender<u64>,
}

/// A name that two servers offer: the one that stands first in the configuration keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Collision {
    /// Server whose item clients don't see.
    pub hidden: ServerName,
    /// Name as clients see it.
    pub name: Box<str>,
    /// Server that keeps the name.
    pub kept: ServerName,
    /// Kind of list.
    pub kind: ListKind,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            session: ArcSwap::from_pointee(Table::new(Era::Session, Vec::new())),
            stateless: ArcSwap::from_pointee(Table::new(Era::Stateless, Vec::new())),
            version: watch::channel(0).0,
        }
    }
}

impl Router {
    /// Table of one era.
    pub fn table(&self, era: Era) -> Arc<Table> {
        match era {
            Era::Session => self.session.load_full(),
            Era::Stateless => self.stateless.load_full(),
        }
    }

    /// Names that two servers offer. A collision usually shows in both eras; it is one all the same.
    pub fn collisions(&self) -> BTreeSet<Collision> {
        let mut collisions = BTreeSet::new();
        for era in [Era::Session, Era::Stateless] {
            let table = self.table(era);
            let server = |index: usize| table.servers[index].settings.name.clone();
            collisions.extend(table.hidden.iter().map(|hidden| Collision {
                hidden: server(hidden.hidden),
                name: hidden.name.clone(),
                kept: server(hidden.kept),
                kind: hidden.kind,
            }));
        }
        collisions
    }

    /// Counts rebuilds; a change means that lists may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until both tables have what `server` publishes.
    pub async fn caught_up(&self, server: &UpstreamHandle) {
        let mut changes = self.changes();
        let shows = |era| {
            let table = self.table(era);
            let mut entries = table.servers.iter();
            let entry = entries.find(|entry| entry.settings.name == server.settings().name);
            let is_same = |entry: &Entry| match (&entry.catalog, &server.catalog(era)) {
                (Some(shown), Some(published)) => Arc::ptr_eq(shown, published),
                (shown, published) => shown.is_none() && published.is_none(),
            };
            entry.is_some_and(is_same)
        };
        // An error cannot be: the sender is here.
        while !(shows(Era::Session) && shows(Era::Stateless)) && changes.changed().await.is_ok() {}
    }

    /// Builds both tables from what the servers publish now.
    pub fn rebuild(&self, servers: &[UpstreamHandle], separator: &str) {
        let known = self.collisions();
        for (era, cell) in [
            (Era::Session, &self.session),
            (Era::Stateless, &self.stateless),
        ] {
            let entries = servers
                .iter()
                .map(|handle| entry(handle, era, separator))
                .collect();
            cell.store(Arc::new(Table::new(era, entries)));
        }
        for new in self.collisions().difference(&known) {
            tracing::warn!(
                kind = new.kind.item(),
                name = %new.name,
                kept = %new.kept,
                hidden = %new.hidden,
                "name collision hides an item"
            );
        }
        self.version.send_modify(|version| *version += 1);
    }
}

fn entry(handle: &UpstreamHandle, era: Era, separator: &str) -> Entry {
    let settings = Arc::clone(handle.settings());
    let prefix = settings
        .prefix
        .as_ref()
        .map(|prefix| format!("{prefix}{separator}"))
        .unwrap_or_default();
    Entry {
        handle: handle.clone(),
        catalog: handle.catalog(era),
        settings,
        prefix: prefix.into(),
    }
}
