//! `Guard`: which messages of other nodes count.
//!
//! A connection proves a name once; the membership and the lives of nodes move on while it lasts. So each message names
//! its sender and whom it is for, and is refused unless all of it holds *now*: same cluster, this very member, the
//! certificate's name, a member under that number, and no earlier life than one that was heard already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lockgate_proto::peer::v1::Sender;
use tokio::sync::{Notify, watch};

use crate::raft::{Member, RaftId};
use crate::tls::Identity;

/// Who is a member, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    /// Id of the cluster that this node belongs to, 16 bytes: drawn when it was made, another one after a restore.
    /// Empty while a founder has not made it yet, and then nobody is heard.
    pub(crate) cluster: Bytes,
    /// What this node has applied of the log.
    pub(crate) applied: Members,
    /// What a member says who has applied more: by that a node learns of members that came while it was down, or before
    /// its own first entry. Only read while it is ahead of `applied`.
    pub(crate) vouched: Members,
    /// Numbers of those whose membership has ended, as far as this node has applied the log. They are never used again.
    pub(crate) removed: BTreeSet<RaftId>,
}

/// Members by number, learners too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// Place in the log right behind the entry that they come from; 0 for none. (The first membership of a cluster has
    /// index 0.)
    pub(crate) upto: u64,
    /// Who they are.
    pub(crate) by_id: BTreeMap<RaftId, Member>,
}

impl Roster {
    /// The member under that number.
    pub(crate) fn get(&self, raft_id: RaftId) -> Option<&Member> {
        self.newest().by_id.get(&raft_id)
    }

    /// The members by the newest word on them.
    pub(crate) fn newest(&self) -> &Members {
        if self.vouched.upto > self.applied.upto {
            &self.vouched
        } else {
            &self.applied
        }
    }

    fn knows(&self, raft_id: RaftId, name: &str) -> bool {
        self.get(raft_id).is_some_and(|member| member.name == name)
    }
}

/// Why a message was not even looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SenderRefusal {
    /// The connection has no certificate.
    #[error("a node without a certificate may only join")]
    Anonymous,
    /// The message does not say who sends it.
    #[error("the message names no sender")]
    Unnamed,
    /// The message is from another cluster.
    #[error("the sender belongs to another cluster")]
    OtherCluster,
    /// The message is for another node, which had this address before.
    #[error("the message is for member {to}, this is member {me}")]
    OtherTarget {
        /// For whom it is.
        to: RaftId,
        /// Who got it.
        me: RaftId,
    },
    /// The message names another node than the certificate.
    #[error("the message says it is from `{claimed}`, the certificate is for `{proved}`")]
    OtherName {
        /// Name in the message.
        claimed: String,
        /// Name in the certificate.
        proved: String,
    },
    /// No member has that number and name.
    #[error("`{name}` is not a member under number {raft_id}")]
    NotAMember {
        /// Name of the sender.
        name: String,
        /// Its number.
        raft_id: RaftId,
    },
    /// That was a member, and is none any more.
    #[error("`{name}`, number {raft_id}, was removed from the cluster")]
    Removed {
        /// Name of the sender.
        name: String,
        /// Its number.
        raft_id: RaftId,
    },
    /// The node has started again since.
    #[error("the message is from life {boot} of the node, which is in life {newest}")]
    EarlierLife {
        /// Life that sent it.
        boot: u64,
        /// Newest life that was heard.
        newest: u64,
    },
}

/// Checks senders against the membership. One per node, shared by everything that listens.
#[derive(Debug)]
pub(crate) struct Guard {
    me: RaftId,
    roster: watch::Receiver<Arc<Roster>>,
    /// Newest life heard of each member. Numbers are never used again, so an old entry can't do harm.
    boots: Mutex<BTreeMap<RaftId, u64>>,
    /// Rings when one was refused who may have become a member while this node was not looking.
    newcomers: Notify,
}

impl Guard {
    /// Guards member `me`, and follows `roster`.
    pub(crate) fn new(me: RaftId, roster: watch::Receiver<Arc<Roster>>) -> Self {
        Self {
            me,
            roster,
            boots: Mutex::default(),
            newcomers: Notify::new(),
        }
    }

    /// Checks one message. `identity`: of the connection it came over.
    pub(crate) fn check(
        &self,
        identity: Option<&Identity>,
        sender: Option<&Sender>,
    ) -> Result<RaftId, SenderRefusal> {
        let identity = identity.ok_or(SenderRefusal::Anonymous)?;
        let sender = sender.ok_or(SenderRefusal::Unnamed)?;
        {
            let roster = self.roster.borrow();
            if roster.cluster.is_empty() || sender.cluster != roster.cluster {
                return Err(SenderRefusal::OtherCluster);
            }
            if sender.to != self.me {
                let (to, me) = (sender.to, self.me);
                return Err(SenderRefusal::OtherTarget { to, me });
            }
            if sender.name != identity.name() {
                return Err(SenderRefusal::OtherName {
                    claimed: sender.name.clone(),
                    proved: identity.name().to_owned(),
                });
            }
            if !roster.knows(sender.raft_id, &sender.name) {
                if roster.removed.contains(&sender.raft_id) {
                    return Err(SenderRefusal::Removed {
                        name: sender.name.clone(),
                        raft_id: sender.raft_id,
                    });
                }
                // A number is the index of the log entry that gave it, so only one beyond what is known can be new.
                if sender.raft_id >= roster.newest().upto {
                    self.newcomers.notify_one();
                }
                return Err(SenderRefusal::NotAMember {
                    name: sender.name.clone(),
                    raft_id: sender.raft_id,
                });
            }
        }
        self.check_boot(sender.raft_id, sender.boot)?;
        Ok(sender.raft_id)
    }

    /// Waits until one was refused who may have become a member while this node was not looking.
    pub(crate) async fn newcomer(&self) {
        self.newcomers.notified().await;
    }

    fn check_boot(&self, raft_id: RaftId, boot: u64) -> Result<(), SenderRefusal> {
        // A panic elsewhere can't leave the map half changed.
        let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = boots.entry(raft_id).or_default();
        if boot < *newest {
            return Err(SenderRefusal::EarlierLife {
                boot,
                newest: *newest,
            });
        }
        *newest = boot;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(upto: u64, members: &[(RaftId, &str)]) -> Members {
        let member = |(raft_id, name): &(RaftId, &str)| {
            let member = Member {
                name: (*name).to_owned(),
                address: String::new(),
            };
            (*raft_id, member)
        };
        Members {
            upto,
            by_id: members.iter().map(member).collect(),
        }
    }

    fn roster(applied: Members, vouched: Members) -> Arc<Roster> {
        Arc::new(Roster {
            cluster: Bytes::from_static(&[7; 16]),
            applied,
            vouched,
            removed: BTreeSet::new(),
        })
    }

    fn sender(raft_id: RaftId, name: &str, boot: u64) -> Sender {
        Sender {
            cluster: Bytes::from_static(&[7; 16]),
            raft_id,
            name: name.to_owned(),
            boot,
            to: 7,
        }
    }

    fn identity(name: &str) -> Identity {
        Identity::new("prod", name).unwrap()
    }

    fn guard() -> Guard {
        let applied = named(9, &[(1, "n1"), (5, "n2")]);
        Guard::new(
            7,
            watch::Sender::new(roster(applied, Members::default())).subscribe(),
        )
    }

    #[test]
    fn a_member_counts_under_its_own_number_name_and_cluster_only() {
        let guard = guard();
        let check =
            |proved: &str, sender: &Sender| guard.check(Some(&identity(proved)), Some(sender));
        assert_eq!(check("n1", &sender(1, "n1", 1)), Ok(1));
        assert_eq!(check("n2", &sender(5, "n2", 3)), Ok(5));
        let refused = check("n2", &sender(1, "n1", 1)).unwrap_err();
        assert!(matches!(refused, SenderRefusal::OtherName { .. }));
        let refused = check("n1", &sender(5, "n1", 1)).unwrap_err();
        assert!(matches!(refused, SenderRefusal::NotAMember { .. }));
        let refused = check("n3", &sender(6, "n3", 1)).unwrap_err();
        assert!(matches!(refused, SenderRefusal::NotAMember { .. }));
        let foreign = Sender {
            cluster: vec![8; 16].into(),
            ..sender(1, "n1", 1)
        };
        assert_eq!(check("n1", &foreign), Err(SenderRefusal::OtherCluster));
        let successor = Sender {
            to: 6,
            ..sender(1, "n1", 1)
        };
        let refused = Err(SenderRefusal::OtherTarget { to: 6, me: 7 });
        assert_eq!(check("n1", &successor), refused);
        assert_eq!(
            guard.check(Some(&identity("n1")), None),
            Err(SenderRefusal::Unnamed)
        );
        let anonymous = guard.check(None, Some(&sender(1, "n1", 1)));
        assert_eq!(anonymous, Err(SenderRefusal::Anonymous));
    }

    #[test]
    fn a_founder_that_has_no_cluster_yet_hears_nobody() {
        let guard = Guard::new(7, watch::Sender::new(Arc::default()).subscribe());
        let sender = Sender {
            cluster: Bytes::new(),
            ..sender(1, "n1", 1)
        };
        let refused = guard.check(Some(&identity("n1")), Some(&sender));
        assert_eq!(refused, Err(SenderRefusal::OtherCluster));
    }

    #[test]
    fn an_earlier_life_is_refused_once_a_later_one_was_heard() {
        let guard = guard();
        let check = |boot| guard.check(Some(&identity("n1")), Some(&sender(1, "n1", boot)));
        assert_eq!(check(2), Ok(1));
        assert_eq!(check(2), Ok(1));
        assert_eq!(check(3), Ok(1));
        let refused = SenderRefusal::EarlierLife { boot: 2, newest: 3 };
        assert_eq!(check(2), Err(refused));
    }

    #[test]
    fn a_refused_sender_does_not_move_the_newest_life() {
        let guard = guard();
        let forged = guard.check(Some(&identity("n2")), Some(&sender(1, "n1", 99)));
        assert!(forged.is_err());
        assert_eq!(
            guard.check(Some(&identity("n1")), Some(&sender(1, "n1", 1))),
            Ok(1)
        );
    }

    #[test]
    fn a_member_vouches_for_newer_members_until_the_log_has_caught_up() {
        let behind = named(9, &[(1, "n1"), (5, "n2")]);
        let publish = watch::Sender::new(roster(behind, named(40, &[(1, "n1"), (40, "n3")])));
        let guard = Guard::new(7, publish.subscribe());
        let check = |id, name: &str| guard.check(Some(&identity(name)), Some(&sender(id, name, 1)));
        assert_eq!(check(40, "n3"), Ok(40));
        assert!(check(5, "n2").is_err(), "removed meanwhile");
        let caught_up = named(41, &[(1, "n1"), (41, "n4")]);
        publish.send_replace(roster(caught_up, named(40, &[(40, "n3")])));
        assert!(check(40, "n3").is_err());
        assert_eq!(check(41, "n4"), Ok(41));
    }

    #[tokio::test]
    async fn only_a_number_that_is_newer_than_the_roster_rings_for_newcomers() {
        let guard = guard();
        assert!(
            guard
                .check(Some(&identity("n3")), Some(&sender(6, "n3", 1)))
                .is_err()
        );
        let quiet = tokio::time::timeout(std::time::Duration::ZERO, guard.newcomer()).await;
        assert!(quiet.is_err());
        assert!(
            guard
                .check(Some(&identity("n3")), Some(&sender(10, "n3", 1)))
                .is_err()
        );
        guard.newcomer().await;
    }

    // One that was admitted and has no seat yet is none of these, also while the roster is newer than its number.
    #[test]
    fn only_one_that_was_removed_is_told_so() {
        let mut roster = Roster::clone(&roster(named(40, &[(1, "n1")]), Members::default()));
        roster.removed.insert(5);
        let guard = Guard::new(7, watch::Sender::new(Arc::new(roster)).subscribe());
        let check = |id, name: &str| guard.check(Some(&identity(name)), Some(&sender(id, name, 1)));
        assert!(matches!(check(5, "n2"), Err(SenderRefusal::Removed { .. })));
        assert!(matches!(
            check(6, "n3"),
            Err(SenderRefusal::NotAMember { .. })
        ));
    }

    #[test]
    fn a_removed_member_is_refused_at_once() {
        let applied = named(9, &[(1, "n1"), (5, "n2")]);
        let publish = watch::Sender::new(roster(applied, Members::default()));
        let guard = Guard::new(7, publish.subscribe());
        let check = || guard.check(Some(&identity("n2")), Some(&sender(5, "n2", 1)));
        assert_eq!(check(), Ok(5));
        publish.send_replace(roster(named(10, &[(1, "n1")]), Members::default()));
        assert!(matches!(check(), Err(SenderRefusal::NotAMember { .. })));
    }
}
