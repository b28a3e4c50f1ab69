//! The place of one child of a pool: started on demand, once at a time, again after it ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lockgate_proto::mcp::Revision;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::child;
use super::children::Pool;
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::link::SessionInit;
use crate::upstream::transport::channel::{
    Backoff, Channel, Home, Link, Queue, Sharing, WeakChannel, nothing_sent, own_client_info,
};

/// A caller waits for a start that is this near; for a later one it gets an error at once.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Who keeps the child of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The slot: it lives on without callers.
    Slot,
    /// Its sessions: it ends with the last.
    Sessions,
}

/// The place of one child.
#[derive(Debug)]
pub(super) struct Slot {
    keeper: Keeper,
    used: parking_lot::Mutex<Instant>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: WeakChannel,
    kept: Option<Channel>,
    /// When the child was started whose end was not counted yet.
    started: Option<Instant>,
    backoff: Backoff,
}

impl Slot {
    pub(super) fn new(keeper: Keeper) -> Arc<Self> {
        Arc::new(Self {
            keeper,
            used: parking_lot::Mutex::new(Instant::now()),
            state: Mutex::default(),
        })
    }

    /// Whether nothing would be lost with it: no child, and no back-off to keep.
    pub(super) fn is_idle(&self) -> bool {
        let Ok(state) = self.state.try_lock() else {
            return false;
        };
        let quiet = state.backoff.wait(Instant::now()).is_zero();
        quiet && state.child.upgrade().is_none()
    }

    /// When somebody last asked for its child.
    pub(super) fn used(&self) -> Instant {
        *self.used.lock()
    }

    /// Stops the child if no call is in flight on it. Says whether there was one to stop.
    pub(super) async fn give_way(&self) -> bool {
        let mut state = self.state.lock().await;
        let Some(child) = state.live().filter(|child| child.hub().is_quiet()) else {
            return false;
        };
        state.kept = None;
        state.child = WeakChannel::default();
        drop(state);
        child.stop().await;
        true
    }

    /// The child of the stateless era.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a start that has begun goes on.
    pub(super) async fn child(self: Arc<Self>, pool: Arc<Pool>) -> Result<Channel, UpstreamError> {
        *self.used.lock() = Instant::now();
        let live = self.state.lock().await.live();
        if let Some(child) = live {
            return Ok(child);
        }
        let server = Arc::clone(&pool);
        let starting = spawn_named("stdio-start", async move {
            let mut state = self.state.lock().await;
            if let Some(child) = state.live() {
                return Ok(child);
            }
            let child = state.start(&pool).await?;
            state.set(&child, self.keeper);
            Ok(child)
        });
        match starting.await {
            Ok(started) => started,
            Err(error) => Err(server.unreachable(io::Error::other(error))),
        }
    }

    /// Has `channel` for its child, in the place of one that it may have had.
    #[cfg(test)]
    pub(super) async fn adopt(&self, channel: &Channel) {
        self.state.lock().await.set(channel, self.keeper);
    }

    /// A place at the shared child, for a session whose own messages go to `mailbox`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a start that has begun goes on.
    pub(super) async fn shared_link(
        self: Arc<Self>,
        pool: Arc<Pool>,
        mailbox: Arc<Queue>,
    ) -> Result<Link, UpstreamError> {
        let live = self.state.lock().await.live();
        if let Some(link) = live.and_then(|child| child.link(&mailbox)) {
            return Ok(link);
        }
        let server = Arc::clone(&pool);
        let starting = spawn_named("stdio-start", async move {
            let mut state = self.state.lock().await;
            let live = state.live();
            if let Some(link) = live.and_then(|child| child.link(&mailbox)) {
                return Ok(link);
            }
            let init = shared_init();
            let link = state.open(&pool, &init, Sharing::Shared, &mailbox).await?;
            state.set(&link.channel, self.keeper);
            Ok(link)
        });
        match starting.await {
            Ok(started) => started,
            Err(error) => Err(server.unreachable(io::Error::other(error))),
        }
    }

    /// A fresh child for one session.
    pub(super) async fn own_link(
        &self,
        pool: &Pool,
        init: &SessionInit,
        mailbox: &Arc<Queue>,
    ) -> Result<Link, UpstreamError> {
        let mut state = self.state.lock().await;
        let link = state.open(pool, init, Sharing::Own, mailbox).await?;
        state.set(&link.channel, self.keeper);
        Ok(link)
    }

    /// Forgets the child, which ends with its last handle.
    pub(super) async fn clear(&self) {
        let mut state = self.state.lock().await;
        state.kept = None;
        state.child = WeakChannel::default();
    }
}

impl State {
    fn live(&self) -> Option<Channel> {
        self.child.upgrade().filter(|child| !child.has_ended())
    }

    fn set(&mut self, child: &Channel, keeper: Keeper) {
        self.child = child.downgrade();
        self.kept = (keeper == Keeper::Slot).then(|| child.clone());
    }

    /// Starts and shakes hands.
    async fn open(
        &mut self,
        pool: &Pool,
        init: &SessionInit,
        sharing: Sharing,
        mailbox: &Arc<Queue>,
    ) -> Result<Link, UpstreamError> {
        let child = self.start(pool).await?;
        let opened = child.initialize(init, sharing, mailbox).await;
        if opened.is_err() {
            self.count_end();
        }
        opened.map_err(nothing_sent)
    }

    async fn start(&mut self, pool: &Pool) -> Result<Channel, UpstreamError> {
        if self.child.upgrade().is_none_or(|child| child.has_ended()) {
            self.note_end(pool);
        }
        let wait = self.backoff.wait(Instant::now());
        if wait > WAIT_MAX {
            let ends = self.backoff.ends();
            let what = format!("ended {ends} times in a row; next start in {wait:?}");
            return Err(pool.unreachable(io::Error::other(what)));
        }
        sleep(wait).await;
        let place = pool.place()?;
        self.started = Some(Instant::now());
        let started = child::start_in(Arc::clone(pool.settings()), Some(place)).await;
        match &started {
            Ok(child) => pool.note(child)?,
            Err(_) => self.count_end(),
        }
        started
    }

    /// Counts the end of a child that crashed. One that was let go did not.
    fn note_end(&mut self, pool: &Pool) {
        let crashed = self.kept.is_some() || self.child.upgrade().is_some();
        if crashed {
            pool.count_crash();
            self.count_end();
        }
    }

    fn count_end(&mut self) {
        if let Some(started) = self.started.take() {
            self.backoff.on_ended(started, Instant::now());
        }
    }
}

/// What a shared child is opened with: nothing that a client could declare, and the latest revision, because
/// clients of all revisions share it.
fn shared_init() -> SessionInit {
    SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: own_client_info(),
        now_ms: 0,
    }
}

/// Where a session gets another child from.
#[derive(Debug)]
pub(super) enum ChildHome {
    /// Another place at the shared child.
    Shared { pool: Arc<Pool>, slot: Arc<Slot> },
    /// Another own child.
    Own {
        pool: Arc<Pool>,
        slot: Arc<Slot>,
        init: SessionInit,
    },
}

impl Home for ChildHome {
    fn link<'a>(&'a self, mailbox: &'a Arc<Queue>) -> BoxFuture<'a, Result<Link, UpstreamError>> {
        Box::pin(async move {
            match self {
                Self::Shared { pool, slot } => {
                    let pool = Arc::clone(pool);
                    Arc::clone(slot)
                        .shared_link(pool, Arc::clone(mailbox))
                        .await
                }
                Self::Own { pool, slot, init } => slot.own_link(pool, init, mailbox).await,
            }
        })
    }
}
