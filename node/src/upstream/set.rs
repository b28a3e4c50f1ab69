//! All servers of this node, in the order of the configuration.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lockgate_proto::id::ServerName;
use ractor::SpawnErr;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::config::Server;
use crate::task::spawn_named;

use super::bridge::{Waiting, WaitingRoom};
use super::handle::UpstreamHandle;
use super::sameness::is_same;
use super::supervision::SupervisorHandle;

/// Longest time that calls of a removed server may still take.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// A changed server that is well serves on until its successor has been tried, but not longer than this.
const SUCCESSION_MAX: Duration = Duration::from_secs(10);
/// After its successor has come, a server still takes calls for so long: of requests that had found it before, and
/// may have to open a session first.
const LEAVE_FOR: Duration = Duration::from_secs(3);

/// Table of servers, replaced as a whole. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    supervisor: SupervisorHandle,
    answer_bytes_max: usize,
    room: Option<Arc<WaitingRoom>>,
    table: ArcSwap<Vec<Seat>>,
    /// Those that were replaced and have not ended.
    leaving: parking_lot::Mutex<Vec<UpstreamHandle>>,
    /// One change at a time.
    applying: Mutex<()>,
    version: watch::Sender<u64>,
}

/// One configured server.
#[derive(Clone, Debug)]
struct Seat {
    handle: UpstreamHandle,
    /// The one before, which serves until `handle` has been tried.
    before: Option<UpstreamHandle>,
}

impl Seat {
    fn new(handle: UpstreamHandle) -> Self {
        Self {
            handle,
            before: None,
        }
    }

    /// The one that calls go to.
    fn serving(&self) -> &UpstreamHandle {
        self.before.as_ref().unwrap_or(&self.handle)
    }

    /// Gives the seat to `next`, and back whoever is not needed any more.
    fn pass_to(&self, next: UpstreamHandle) -> (Self, Vec<UpstreamHandle>) {
        let serving = self.serving();
        let mut leaving = Vec::new();
        if !serving.is_same_as(&self.handle) {
            leaving.push(self.handle.clone());
        }
        // One that is down serves nobody.
        let before = serving.is_up().then(|| serving.clone());
        if before.is_none() {
            leaving.push(serving.clone());
        }
        let handle = next;
        (Self { handle, before }, leaving)
    }
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
    /// Without servers yet. `node` prefixes the names of actors. In `room` calls wait for their clients; without
    /// one, none does.
    ///
    /// # Errors
    ///
    /// Fails when a node of that name runs already in this process.
    pub async fn new(
        node: &str,
        answer_bytes_max: usize,
        room: Option<Arc<WaitingRoom>>,
    ) -> Result<Self, SpawnErr> {
        Ok(Self {
            inner: Arc::new(Inner {
                supervisor: SupervisorHandle::spawn(node).await?,
                answer_bytes_max,
                room,
                table: ArcSwap::default(),
                leaving: parking_lot::Mutex::default(),
                applying: Mutex::new(()),
                version: watch::channel(0).0,
            }),
        })
    }

    /// Calls that wait for their clients.
    pub fn waiting(&self) -> Waiting {
        let room = self.inner.room.as_ref();
        room.map(|room| room.usage()).unwrap_or_default()
    }

    /// All servers as they are configured, in that order.
    pub fn all(&self) -> Vec<UpstreamHandle> {
        let table = self.inner.table.load();
        table.iter().map(|seat| seat.handle.clone()).collect()
    }

    /// The servers that calls go to: as [`Self::all`], with the one before where a changed one has not been tried yet.
    pub fn serving(&self) -> Vec<UpstreamHandle> {
        let table = self.inner.table.load();
        table.iter().map(|seat| seat.serving().clone()).collect()
    }

    /// Counts changes of the table.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// One server, as it is configured.
    pub fn get(&self, name: &str) -> Option<UpstreamHandle> {
        find(&self.inner.table.load(), name).map(|seat| seat.handle.clone())
    }

    /// Makes `servers` the table. A server whose settings did not change keeps its handle, its sessions and its
    /// children. One that is gone drains in the background; one that is changed serves until its successor has been
    /// tried, and then leaves.
    ///
    /// # Errors
    ///
    /// Fails when a new server cannot be started at all; then nothing has changed.
    pub async fn apply(&self, servers: &[Arc<Server>]) -> Result<Diff, SpawnErr> {
        let inner = &self.inner;
        let _one_at_a_time = inner.applying.lock().await;
        let old = inner.table.load_full();
        let mut diff = Diff::default();
        let (mut table, mut started) = (Vec::with_capacity(servers.len()), Vec::new());
        let mut leaving = Vec::new();
        for server in servers {
            let before = find(&old, server.name.as_str());
            if let Some(kept) = before.filter(|seat| is_same(seat.handle.settings(), server)) {
                table.push(kept.clone());
                continue;
            }
            let fresh = match inner.start(server).await {
                Ok(fresh) => fresh,
                Err(error) => {
                    retire(started);
                    return Err(error);
                }
            };
            started.push(fresh.clone());
            match before {
                Some(before) => {
                    let (seat, unneeded) = before.pass_to(fresh);
                    table.push(seat);
                    leaving.extend(unneeded);
                    diff.changed.push(server.name.clone());
                }
                None => {
                    table.push(Seat::new(fresh));
                    diff.added.push(server.name.clone());
                }
            }
        }
        let gone = old.iter().filter(|seat| {
            let name = seat.handle.settings().name.as_str();
            find(&table, name).is_none()
        });
        let gone: Vec<&Seat> = gone.collect();
        diff.removed = gone
            .iter()
            .map(|seat| seat.handle.settings().name.clone())
            .collect();
        let gone = gone
            .into_iter()
            .flat_map(|seat| [Some(seat.handle.clone()), seat.before.clone()])
            .flatten()
            .collect();
        inner.publish(table);
        retire(gone);
        inner.leave(leaving);
        self.succeed_later(started);
        diff.log();
        Ok(diff)
    }

    /// Starts a server anew, with connections and children of its own; the old one serves until the new one has been
    /// tried, and then leaves. `false` when there is none of that name.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be started at all; then the old one stays.
    pub async fn restart(&self, name: &str) -> Result<bool, SpawnErr> {
        let inner = &self.inner;
        let _one_at_a_time = inner.applying.lock().await;
        let mut table = Vec::clone(&inner.table.load());
        let same = |seat: &&mut Seat| seat.handle.settings().name.as_str() == name;
        let Some(seat) = table.iter_mut().find(same) else {
            return Ok(false);
        };
        let fresh = inner.start(seat.handle.settings()).await?;
        let (next, leaving) = seat.pass_to(fresh.clone());
        *seat = next;
        inner.publish(table);
        inner.leave(leaving);
        self.succeed_later(vec![fresh]);
        info!(server = name, "server restarts");
        Ok(true)
    }

    /// Lets each of `successors` take over when it has been tried.
    fn succeed_later(&self, successors: Vec<UpstreamHandle>) {
        for successor in successors {
            let inner = Arc::clone(&self.inner);
            // Ends after the limit at the latest.
            drop(spawn_named("succession of a server", async move {
                successor.settled(SUCCESSION_MAX).await;
                inner.succeed(&successor).await;
            }));
        }
    }

    /// Waits, for at most `limit`, until each server has been tried once.
    pub async fn settled(&self, limit: Duration) {
        let table = self.all();
        futures_util::future::join_all(table.iter().map(|handle| handle.settled(limit))).await;
    }

    /// No new calls come: servers that are down are left alone, whatever still runs.
    pub fn rest(&self) {
        for seat in self.inner.table.load().iter() {
            for handle in seat.before.iter().chain([&seat.handle]) {
                handle.shared.rest();
            }
        }
    }

    /// Ends all servers: calls in flight have `limit`.
    pub async fn drain(&self, limit: Duration) {
        let _one_at_a_time = self.inner.applying.lock().await;
        let table = self.inner.table.swap(Arc::default());
        let leaving = self.inner.leaving.lock().clone();
        let handles = table
            .iter()
            .flat_map(|seat| seat.before.iter().chain([&seat.handle]));
        let handles = handles.chain(&leaving);
        futures_util::future::join_all(handles.map(|handle| handle.drain(limit))).await;
        self.inner.supervisor.stop();
    }
}

impl Inner {
    async fn start(&self, server: &Arc<Server>) -> Result<UpstreamHandle, SpawnErr> {
        let (server, room) = (Arc::clone(server), self.room.clone());
        UpstreamHandle::spawn(server, self.answer_bytes_max, room, &self.supervisor).await
    }

    fn publish(&self, table: Vec<Seat>) {
        self.table.store(Arc::new(table));
        self.version.send_modify(|version| *version += 1);
    }

    /// Ends servers that have a successor, when the calls that had found them before have come to their end, and those
    /// that wait for their clients, too.
    fn leave(self: &Arc<Self>, handles: Vec<UpstreamHandle>) {
        let wait = self
            .room
            .as_ref()
            .map_or(Duration::ZERO, |room| room.wait());
        for handle in handles {
            // At once: whoever sees the successor must see that this one goes.
            handle.shared.leave();
            self.leaving.lock().push(handle.clone());
            let inner = Arc::clone(self);
            // Ends by itself after all limits.
            drop(spawn_named("leave of a server", async move {
                sleep(LEAVE_FOR).await;
                let limit = DRAIN_LIMIT + wait;
                let _in_time = timeout(limit, handle.shared.until_unused()).await;
                handle.drain(Duration::ZERO).await;
                let mut leaving = inner.leaving.lock();
                leaving.retain(|other| !other.is_same_as(&handle));
            }));
        }
    }

    /// Calls go to `successor` from now on, if its seat is still its own.
    async fn succeed(self: &Arc<Self>, successor: &UpstreamHandle) {
        let _one_at_a_time = self.applying.lock().await;
        let mut table = Vec::clone(&self.table.load());
        let own = |seat: &&mut Seat| seat.handle.is_same_as(successor);
        let before = table
            .iter_mut()
            .find(own)
            .and_then(|seat| seat.before.take());
        if let Some(before) = before {
            self.publish(table);
            self.leave(vec![before]);
        }
    }
}

fn find<'a>(table: &'a [Seat], name: &str) -> Option<&'a Seat> {
    table
        .iter()
        .find(|seat| seat.handle.settings().name.as_str() == name)
}

/// Ends servers that nobody may call any more.
fn retire(handles: Vec<UpstreamHandle>) {
    for handle in handles {
        // At once: they are out of the table.
        handle.shared.drain();
        // Ends by itself after the limit.
        drop(spawn_named("drain of a server", async move {
            handle.drain(DRAIN_LIMIT).await;
        }));
    }
}
