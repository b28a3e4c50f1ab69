//! A desk as data: what its tasks are, without what they run on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockgate_proto::jsonrpc::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::upstream::bridge::clock::Clock;
use crate::upstream::bridge::down::digest;
use crate::upstream::bridge::down::owned::Owned;
use crate::upstream::bridge::down::room::WaitingRoom;
use crate::upstream::bridge::down::tasks::book::Book;
use crate::upstream::bridge::down::tasks::follow::Following;
use crate::upstream::bridge::down::tasks::places::Places;
use crate::upstream::bridge::down::tasks::task::Task;

use super::{Desk, Kept, State};

/// All that is known of the tasks of one desk, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeskState {
    pub(super) book: Book,
    /// By number.
    pub(super) tasks: BTreeMap<u64, Task>,
}

/// What the server of a session is told.
pub(super) type Told = (Arc<Owned>, Frame);

impl Desk {
    /// All that it knows, for where its sessions move to.
    pub(super) fn state(&self) -> DeskState {
        let state = self.state.lock();
        let tasks = state.kept.iter();
        let tasks = tasks.map(|(n, (kept, _))| (*n, kept.following.task()));
        DeskState {
            book: state.book.clone(),
            tasks: tasks.collect(),
        }
    }

    /// Takes up the tasks of sessions that move here, with the ids, questions and times that their clients know;
    /// `session` gives the one that each task, by its number, runs in. One without a session of its own caller, or
    /// without a place, is known no more. Also returns what servers are told whose questions find no place here.
    pub(super) fn restore(
        state: DeskState,
        room: Option<Arc<WaitingRoom>>,
        clock: Clock,
        session: impl Fn(u64) -> Option<Arc<Owned>>,
    ) -> (Self, Vec<Told>) {
        let DeskState {
            mut book,
            mut tasks,
        } = state;
        let (places, mut kept, mut told) = (Places::default(), HashMap::new(), Vec::new());
        let owners: Vec<_> = book.owners().map(|(n, owner)| (n, *owner)).collect();
        for (n, owner) in owners {
            let owned = session(n).filter(|owned| digest::of_owner(&owned.key.owner()) == owner);
            let (Some(owned), Some(task), Ok(place)) =
                (owned, tasks.remove(&n), places.take(&owner))
            else {
                book.remove(n);
                continue;
            };
            let caller = digest::of_caller(&owned.key.owner());
            let following = Following::new(task, caller, room.clone());
            let refusals = following.take_seat().into_iter();
            told.extend(refusals.map(|refusal| (Arc::clone(&owned), refusal)));
            owned.hub.begin_task(&following);
            let id = book.id(n).into();
            let task = Kept {
                n,
                id,
                owned,
                following,
            };
            kept.insert(n, (task, place));
        }
        let desk = Self {
            room,
            places,
            clock,
            state: State { book, kept }.into(),
            ended: Notify::new(),
        };
        (desk, told)
    }
}
