//! All servers of this node, in the order of the configuration.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lockgate_proto::id::ServerName;
use ractor::SpawnErr;
use tokio::sync::{Mutex, watch};
use tracing::{debug, info};

use crate::config::Server;
use crate::task::spawn_named;

use super::handle::UpstreamHandle;
use super::sameness::is_same;
use super::supervision::SupervisorHandle;

/// Longest time that calls of a removed server may still take.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// Table of servers, replaced as a whole. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    supervisor: SupervisorHandle,
    answer_bytes_max: usize,
    table: ArcSwap<Vec<UpstreamHandle>>,
    /// One change at a time.
    applying: Mutex<()>,
    version: watch::Sender<u64>,
}

/// What a change of the configuration did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New servers.
    pub added: Vec<ServerName>,
    /// Servers with other settings: the old one drains while the new one starts.
    pub changed: Vec<ServerName>,
    /// Servers that drain and end.
    pub removed: Vec<ServerName>,
}

impl Diff {
    fn log(&self) {
        if *self == Self::default() {
            debug!("servers applied, none has changed");
            return;
        }
        let names = |servers: &[ServerName]| {
            let names: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
            names.join(" ")
        };
        info!(
            added = names(&self.added),
            changed = names(&self.changed),
            removed = names(&self.removed),
            "servers applied"
        );
    }
}

impl Upstreams {
    /// Without servers yet. `node` prefixes the names of actors.
    ///
    /// # Errors
    ///
    /// Fails when a node of that name runs already in this process.
    pub async fn new(node: &str, answer_bytes_max: usize) -> Result<Self, SpawnErr> {
        Ok(Self {
            inner: Arc::new(Inner {
                supervisor: SupervisorHandle::spawn(node).await?,
                answer_bytes_max,
                table: ArcSwap::default(),
                applying: Mutex::new(()),
                version: watch::channel(0).0,
            }),
        })
    }

    /// All servers, in the order of the configuration.
    pub fn all(&self) -> Arc<Vec<UpstreamHandle>> {
        self.inner.table.load_full()
    }

    /// Counts changes of the table.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// One server.
    pub fn get(&self, name: &str) -> Option<UpstreamHandle> {
        find(&self.inner.table.load(), name).cloned()
    }

    /// Makes `servers` the table. A server whose settings did not change keeps its handle, its sessions and its
    /// children; one that is gone or changed drains in the background.
    ///
    /// # Errors
    ///
    /// Fails when a new server cannot be started at all; then nothing has changed.
    pub async fn apply(&self, servers: &[Arc<Server>]) -> Result<Diff, SpawnErr> {
        let inner = &self.inner;
        let _one_at_a_time = inner.applying.lock().await;
        let old = inner.table.load_full();
        let mut diff = Diff::default();
        let mut table = Vec::with_capacity(servers.len());
        let mut started = Vec::new();
        for server in servers {
            let before = find(&old, server.name.as_str());
            if let Some(kept) = before.filter(|handle| is_same(handle.settings(), server)) {
                table.push(kept.clone());
                continue;
            }
            let spawned = UpstreamHandle::spawn(
                Arc::clone(server),
                inner.answer_bytes_max,
                &inner.supervisor,
            );
            match spawned.await {
                Ok(handle) => {
                    started.push(handle.clone());
                    table.push(handle);
                }
                Err(error) => {
                    retire(started);
                    return Err(error);
                }
            }
            match before {
                Some(_) => diff.changed.push(server.name.clone()),
                None => diff.added.push(server.name.clone()),
            }
        }
        let gone = |handle: &&UpstreamHandle| {
            let name = handle.settings().name.as_str();
            find(&table, name).is_none()
        };
        diff.removed = old
            .iter()
            .filter(gone)
            .map(|handle| handle.settings().name.clone())
            .collect();
        let leaving = old.iter().filter(|handle| {
            let name = handle.settings().name.as_str();
            find(&table, name).is_none_or(|new| !new.is_same_as(handle))
        });
        let leaving: Vec<UpstreamHandle> = leaving.cloned().collect();
        inner.table.store(Arc::new(table));
        retire(leaving);
        inner.version.send_modify(|version| *version += 1);
        diff.log();
        Ok(diff)
    }

    /// Starts a server anew, with connections and children of its own, while the old one drains in the background.
    /// `false` when there is none of that name.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be started at all; then the old one stays.
    pub async fn restart(&self, name: &str) -> Result<bool, SpawnErr> {
        let inner = &self.inner;
        let _one_at_a_time = inner.applying.lock().await;
        let mut table = Vec::clone(&inner.table.load());
        let same = |handle: &&mut UpstreamHandle| handle.settings().name.as_str() == name;
        let Some(slot) = table.iter_mut().find(same) else {
            return Ok(false);
        };
        let settings = Arc::clone(slot.settings());
        let fresh = UpstreamHandle::spawn(settings, inner.answer_bytes_max, &inner.supervisor);
        let before = std::mem::replace(slot, fresh.await?);
        inner.table.store(Arc::new(table));
        retire(vec![before]);
        inner.version.send_modify(|version| *version += 1);
        info!(server = name, "server restarts");
        Ok(true)
    }

    /// Waits, for at most `limit`, until each server has been tried once.
    pub async fn settled(&self, limit: Duration) {
        let table = self.all();
        futures_util::future::join_all(table.iter().map(|handle| handle.settled(limit))).await;
    }

    /// Ends all servers: calls in flight have `limit`.
    pub async fn drain(&self, limit: Duration) {
        let _one_at_a_time = self.inner.applying.lock().await;
        let table = self.inner.table.swap(Arc::default());
        futures_util::future::join_all(table.iter().map(|handle| handle.drain(limit))).await;
        self.inner.supervisor.stop();
    }
}

fn find<'a>(table: &'a [UpstreamHandle], name: &str) -> Option<&'a UpstreamHandle> {
    table
        .iter()
        .find(|handle| handle.settings().name.as_str() == name)
}

fn retire(handles: Vec<UpstreamHandle>) {
    for handle in handles {
        // At once: whoever sees the successor must see that this one has gone.
        handle.shared.drain();
        // Ends by itself after the limit.
        let _draining = spawn_named("drain of a server", async move {
            handle.drain(DRAIN_LIMIT).await;
        });
    }
}
