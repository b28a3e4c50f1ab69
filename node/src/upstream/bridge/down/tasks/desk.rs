//! The tasks that stateless clients have begun at one server, and the sessions that they run in.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::super::digest::{self, Digest};
use super::super::owned::Owned;
use super::super::room::WaitingRoom;
use super::follow::Following;
use super::places::{Full, Place, Places};
use super::task::Task;

/// A task that nobody asks for is forgotten after this; its session may end then. Servers tell of lifetimes of minutes.
const IDLE_MAX: Duration = Duration::from_secs(3_600);
/// A task that has ended is forgotten so long after its client was told how: it may ask again, where the answer was
/// lost on its way.
const TOLD_MAX: Duration = Duration::from_secs(60);

/// Tasks by number.
#[derive(Debug)]
pub(in super::super) struct Desk {
    /// Names the server here. Ids of another life of this node are nobody's.
    life: u64,
    /// Where questions have their place.
    room: Option<Arc<WaitingRoom>>,
    places: Places,
    state: Mutex<State>,
    /// Tells of every task that has ended, or is forgotten.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    kept: BTreeMap<u64, Kept>,
}

/// A task, and what it runs on.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    n: u64,
    /// As clients know it.
    pub(super) id: Arc<str>,
    owner: Digest,
    pub(super) owned: Arc<Owned>,
    pub(super) following: Arc<Following>,
    used: Instant,
    /// When its client was told how it has ended.
    told: Option<Instant>,
    _place: Arc<Place>,
}

impl Desk {
    pub(in super::super) fn new(life: u64, room: Option<Arc<WaitingRoom>>) -> Self {
        Self {
            life,
            room,
            places: Places::default(),
            state: Mutex::default(),
            ended: Notify::new(),
        }
    }

    /// The life that an id names.
    pub(in super::super) fn life_of(id: &str) -> Option<u64> {
        let (life, _) = id.split_at_checked(16)?;
        u64::from_str_radix(life, 16).ok()
    }

    /// A place for another task of `owner`. `None` when it, or the server, has as many as there may be; those that have
    /// ended make room.
    pub(super) fn reserve(&self, owner: &Digest) -> Option<Place> {
        let full = match self.places.take(owner) {
            Ok(place) => return Some(place),
            Err(full) => full,
        };
        let oldest = {
            let state = self.state.lock();
            let ended = state.kept.values().filter(|kept| kept.told.is_some());
            let ended = ended.filter(|kept| full == Full::Server || kept.owner == *owner);
            ended.min_by_key(|kept| kept.told).map(|kept| kept.n)
        };
        let oldest = oldest?;
        self.forget(|kept| kept.n == oldest);
        self.places.take(owner).ok()
    }

    /// Keeps a task that the server has begun in `owned`.
    pub(super) fn keep(&self, owned: &Arc<Owned>, task: Task, place: Place) -> Kept {
        let owner = task.owner;
        let caller = digest::of_caller(&owned.key.owner());
        let following = Following::new(task, caller, self.room.clone());
        owned.hub.begin_task(&following);
        let mut state = self.state.lock();
        state.last += 1;
        let n = state.last;
        let kept = Kept {
            n,
            id: format!("{:016x}{n:x}", self.life).into(),
            owner,
            owned: Arc::clone(owned),
            following,
            used: Instant::now(),
            told: None,
            _place: Arc::new(place),
        };
        state.kept.insert(n, kept.clone());
        kept
    }

    /// The client of a task was told how it has ended.
    pub(super) fn note_told(&self, task: &Kept) {
        if let Some(kept) = self.state.lock().kept.get_mut(&task.n) {
            kept.told.get_or_insert_with(Instant::now);
        }
        self.ended.notify_waiters();
    }

    /// The task that `owner` knows by this id.
    pub(super) fn find(&self, id: &str, owner: &Digest) -> Option<Kept> {
        let (_, n) = id.split_at_checked(16)?;
        let n = u64::from_str_radix(n, 16).ok()?;
        let mut state = self.state.lock();
        let kept = state.kept.get_mut(&n)?;
        // Another spelling is another id.
        if *kept.id != *id || kept.owner != *owner {
            return None;
        }
        kept.used = Instant::now();
        Some(kept.clone())
    }

    /// Forgets the tasks that nobody has asked for in a long time, and those that have ended.
    pub(in super::super) fn expire(&self) {
        let now = Instant::now();
        self.forget(|kept| {
            let is_told = kept.told.is_some_and(|told| now - told >= TOLD_MAX);
            is_told || now - kept.used >= IDLE_MAX
        });
    }

    /// Forgets the tasks of a session that is over.
    pub(super) fn forget_session(&self, owned: &Arc<Owned>) {
        self.forget(|kept| Arc::ptr_eq(&kept.owned, owned));
    }

    /// Forgets all tasks.
    pub(in super::super) fn clear(&self) {
        self.forget(|_| true);
    }

    fn forget(&self, is_over: impl Fn(&Kept) -> bool) {
        let mut over = Vec::new();
        let mut state = self.state.lock();
        state.kept.retain(|_, task| {
            let goes = is_over(task);
            if goes {
                over.push(task.clone());
            }
            !goes
        });
        drop(state);
        self.ended.notify_waiters();
        for task in over {
            task.owned.hub.end_task(&task.following);
            task.following.stop();
        }
    }

    /// Whether there are none.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.state.lock().kept.is_empty()
    }
    /// Waits until every task has ended, as far as its client has asked.
    pub(in super::super) async fn until_none_is_open(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Registered before the look, so that the last task cannot end in between unseen.
            ended.as_mut().enable();
            if self
                .state
                .lock()
                .kept
                .values()
                .all(|kept| kept.told.is_some())
            {
                return;
            }
            ended.await;
        }
    }
}
