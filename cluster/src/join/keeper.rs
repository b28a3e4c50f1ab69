//! What the leader does about the membership of the log, one step at a time, until it is what the machine says.
//!
//! The machine says who was admitted and who was removed; the log's own membership says who takes part. A leader that
//! dies between two steps leaves nothing half done: the next one compares again.
//!
//! ```text
//! reverted ── Expel ─► removed
//! admitted ── AddLearner ─► learner ── Promote, once caught up ─► voter
//! removed  ── Retire (voters), Forget (learners) ─► gone
//! ```

use std::collections::{BTreeMap, BTreeSet};

use lockgate_proto::id::NodeId;

use crate::command::JoinRole;
use crate::machine;
use crate::raft::{Member, RaftId};

/// The membership of the log, as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seats {
    /// Who votes.
    pub(crate) voters: BTreeSet<RaftId>,
    /// Who takes part at all.
    pub(crate) members: BTreeMap<RaftId, Member>,
    /// Who has nearly all of the log.
    pub(crate) caught_up: BTreeSet<RaftId>,
    /// Whose disk has lost what it had acknowledged.
    pub(crate) reverted: BTreeSet<RaftId>,
    /// Whether a change is under way. Then there is nothing to do but to wait.
    pub(crate) is_changing: bool,
}

/// One change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Has the machine remove a node whose disk is not to be trusted. It may come back under another number.
    Expel(NodeId),
    /// Lets a node follow the log.
    AddLearner(RaftId, Member),
    /// Gives a learner that has caught up a vote.
    Promote(RaftId),
    /// Takes the vote and the seat of a removed node.
    Retire(RaftId),
    /// Takes the seat of a removed node that has no vote.
    Forget(RaftId),
    /// A node has moved.
    Readdress(RaftId, Member),
    /// Tells the machine who has which seat.
    Tell {
        /// Who votes.
        voters: Vec<NodeId>,
        /// Who follows.
        learners: Vec<NodeId>,
    },
}

/// The next step, if the membership is not what the machine says.
pub(crate) fn next_step(nodes: &BTreeMap<NodeId, machine::Member>, seats: &Seats) -> Option<Step> {
    if seats.is_changing {
        return None;
    }
    // A cluster must not wait for a node that is gone while it adds another.
    expel(nodes, seats)
        .or_else(|| retire(nodes, seats))
        .or_else(|| tell(nodes, seats))
        .or_else(|| seat(nodes, seats))
}

fn expel(nodes: &BTreeMap<NodeId, machine::Member>, seats: &Seats) -> Option<Step> {
    let mut live = nodes.values().filter(|member| member.is_live());
    let member = live.find(|member| seats.reverted.contains(&member.id.0))?;
    Some(Step::Expel(member.id))
}

fn retire(nodes: &BTreeMap<NodeId, machine::Member>, seats: &Seats) -> Option<Step> {
    // A number that the machine does not know is no sign of a removal: its entry may not be applied yet.
    let mut gone = seats.members.keys().copied().filter(|raft_id| {
        let known = nodes.get(&NodeId(*raft_id));
        known.is_some_and(|member| !member.is_live())
    });
    let raft_id = gone.next()?;
    Some(if seats.voters.contains(&raft_id) {
        Step::Retire(raft_id)
    } else {
        Step::Forget(raft_id)
    })
}

fn tell(nodes: &BTreeMap<NodeId, machine::Member>, seats: &Seats) -> Option<Step> {
    let live = || nodes.values().filter(|member| member.is_live());
    let has = |member: &&machine::Member| seats.members.contains_key(&member.id.0);
    let votes = |member: &&machine::Member| seats.voters.contains(&member.id.0);
    let told = live().all(|member| {
        let expected = match (has(&member), votes(&member)) {
            (_, true) => machine::MemberState::Voter,
            (true, false) => machine::MemberState::Learner,
            (false, false) => machine::MemberState::Joining,
        };
        member.state == expected
    });
    if told {
        return None;
    }
    Some(Step::Tell {
        voters: live().filter(votes).map(|member| member.id).collect(),
        learners: live()
            .filter(|member| has(member) && !votes(member))
            .map(|member| member.id)
            .collect(),
    })
}

fn seat(nodes: &BTreeMap<NodeId, machine::Member>, seats: &Seats) -> Option<Step> {
    for member in nodes.values().filter(|member| member.is_live()) {
        let raft_id = member.id.0;
        let wanted = Member {
            name: member.name.to_string(),
            address: member.address.clone(),
        };
        match seats.members.get(&raft_id) {
            None => return Some(Step::AddLearner(raft_id, wanted)),
            Some(seated) if *seated != wanted => return Some(Step::Readdress(raft_id, wanted)),
            Some(_) => {}
        }
        let is_candidate = member.wanted == JoinRole::Voter && !seats.voters.contains(&raft_id);
        // Without the start of its program behind it a node is not known to live.
        if is_candidate && member.boot_index > 0 && seats.caught_up.contains(&raft_id) {
            return Some(Step::Promote(raft_id));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use lockgate_proto::id::NodeName;

    use super::*;
    use crate::machine::MemberState;

    fn node(id: u64, state: MemberState, wanted: JoinRole) -> (NodeId, machine::Member) {
        let mut member = machine::Member::of_test(NodeId(id), NodeName::new(format!("n{id}")));
        member.address = format!("h{id}:1");
        member.boot_index = id + 1;
        (member.state, member.wanted) = (state, wanted);
        (NodeId(id), member)
    }

    fn seats(voters: &[RaftId], learners: &[RaftId], caught_up: &[RaftId]) -> Seats {
        let member = |id: &RaftId| {
            let member = Member {
                name: format!("n{id}"),
                address: format!("h{id}:1"),
            };
            (*id, member)
        };
        Seats {
            voters: voters.iter().copied().collect(),
            members: voters.iter().chain(learners).map(member).collect(),
            caught_up: caught_up.iter().copied().collect(),
            ..Seats::default()
        }
    }

    const VOTER: MemberState = MemberState::Voter;

    #[test]
    fn a_newcomer_learns_first_and_votes_when_it_has_caught_up() {
        let mut nodes = BTreeMap::from([
            node(1, VOTER, JoinRole::Voter),
            node(9, MemberState::Joining, JoinRole::Voter),
        ]);
        let address = Member {
            name: "n9".to_owned(),
            address: "h9:1".to_owned(),
        };
        let step = next_step(&nodes, &seats(&[1], &[], &[]));
        assert_eq!(step, Some(Step::AddLearner(9, address)));
        let tell = Step::Tell {
            voters: vec![NodeId(1)],
            learners: vec![NodeId(9)],
        };
        assert_eq!(next_step(&nodes, &seats(&[1], &[9], &[9])), Some(tell));
        nodes.extend([node(9, MemberState::Learner, JoinRole::Voter)]);
        assert_eq!(next_step(&nodes, &seats(&[1], &[9], &[])), None);
        let promote = Some(Step::Promote(9));
        assert_eq!(next_step(&nodes, &seats(&[1], &[9], &[9])), promote);
        let tell = Step::Tell {
            voters: vec![NodeId(1), NodeId(9)],
            learners: vec![],
        };
        assert_eq!(next_step(&nodes, &seats(&[1, 9], &[], &[9])), Some(tell));
        nodes.extend([node(9, VOTER, JoinRole::Voter)]);
        assert_eq!(next_step(&nodes, &seats(&[1, 9], &[], &[9])), None);
    }

    #[test]
    fn a_learner_by_choice_stays_one() {
        let nodes = BTreeMap::from([
            node(1, VOTER, JoinRole::Voter),
            node(9, MemberState::Learner, JoinRole::Learner),
        ]);
        assert_eq!(next_step(&nodes, &seats(&[1], &[9], &[9])), None);
    }

    #[test]
    fn a_node_whose_disk_has_lost_something_is_removed_once() {
        let voters = [1, 2, 3].map(|id| node(id, VOTER, JoinRole::Voter));
        let mut nodes = BTreeMap::from(voters);
        let mut seats = seats(&[1, 2, 3], &[], &[2]);
        seats.reverted.insert(3);
        assert_eq!(next_step(&nodes, &seats), Some(Step::Expel(NodeId(3))));
        nodes.extend([node(3, MemberState::Removed, JoinRole::Voter)]);
        assert_eq!(next_step(&nodes, &seats), Some(Step::Retire(3)));
    }

    #[test]
    fn a_removed_node_loses_its_seat_before_anything_else() {
        let nodes = BTreeMap::from([
            node(1, VOTER, JoinRole::Voter),
            node(2, MemberState::Removed, JoinRole::Voter),
            node(3, MemberState::Removed, JoinRole::Voter),
            node(9, MemberState::Joining, JoinRole::Voter),
        ]);
        let retire = next_step(&nodes, &seats(&[1, 2], &[3], &[]));
        assert_eq!(retire, Some(Step::Retire(2)));
        let forget = next_step(&nodes, &seats(&[1], &[3], &[]));
        assert_eq!(forget, Some(Step::Forget(3)));
    }

    #[test]
    fn a_seat_that_the_machine_does_not_know_is_left_alone() {
        let nodes = BTreeMap::from([node(1, VOTER, JoinRole::Voter)]);
        assert_eq!(next_step(&nodes, &seats(&[1, 7], &[], &[])), None);
    }

    #[test]
    fn a_node_that_moved_is_found_again() {
        let mut nodes = BTreeMap::from([node(1, VOTER, JoinRole::Voter)]);
        for member in nodes.values_mut() {
            member.address = "elsewhere:1".to_owned();
        }
        let moved = Member {
            name: "n1".to_owned(),
            address: "elsewhere:1".to_owned(),
        };
        let step = next_step(&nodes, &seats(&[1], &[], &[]));
        assert_eq!(step, Some(Step::Readdress(1, moved)));
    }

    #[test]
    fn nothing_is_done_while_a_change_is_under_way() {
        let nodes = BTreeMap::from([
            node(1, VOTER, JoinRole::Voter),
            node(9, MemberState::Joining, JoinRole::Voter),
        ]);
        let changing = Seats {
            is_changing: true,
            ..seats(&[1], &[], &[])
        };
        assert_eq!(next_step(&nodes, &changing), None);
    }
}
