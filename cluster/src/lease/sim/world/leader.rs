//! What a leader does: it writes entries, hears what followers have, grants leases and concludes from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::{NodeId, ShardId};

use super::super::Lie;
use super::{IDS, Leadership, MS, Message, NODES, Node, SHARDS, World};
use crate::command::{
    Command, Entry, Expected, RegisterWrite, ShardChange, ShardStep, ShardsCommand,
};
use crate::lease::{Denial, Footing, Granter, Life, Renewal};

impl World {
    /// Returns the index.
    pub(super) fn write(&mut self, at: usize, command: Command) -> u64 {
        let at_ms = self.now / MS;
        let node = &mut self.nodes[at];
        let entry = Entry {
            at_ms,
            leader_us: 0,
            leader_term: node.term,
            origin: None,
            command,
        };
        node.log.push((node.term, Arc::new(entry)));
        node.log.len() as u64
    }

    pub(super) fn elected(&mut self, at: usize) {
        self.seen.elections += 1;
        let now = self.clock(at);
        let marker = RegisterWrite {
            key: "leader".to_owned(),
            expected: Expected::Any,
            value: None,
        };
        let first_index = self.write(at, marker.into());
        let since = if self.lie == Lie::NoElders {
            Duration::ZERO
        } else {
            now
        };
        let demand = if self.lie == Lie::NoCatchUp {
            0
        } else {
            first_index
        };
        let granter = Granter::new(self.terms(), since, demand);
        let node = &mut self.nodes[at];
        node.follows = node.term;
        node.leads = Some(Leadership {
            granter,
            followers: BTreeMap::new(),
            taking_over: Vec::new(),
            revoking: Vec::new(),
        });
    }

    pub(super) fn lead(&mut self, at: usize) {
        let now = self.clock(at);
        if self.one_in(2) {
            let node = &self.nodes[at];
            let append = Message::Append {
                term: node.term,
                log: node.log.clone(),
                committed: node.committed,
                sent_at: now,
            };
            for to in (0..NODES).filter(|to| *to != at) {
                self.send(at, to, append.clone());
            }
        }
        if self.one_in(40) {
            let revoke = RegisterWrite {
                key: "revoked".to_owned(),
                expected: Expected::Any,
                value: None,
            };
            let index = self.write(at, revoke.into());
            if let Some(leads) = &mut self.nodes[at].leads {
                leads.revoking.push(index);
            }
        }
        let shard = ShardId::all()
            .nth(self.below(SHARDS as u64) as usize)
            .unwrap();
        let state = self.nodes[at].machine.parts().shards().map()[usize::from(shard.number())];
        if self.one_in(10) {
            let other = NodeId(IDS[self.below(NODES as u64) as usize]);
            let step = match state.backup {
                Some(_) => ShardStep::InSync,
                None => ShardStep::SetBackup {
                    backup: Some(other),
                },
            };
            let fence = state.fence();
            let change = ShardChange { shard, fence, step };
            self.write(at, ShardsCommand::Batch(vec![change]).into());
        }
        self.judge(at, now);
    }

    /// What the leader concludes from the leases.
    fn judge(&mut self, at: usize, now: Duration) {
        let lie = self.lie;
        let node = &mut self.nodes[at];
        let Some(leads) = &mut node.leads else { return };
        let parts = node.machine.parts();
        let lives = parts.nodes().members().values().map(|member| Life {
            node: member.id,
            boot: member.boot,
            boot_index: member.boot_index,
            member: member.is_live(),
        });
        leads.granter.set_members(lives, now);
        let applied = node.machine.position().index;
        for (dead, boot, index) in &leads.taking_over {
            if *index <= applied {
                leads.granter.taken_over(*dead, *boot, *index);
            }
        }
        leads.taking_over.retain(|(_, _, index)| *index > applied);
        let (mut acknowledged, granter) = (0, &mut leads.granter);
        leads.revoking.retain(|index| {
            let done = *index <= applied && (lie == Lie::NoWait || granter.all_past(*index, now));
            if done {
                acknowledged = acknowledged.max(*index);
            }
            !done
        });
        let owns = |node: NodeId, boot: u64| {
            let mut map = parts.shards().map().iter();
            map.any(|shard| {
                shard.in_sync
                    && shard
                        .primary
                        .is_some_and(|one| one.node == node && one.boot <= boot)
            })
        };
        let lapsed: Vec<_> = granter
            .lapsed(now)
            .filter(|(node, boot)| owns(*node, *boot))
            .collect();
        self.seen.revocations += u32::from(acknowledged > 0);
        self.revoked = self.revoked.max(acknowledged);
        for (dead, boot) in lapsed {
            let fenced = lie == Lie::NoFence || granter_of(&mut self.nodes[at], dead, boot, now);
            if fenced && self.one_in(4) {
                self.seen.take_overs += 1;
                let take_over = ShardsCommand::TakeOver { node: dead, boot };
                let index = self.write(at, take_over.into());
                if let Some(leads) = &mut self.nodes[at].leads {
                    leads.taking_over.push((dead, boot, index));
                }
            }
        }
    }

    pub(super) fn appended(
        &mut self,
        from: usize,
        to: usize,
        (term, len, sent_at): (u64, usize, Duration),
    ) {
        let node = &mut self.nodes[to];
        let Some(leads) = node.leads.as_mut().filter(|_| node.term == term) else {
            return;
        };
        let (has, heard) = leads.followers.entry(from).or_default();
        (*has, *heard) = ((*has).max(len), (*heard).max(sent_at));
        // Itself and the best of the other two are a quorum.
        let has = leads.followers.values().map(|(has, _)| *has).max();
        let has = has.unwrap_or_default();
        if has > node.committed && node.log[has - 1].0 == term {
            node.committed = has;
        }
    }

    pub(super) fn renewed(
        &mut self,
        from: usize,
        to: usize,
        (boot, number, applied): (u64, u64, u64),
    ) {
        let (now, id) = (self.clock(to), NodeId(IDS[from]));
        let lie = self.lie;
        let node = &mut self.nodes[to];
        let Some(leads) = &mut node.leads else { return };
        let heard = leads.followers.values().map(|(_, heard)| *heard).max();
        let quorum_heard = match heard {
            _ if lie == Lie::QuorumIsNow => now,
            Some(heard) => heard,
            None => return,
        };
        let renewal = Renewal {
            node: id,
            boot,
            applied,
        };
        let footing = Footing {
            quorum_heard,
            committed: node.committed as u64,
        };
        let answer: Result<_, Denial> = leads.granter.on_renewal(now, renewal, footing);
        if let Ok(grant) = answer {
            self.seen.grants += 1;
            let lasting = grant.lasting;
            let granted = Message::Granted {
                number,
                boot,
                lasting,
            };
            self.send(to, from, granted);
        }
    }
}

fn granter_of(node: &mut Node, dead: NodeId, boot: u64, now: Duration) -> bool {
    let leads = node.leads.as_mut();
    leads.is_some_and(|leads| leads.granter.take_over(dead, boot, now))
}
