//! Calls that wait for their records, in the order of these: what is settled wakes whom it concerns, and nobody else.

use std::collections::VecDeque;
use std::task::Waker;

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<(Place, Waker)>,
    n_places: u64,
}

/// One place in the queue. Several may wait for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    local_seq: u64,
    serial: u64,
}

impl Waiters {
    /// A place for whoever waits for this record, which nobody has had. Free of charge until somebody waits there.
    pub(super) fn place(&mut self, local_seq: u64) -> Place {
        self.n_places += 1;
        Place {
            local_seq,
            serial: self.n_places,
        }
    }

    /// Has `waker` wait there, instead of one that it returns: its end may be that of a call, which has no place under a
    /// lock.
    #[must_use]
    pub(super) fn wait(&mut self, place: Place, waker: &Waker) -> Option<Waker> {
        match self.find(place) {
            Ok(at) if self.queue[at].1.will_wake(waker) => None,
            Ok(at) => Some(std::mem::replace(&mut self.queue[at].1, waker.clone())),
            Err(at) => {
                self.queue.insert(at, (place, waker.clone()));
                None
            }
        }
    }

    /// Nobody waits there any more. Returns who did, as [`Self::wait`] does.
    #[must_use]
    pub(super) fn leave(&mut self, place: Place) -> Option<Waker> {
        let at = self.find(place).ok()?;
        self.queue.remove(at).map(|(_, waker)| waker)
    }

    /// Takes all who wait for the record `through` and those before it. They are to be woken, not under a lock.
    #[must_use]
    pub(super) fn reach(&mut self, through: u64) -> Vec<Waker> {
        let n_reached = self
            .queue
            .partition_point(|(place, _)| place.local_seq <= through);
        let reached = self.queue.drain(..n_reached);
        reached.map(|(_, waker)| waker).collect()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn find(&self, place: Place) -> Result<usize, usize> {
        match self.queue.back() {
            // Nearly all come in the order of their records.
            Some((last, _)) if *last < place => Err(self.queue.len()),
            _ => self.queue.binary_search_by_key(&place, |(place, _)| *place),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        /// Polled again, perhaps by another task: one of those who have ever waited.
        Again(usize),
        Leave(usize),
        Reach(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u64..20).prop_map(Step::Wait),
            1 => (0_usize..50).prop_map(Step::Again),
            2 => (0_usize..50).prop_map(Step::Leave),
            1 => (0_u64..20).prop_map(Step::Reach),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// Somebody, as the test remembers him.
    struct Known {
        place: Place,
        calls: Arc<Calls>,
        waits: bool,
    }

    proptest! {
        #[test]
        fn each_is_woken_once_when_its_record_is_reached_and_then_forgotten(steps in steps()) {
            let mut waiters = Waiters::default();
            let mut known: Vec<Known> = Vec::new();
                for step in steps {
                match step {
                    Step::Wait(local_seq) => {
                        let place = waiters.place(local_seq);
                        let calls = Arc::<Calls>::default();
                        let waker = Waker::from(Arc::clone(&calls));
                        prop_assert!(waiters.wait(place, &waker).is_none());
                        known.push(Known { place, calls, waits: true });
                    }
                    Step::Again(at) => if let Some(one) = known.get_mut(at) {
                        let calls = Arc::<Calls>::default();
                        let waker = Waker::from(Arc::clone(&calls));
                        let replaced = waiters.wait(one.place, &waker);
                        prop_assert_eq!(replaced.is_some(), one.waits);
                        prop_assert!(waiters.wait(one.place, &waker).is_none());
                        (one.calls, one.waits) = (calls, true);
                    },
                    Step::Leave(at) => if let Some(one) = known.get_mut(at) {
                        let left = waiters.leave(one.place);
                        prop_assert_eq!(left.is_some(), std::mem::take(&mut one.waits));
                    },
                    Step::Reach(through) => {
                        let reached = waiters.reach(through);
                        let is_reached =
                            |one: &&mut Known| one.waits && one.place.local_seq <= through;
                        let mut n_reached = 0;
                        reached.iter().for_each(Waker::wake_by_ref);
                        for one in known.iter_mut().filter(is_reached) {
                            prop_assert_eq!(one.calls.0.load(Ordering::Relaxed), 1);
                            (one.waits, one.calls) = (false, Arc::default());
                            n_reached += 1;
                        }
                        prop_assert_eq!(reached.len(), n_reached);
                    }
                }
                let n_waiting = known.iter().filter(|one| one.waits).count();
                prop_assert_eq!(waiters.len(), n_waiting);
                prop_assert!(waiters.queue.iter().is_sorted_by_key(|(place, _)| *place));
            }
        }
    }
}
