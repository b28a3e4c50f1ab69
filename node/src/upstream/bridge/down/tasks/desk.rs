//! Where tasks of stateless clients at one server keep what is no data: the sessions that they run in, and their places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::upstream::bridge::clock::Clock;

use super::super::digest::{self, Digest};
use super::super::owned::Owned;
use super::super::room::WaitingRoom;
use super::book::Book;
use super::follow::Following;
use super::places::{Full, Place, Places};
use super::task::Task;

/// The tasks that stateless clients have begun at one server.
#[derive(Debug)]
pub(in super::super) struct Desk {
    /// Where questions have their place.
    room: Option<Arc<WaitingRoom>>,
    places: Places,
    clock: Clock,
    state: Mutex<State>,
    /// Tells of every task that has ended, or is forgotten.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    book: Book,
    /// Of every task in the book.
    kept: HashMap<u64, (Kept, Place)>,
}

/// A task, and what it runs on.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    n: u64,
    /// As clients know it.
    pub(super) id: Arc<str>,
    pub(super) owned: Arc<Owned>,
    pub(super) following: Arc<Following>,
}

impl Desk {
    /// Without tasks; `life` names the server here.
    pub(in super::super) fn new(life: u64, room: Option<Arc<WaitingRoom>>, clock: Clock) -> Self {
        Self {
            room,
            places: Places::default(),
            clock,
            state: Mutex::new(State {
                book: Book::new(life),
                kept: HashMap::new(),
            }),
            ended: Notify::new(),
        }
    }

    /// The life that an id names.
    pub(in super::super) fn life_of(id: &str) -> Option<u64> {
        Book::life_of(id)
    }

    /// A place for another task of `owner`. `None` when it, or the server, has as many as there may be; those that have
    /// ended make room.
    pub(super) fn reserve(&self, owner: &Digest) -> Option<Place> {
        let full = match self.places.take(owner) {
            Ok(place) => return Some(place),
            Err(full) => full,
        };
        let of_whom = (full == Full::Owner).then_some(owner);
        self.forget(|state| state.book.make_room(of_whom).into_iter().collect());
        self.places.take(owner).ok()
    }

    /// Keeps a task that the server has begun in `owned`.
    pub(super) fn keep(&self, owned: &Arc<Owned>, task: Task, place: Place) -> Kept {
        let owner = digest::of_owner(&owned.key.owner());
        let caller = digest::of_caller(&owned.key.owner());
        let following = Following::new(task, caller, self.room.clone());
        owned.hub.begin_task(&following);
        let mut state = self.state.lock();
        let n = state.book.enter(owner, self.clock.now_ms());
        let kept = Kept {
            n,
            id: state.book.id(n).into(),
            owned: Arc::clone(owned),
            following,
        };
        state.kept.insert(n, (kept.clone(), place));
        kept
    }

    /// The client of a task was told how it has ended.
    pub(super) fn note_told(&self, task: &Kept) {
        let mut state = self.state.lock();
        state.book.note_told(task.n, self.clock.now_ms());
        drop(state);
        self.ended.notify_waiters();
    }

    /// The task that `owner` knows by this id.
    pub(super) fn find(&self, id: &str, owner: &Digest) -> Option<Kept> {
        let mut state = self.state.lock();
        let n = state.book.find(id, owner, self.clock.now_ms())?;
        let (kept, _) = state.kept.get(&n)?;
        Some(kept.clone())
    }

    /// Forgets the tasks that nobody has asked for in a long time, and those that have ended.
    pub(in super::super) fn expire(&self) {
        self.forget(|state| state.book.expire(self.clock.now_ms()));
    }

    /// Forgets the tasks of a session that is over.
    pub(super) fn forget_session(&self, owned: &Arc<Owned>) {
        self.forget(|State { book, kept }| {
            let of_session = kept.values().map(|(kept, _)| kept);
            let of_session = of_session.filter(|kept| Arc::ptr_eq(&kept.owned, owned));
            let over: Vec<u64> = of_session.map(|kept| kept.n).collect();
            over.iter().for_each(|n| book.remove(*n));
            over
        });
    }

    /// Forgets all tasks.
    pub(in super::super) fn clear(&self) {
        self.forget(|state| state.book.clear());
    }

    /// Forgets those that `which` has taken out of the book.
    fn forget(&self, which: impl FnOnce(&mut State) -> Vec<u64>) {
        let mut state = self.state.lock();
        let over = which(&mut state).into_iter();
        let over: Vec<_> = over.filter_map(|n| state.kept.remove(&n)).collect();
        drop(state);
        self.ended.notify_waiters();
        for (task, _place) in over {
            task.owned.hub.end_task(&task.following);
            task.following.stop();
        }
    }

    /// Whether there are none.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.state.lock().book.is_empty()
    }

    /// Waits until every task has ended, as far as its client has asked.
    pub(in super::super) async fn until_none_is_open(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Registered before the look, so that the last task cannot end in between unseen.
            ended.as_mut().enable();
            if self.state.lock().book.are_all_told() {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod state;
#[cfg(test)]
mod tests;
