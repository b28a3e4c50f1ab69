//! The tasks that stateless clients have begun at one server, and the sessions that they run in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::rand;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::super::digest::Digest;
use super::super::owned::Owned;
use super::follow::Following;
use super::task::Task;

/// Tasks of one server.
const TASKS_MAX: usize = 4_096;
/// Tasks of one caller at one server, so that no caller takes all places.
const TASKS_OWNER_MAX: usize = 256;
/// A task that nobody asks for is forgotten after this, in milliseconds; its session may end then. Servers tell of
/// lifetimes of minutes.
const IDLE_MS: u64 = 3_600_000;

/// Tasks by number.
#[derive(Debug)]
pub(in super::super) struct Desk {
    /// Drawn at random: ids of another life of this node are nobody's.
    life: u64,
    epoch: Instant,
    /// How long a client may take to answer.
    wait: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    kept: BTreeMap<u64, Kept>,
    /// Tasks of each owner.
    owners: HashMap<Digest, usize>,
}

/// A task, and what it runs on.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// As clients know it.
    pub(super) id: Arc<str>,
    owner: Digest,
    pub(super) owned: Arc<Owned>,
    pub(super) following: Arc<Following>,
    used_ms: u64,
}

impl Desk {
    pub(in super::super) fn new(wait: Duration) -> Self {
        let mut life = [0; 8];
        // Without randomness ids are still of use to their owners alone.
        let _drawn = rand::fill(&mut life);
        Self {
            life: u64::from_be_bytes(life),
            epoch: Instant::now(),
            wait,
            state: Mutex::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether this owner may begin another task.
    pub(super) fn has_room(&self, owner: &Digest) -> bool {
        let state = self.state.lock();
        let mine = state.owners.get(owner).copied().unwrap_or_default();
        mine < TASKS_OWNER_MAX && state.kept.len() < TASKS_MAX
    }

    /// Keeps a task that the server has begun in `owned`.
    pub(super) fn keep(&self, owned: &Arc<Owned>, task: Task) -> Kept {
        let now_ms = self.now_ms();
        let owner = task.owner;
        let following = Following::new(task, self.wait);
        owned.hub.begin_task(&following);
        let mut state = self.state.lock();
        state.last += 1;
        let n = state.last;
        let kept = Kept {
            id: format!("{:016x}{n:x}", self.life).into(),
            owner,
            owned: Arc::clone(owned),
            following,
            used_ms: now_ms,
        };
        state.kept.insert(n, kept.clone());
        *state.owners.entry(owner).or_default() += 1;
        kept
    }

    /// The task that `owner` knows by this id.
    pub(super) fn find(&self, id: &str, owner: &Digest) -> Option<Kept> {
        let (life, n) = id.split_at_checked(16)?;
        let n = u64::from_str_radix(n, 16).ok()?;
        let now_ms = self.now_ms();
        let mut state = self.state.lock();
        let kept = state.kept.get_mut(&n)?;
        // Another spelling is another id.
        if *kept.id != *id || kept.owner != *owner || u64::from_str_radix(life, 16) != Ok(self.life)
        {
            return None;
        }
        kept.used_ms = now_ms;
        Some(kept.clone())
    }

    /// Forgets the tasks that nobody has asked for in a long time.
    pub(in super::super) fn expire(&self) {
        let now_ms = self.now_ms();
        self.forget(|kept| now_ms.saturating_sub(kept.used_ms) >= IDLE_MS);
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
        let State { kept, owners, .. } = &mut *state;
        kept.retain(|_, task| {
            let goes = is_over(task);
            if goes {
                over.push(task.clone());
            }
            !goes
        });
        for task in &over {
            if let Some(n) = owners.get_mut(&task.owner) {
                *n -= 1;
                if *n == 0 {
                    owners.remove(&task.owner);
                }
            }
        }
        drop(state);
        for task in over {
            task.owned.hub.end_task(&task.following);
            task.following.stop();
        }
    }

    /// Whether there are none.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.state.lock().kept.is_empty()
    }
}
