//! `Acknowledged`: what other members have said is on their disks, so that one that has lost it again is found.
//!
//! A member that restarts with less than it acknowledged has a disk that lied, or was given an old copy of its files.
//! What a majority was counted for may then be on fewer disks, and a second vote of that member in one term is possible:
//! it must not go on under its number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::raft::{LogId, RaftId};

/// Told by all connections of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Last entry that a member stored, and the term in which this node led it there.
    stored: BTreeMap<RaftId, (u64, LogId)>,
    reverted: BTreeSet<RaftId>,
}

impl Acknowledged {
    /// `member` has stored everything up to `last`, which this node sent it as the leader of `term`.
    pub(super) fn stored(&self, member: RaftId, term: u64, last: LogId) {
        let mut shared = self.lock();
        let entry = shared.stored.entry(member).or_insert((term, last));
        *entry = (*entry).max((term, last));
    }

    /// `member` says that it lacks the entry `at`. Whether it had acknowledged that: only the leader of a later term may
    /// have told it to forget an entry, so within a term its log never ends earlier than it did.
    pub(super) fn lacks(&self, member: RaftId, term: u64, at: LogId) -> bool {
        let mut shared = self.lock();
        let known = shared.stored.get(&member);
        let reverted = known.is_some_and(|(led, last)| *led == term && at.index() <= last.index());
        if reverted && shared.reverted.insert(member) {
            tracing::error!(
                number = member,
                "the disk of a member has lost what it had acknowledged; it is removed, and may join again without its data directory"
            );
        }
        reverted
    }

    /// Members that were found.
    pub(crate) fn reverted(&self) -> BTreeSet<RaftId> {
        self.lock().reverted.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic elsewhere can't leave it half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::peer::v1 as pb;

    use super::*;
    use crate::grpc::convert::log_id_from;

    const MEMBER: RaftId = 8;

    fn log_id(term: u64, index: u64) -> LogId {
        log_id_from(&pb::RaftLogId {
            term,
            leader: 1,
            index,
        })
    }

    #[track_caller]
    fn check(stored: &[(u64, u64)], term: u64, lacks: u64, expected: bool) {
        let known = Acknowledged::default();
        for (term, index) in stored {
            known.stored(MEMBER, *term, log_id(*term, *index));
        }
        assert_eq!(known.lacks(MEMBER, term, log_id(1, lacks)), expected);
        assert_eq!(known.reverted().contains(&MEMBER), expected);
    }

    #[test]
    fn a_member_that_lacks_what_it_acknowledged_is_found() {
        check(&[(2, 10), (2, 20)], 2, 20, true);
        check(&[(2, 10), (2, 20)], 2, 5, true);
    }

    #[test]
    fn a_member_may_lack_what_it_never_acknowledged() {
        check(&[], 2, 5, false);
        check(&[(2, 10)], 2, 11, false);
    }

    #[test]
    fn the_leader_of_a_term_in_between_may_have_cut_its_log() {
        check(&[(2, 20)], 4, 15, false);
        check(&[(2, 20), (4, 12)], 4, 15, false);
        check(&[(2, 20), (4, 12)], 4, 12, true);
    }
}
