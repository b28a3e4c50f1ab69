//! Beginning and end of sessions, and what operators see of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, find, find_path, members};
use lockgate_proto::mcp::Revision;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::error::CallError;
use crate::route::Table;
use crate::task::spawn_named;

use super::actor;
use super::cell::{Cell, Seed};
use super::directory::{InUse, Removed};
use super::door::{Door, Inner, Request};
use super::id::{SessionId, SessionKey, capability, shard_of};
use super::state::{Hard, State};

/// One session in `sessions list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Short name.
    pub id: String,
    /// Who opened it.
    pub principal: String,
    /// Where that principal belongs.
    pub tenant: Option<String>,
    /// Agreed revision.
    pub revision: Revision,
    /// Raw `Implementation` of the client.
    pub client: serde_json::Value,
    /// `active` or `passive`.
    pub state: &'static str,
    /// Seconds since it was opened.
    pub age_s: u64,
    /// Seconds since it was last used.
    pub idle_s: u64,
    /// Calls in flight.
    pub in_flight: usize,
    /// Path that it was opened on.
    pub route: String,
}

/// Servers that are told of ended sessions at the same time. Source: a quarter of the connections to a server that
/// wait for their next request.
pub(super) const FAREWELLS_MAX: usize = 64;
/// Longest time that shutdown takes for telling servers.
const FAREWELL_MAX: Duration = Duration::from_secs(10);

/// Longest wait for the calls of an ended session to tell their servers so, before its far ends are closed.
const CALLS_END_MAX: Duration = Duration::from_secs(2);

async fn close(removed: Removed) {
    if let Some(cell) = &removed.cell {
        // A server that does not take the news in time learns by the end of its session.
        let _in_time = timeout(CALLS_END_MAX, cell.calls_ended()).await;
    }
    for (_, slot) in removed.bound {
        if let Some(session) = slot.get() {
            session.close().await;
        }
    }
}

impl Inner {
    /// Begins a session.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: &Request<'_>,
        initialize: &Frame,
        revision: Revision,
    ) -> Result<InUse, CallError> {
        let (active, passive) = self.directory.counts();
        if active + passive >= self.limits.sessions_max {
            self.pipeline.metrics.limited("sessions");
            return Err(CallError::Overloaded {
                what: "this node has too many sessions",
            });
        }
        let mut key = SessionKey::default();
        aws_lc_rs::rand::fill(&mut key).map_err(|_| CallError::Overloaded {
            what: "the system gives no random numbers",
        })?;
        let raw = |name: &str| {
            let found = initialize
                .param(&[name])
                .map(|span| span.of(initialize.text()));
            Arc::<str>::from(found.filter(|text| text.starts_with('{')).unwrap_or("{}"))
        };
        let capabilities = raw("capabilities");
        let hard = Hard {
            revision,
            capability_bits: capability_bits(&capabilities),
            capabilities,
            client_info: raw("clientInfo"),
            created_ms: (self.clock)(),
        };
        let name = SessionId {
            key,
            shard: 0,
            revision,
            capabilities: 0,
            issued_at: 0,
        }
        .short_name();
        let seed = Seed {
            key,
            name: name.into(),
            route: request.route.into(),
            caller: Arc::clone(&request.who.caller),
            state: State::new(hard),
            bound: Vec::new(),
            ended_bytes: Arc::clone(self.directory.ended_bytes()),
        };
        let cell = self.directory.insert(seed, |seed| self.wake(seed))?;
        cell.touch(Instant::now());
        Ok(cell)
    }

    /// Makes the cell and its actor.
    fn wake(self: &Arc<Self>, seed: Seed) -> Result<Arc<Cell>, CallError> {
        actor::spawn(self, |actor| Cell::new(seed, actor, Instant::now())).map_err(|_| {
            CallError::Overloaded {
                what: "the session could not be started",
            }
        })
    }

    /// Finds a session and wakes it.
    pub(super) fn find(self: &Arc<Self>, key: &SessionKey) -> Option<InUse> {
        self.directory.find(key, |seed| self.wake(seed))
    }

    /// Gives a session whose actor has died another one, or ends it when that happens again and again.
    fn revive(self: &Arc<Self>, cell: &Arc<Cell>) {
        let Some(held) = self.directory.hold(cell) else {
            // It fell asleep or ended meanwhile: its actor stopped in order.
            return;
        };
        if !held.actor.revive(self, cell) {
            tracing::error!(session = %cell.name, "actor of a session dies again and again");
            self.end_later(&cell.key, "its actor cannot be kept alive");
            return;
        }
        tracing::error!(session = %cell.name, "actor of a session died and was replaced");
        if held.ended.is_cancelled() {
            // Its end was told to the dead one.
            held.actor.end();
        }
    }

    /// Sealed id for the client.
    pub(super) fn seal(&self, cell: &Cell, request: &Request<'_>) -> String {
        let (revision, capabilities, created_ms) = {
            let state = cell.state.lock();
            (
                state.hard.revision,
                state.hard.capability_bits,
                state.hard.created_ms,
            )
        };
        let id = SessionId {
            key: cell.key,
            shard: shard_of(&cell.key),
            revision,
            capabilities,
            issued_at: created_ms / 1000,
        };
        id.seal(&self.sealer, &request.who.caller, request.route)
    }

    /// Whether the session has lived as long as any may.
    pub(super) fn is_over_age(&self, cell: &Cell) -> bool {
        let created = cell.state.lock().hard.created_ms;
        let age = (self.clock)().saturating_sub(created);
        u128::from(age) >= self.settings.age_max.as_millis()
    }

    /// Ends a session at once and tells its servers in the background, when it is their turn: a thousand sessions
    /// that expire together must not meet their servers as a thousand connections.
    pub(super) fn end_later(self: &Arc<Self>, key: &SessionKey, why: &'static str) {
        let removed = self.take_out(key, why);
        let Some(removed) = removed.filter(|removed| !removed.bound.is_empty()) else {
            return;
        };
        let inner = Arc::clone(self);
        // Ends when the far ends are closed, which is bounded.
        drop(spawn_named("session end", async move {
            inner.close_in_turn(removed).await;
        }));
    }

    /// Ends a session: calls and streams end, far ends are closed.
    pub(super) async fn end(&self, key: &SessionKey, why: &'static str) {
        if let Some(removed) = self.take_out(key, why) {
            close(removed).await;
        }
    }

    /// Takes a session out of the directory; its calls and streams end. Returns what is left to close.
    fn take_out(&self, key: &SessionKey, why: &'static str) -> Option<Removed> {
        let removed = self.directory.remove(key)?;
        if let Some(cell) = &removed.cell {
            tracing::debug!(session = %cell.name, why, "session ended");
            cell.end(Instant::now());
            cell.actor.end();
        }
        Some(removed)
    }

    async fn close_in_turn(&self, removed: Removed) {
        // Never closed: the turn always comes.
        let _turn = self.farewells.acquire().await;
        close(removed).await;
    }
}

impl Door {
    /// Sessions awake and passive, and session actors that run.
    pub fn counts(&self) -> (usize, usize, usize) {
        let (active, passive) = self.inner.directory.counts();
        (active, passive, self.inner.actors.load(Ordering::Relaxed))
    }

    /// Looks for sessions that are due to sleep or to end. Called about once a second.
    pub fn sweep(&self) {
        for cell in self.inner.directory.cells() {
            if !cell.actor.tick() {
                self.inner.revive(&cell);
            }
        }
        for key in self
            .inner
            .directory
            .expired(self.inner.settings.idle_timeout, Instant::now())
        {
            self.inner.end_later(&key, "idle");
        }
    }

    /// Tells listening sessions what changed between two tables of the session era.
    pub fn announce(&self, old: &Table, new: &Table) {
        self.inner.announce(old, new);
    }

    /// All sessions.
    pub fn list(&self) -> Vec<Summary> {
        let now_ms = (self.inner.clock)();
        let mut found = Vec::new();
        self.inner.directory.visit(Instant::now(), |seen| {
            let hard = &seen.state.hard;
            found.push(Summary {
                id: seen.name.to_string(),
                principal: seen.caller.principal.to_string(),
                tenant: seen.caller.tenant.as_ref().map(ToString::to_string),
                revision: hard.revision,
                client: serde_json::from_str(&hard.client_info).unwrap_or_default(),
                state: if seen.calls.is_some() {
                    "active"
                } else {
                    "passive"
                },
                age_s: now_ms.saturating_sub(hard.created_ms) / 1000,
                idle_s: seen.idle.as_secs(),
                in_flight: seen.calls.unwrap_or_default(),
                route: seen.route.to_string(),
            });
        });
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Ends the session with this short name. `false` when there is none.
    pub async fn end_by_name(&self, name: &str) -> bool {
        let mut key = None;
        self.inner.directory.visit(Instant::now(), |seen| {
            if **seen.name == *name {
                key = Some(*seen.key);
            }
        });
        let Some(key) = key else { return false };
        self.inner.end(&key, "operator").await;
        true
    }

    /// Ends all sessions, at shutdown.
    pub async fn end_all(&self) {
        let mut keys = Vec::new();
        self.inner
            .directory
            .visit(Instant::now(), |seen| keys.push(*seen.key));
        let ends = keys
            .iter()
            .filter_map(|key| self.inner.take_out(key, "shutdown"))
            .map(|removed| self.inner.close_in_turn(removed));
        // Servers that are not told end these sessions by themselves.
        let _all_told = timeout(FAREWELL_MAX, futures_util::future::join_all(ends)).await;
    }
}

/// Capabilities that let a server ask the client something, as bits.
fn capability_bits(capabilities: &str) -> u8 {
    let has =
        |path: &[&str]| find_path(capabilities, path).is_some_and(|s| s.of(capabilities) != "null");
    let mut bits = 0;
    for (name, bit) in [
        ("sampling", capability::SAMPLING),
        ("elicitation", capability::ELICITATION),
        ("roots", capability::ROOTS),
        ("tasks", capability::TASKS),
    ] {
        if find(capabilities, name).is_some() && has(&[name]) {
            bits |= bit;
        }
    }
    let declares_any = |name: &str| {
        find(capabilities, name).is_some_and(|span| members(span.of(capabilities)).next().is_some())
    };
    if ["extensions", "experimental"].into_iter().any(declares_any) {
        bits |= capability::EXTENSIONS;
    }
    bits
}
