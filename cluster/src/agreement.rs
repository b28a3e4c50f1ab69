//! `Agreement`: whether this node holds the same state as the others.

use std::sync::Arc;

use tokio::sync::watch;

use crate::machine::StateHash;

/// How the state of a node compares to that of the others, by the hashes that they take after the same entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Members that hold another state. Anything but 0 is an alarm.
    pub differing: usize,
    /// Whether those are more than hold this node's state, itself counted. It should not serve then.
    pub is_minority: bool,
}

/// Compares the hashes of this node with those of others, each at the newest entry after which both took one. `None`
/// when there is no such entry with anybody: then nothing is known.
pub(crate) fn compare(ours: &[StateHash], others: &[Vec<StateHash>]) -> Option<Agreement> {
    let same = |theirs: &Vec<StateHash>| {
        let mut newest_first = ours.iter().rev();
        newest_first.find_map(|our| {
            let their = theirs.iter().find(|their| their.index == our.index)?;
            Some(their.hash == our.hash)
        })
    };
    let compared: Vec<bool> = others.iter().filter_map(same).collect();
    let differing = compared.iter().filter(|same| !**same).count();
    let alike = 1 + compared.len() - differing;
    (!compared.is_empty()).then_some(Agreement {
        differing,
        is_minority: differing > alike,
    })
}

/// Where the newest comparison is kept. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    newest: Arc<watch::Sender<Agreement>>,
}

impl Default for Agreed {
    fn default() -> Self {
        Self {
            newest: Arc::new(watch::Sender::default()),
        }
    }
}

impl Agreed {
    /// The newest comparison.
    pub(crate) fn newest(&self) -> Agreement {
        *self.newest.borrow()
    }

    /// Takes note of a comparison; true when it is another than the one before.
    pub(crate) fn note(&self, found: Agreement) -> bool {
        self.newest.send_if_modified(|newest| {
            let is_news = *newest != found;
            *newest = found;
            is_news
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(of: &[(u64, u8)]) -> Vec<StateHash> {
        let hash = |(index, byte): &(u64, u8)| StateHash {
            index: *index,
            hash: [*byte; 32],
        };
        of.iter().map(hash).collect()
    }

    #[track_caller]
    fn check(ours: &[(u64, u8)], others: &[&[(u64, u8)]], expected: Option<(usize, bool)>) {
        let others: Vec<_> = others.iter().map(|other| hashes(other)).collect();
        let found = compare(&hashes(ours), &others);
        let found = found.map(|found| (found.differing, found.is_minority));
        assert_eq!(found, expected);
    }

    #[test]
    fn nodes_that_took_the_same_hash_agree() {
        check(
            &[(1000, 1)],
            &[&[(1000, 1)], &[(1000, 1)]],
            Some((0, false)),
        );
    }

    #[test]
    fn one_against_two_is_the_minority_and_the_two_are_not() {
        check(&[(1000, 2)], &[&[(1000, 1)], &[(1000, 1)]], Some((2, true)));
        check(
            &[(1000, 1)],
            &[&[(1000, 1)], &[(1000, 2)]],
            Some((1, false)),
        );
    }

    #[test]
    fn of_two_nobody_knows_which_is_right() {
        check(&[(1000, 1)], &[&[(1000, 2)]], Some((1, false)));
    }

    #[test]
    fn the_newest_entry_in_common_counts_and_without_one_nothing_is_known() {
        let late: &[(u64, u8)] = &[(1000, 1), (2000, 5)];
        check(&[(1000, 1), (2000, 2)], &[late], Some((1, false)));
        check(
            &[(1000, 1), (2000, 2), (3000, 3)],
            &[&[(1000, 1)]],
            Some((0, false)),
        );
        check(&[(3000, 3)], &[late], None);
        check(&[(1000, 1)], &[], None);
        check(&[], &[late], None);
    }
}
