//! The world of one run: nodes, what is on its way between them, and time.

mod leader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::{NodeId, ShardId};

use super::{Lie, Seen};
use crate::command::{Command, Entry, NodesCommand, ShardChange, ShardStep, ShardsCommand, Speaks};
use crate::lease::{Granter, Holder, Terms};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{Machine, Position};

const NODES: usize = 3;
/// Shards that are looked at; the others are nobody's.
const SHARDS: usize = 6;
const MS: u64 = 1000;

/// Entries, each with the term of the leader that wrote it.
type Log = Vec<(u64, Arc<Entry>)>;

#[derive(Clone, Debug)]
enum Message {
    Append {
        term: u64,
        log: Log,
        committed: usize,
        sent_at: Duration,
    },
    Appended {
        term: u64,
        len: usize,
        sent_at: Duration,
    },
    Vote {
        term: u64,
        last: (u64, usize),
    },
    Voted {
        term: u64,
    },
    Renew {
        boot: u64,
        number: u64,
        applied: u64,
    },
    Granted {
        number: u64,
        boot: u64,
        lasting: Duration,
    },
}

/// What a leader has in memory.
#[derive(Debug)]
struct Leadership {
    granter: Granter,
    /// By node: entries that it has, and when the newest heartbeat that it answered was sent.
    followers: BTreeMap<usize, (usize, Duration)>,
    taking_over: Vec<(NodeId, u64, u64)>,
    revoking: Vec<u64>,
}

#[derive(Debug)]
struct Node {
    /// On disk.
    term: u64,
    /// Term of the leader whose log this is.
    follows: u64,
    log: Log,
    /// In memory.
    committed: usize,
    machine: Machine,
    votes: usize,
    leads: Option<Leadership>,
    holder: Holder,
    boot: Option<u64>,
    nonce: u8,
    /// Shards that it stopped to hand them over, at their revision.
    stopped: BTreeMap<ShardId, u64>,
    /// Its clock: what it showed at the beginning, and its rate in per mille.
    offset: u64,
    rate: u64,
    paused_until: u64,
}

/// All of it.
pub(super) struct World {
    random: u64,
    lie: Lie,
    /// True time in microseconds.
    now: u64,
    nodes: Vec<Node>,
    /// Messages by when they arrive.
    flying: Vec<(u64, usize, usize, Message)>,
    /// Newest revocation that was acknowledged.
    revoked: u64,
    /// Nobody hears this node until then.
    cut: (usize, u64),
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64, lie: Lie) -> Self {
        let mut cluster = TestCluster::of(NODES);
        let owners = cluster.nodes();
        let shard = |at: usize| ShardId::all().nth(at).unwrap();
        for at in 0..SHARDS {
            let (primary, backup) = (owners[at % NODES], owners[(at + 1) % NODES]);
            let (primary, backup) = (NodeId(primary), Some(NodeId(backup)));
            for step in [ShardStep::Assign { primary, backup }, ShardStep::InSync] {
                let fence = cluster.shards()[at].fence();
                let shard = shard(at);
                cluster.change(vec![ShardChange { shard, fence, step }]);
            }
        }
        let log: Vec<_> = cluster
            .log
            .iter()
            .map(|(_, entry)| (1, Arc::new(entry.clone())))
            .collect();
        let mut world = Self {
            random: seed,
            lie,
            now: 0,
            nodes: Vec::new(),
            flying: Vec::new(),
            revoked: 0,
            cut: (0, 0),
            seen: Seen::default(),
        };
        // In per mille. The agreed 5 % hide a missing allowance in what is on its way anyhow; 30 do not.
        let apart = if lie == Lie::NoDrift { 300 } else { 50 };
        for at in 0..NODES {
            let node = Node {
                term: 1,
                follows: 1,
                committed: log.len(),
                log: log.clone(),
                machine: cluster.machine.clone(),
                votes: 0,
                leads: None,
                holder: Holder::new(world.terms()),
                boot: Some(1),
                nonce: at as u8 + 1,
                stopped: BTreeMap::new(),
                offset: world.below(10_000_000),
                rate: 1000 - apart + apart * world.below(3),
                paused_until: 0,
            };
            world.nodes.push(node);
        }
        world
    }

    fn terms(&self) -> Terms {
        let drift_percent = if self.lie == Lie::NoDrift { 0 } else { 5 };
        Terms {
            drift_percent,
            ..Terms::DEFAULT
        }
    }

    /// Splitmix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn clock(&self, at: usize) -> Duration {
        let node = &self.nodes[at];
        Duration::from_micros(node.offset + self.now * node.rate / 1000)
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let (cut, until) = self.cut;
        let lost = self.one_in(12) || (self.now < until && (cut == from || cut == to));
        if lost && from != to {
            return;
        }
        let delay = match self.below(20) {
            0 => self.below(2500 * MS),
            1..4 => self.below(200 * MS),
            _ => self.below(5 * MS),
        };
        self.flying.push((self.now + delay, from, to, message));
    }

    /// Something happens.
    pub(super) fn step(&mut self) {
        self.now += self.below(25 * MS);
        for at in 0..NODES {
            if self.nodes[at].paused_until <= self.now {
                self.act(at);
            }
        }
        let now = self.now;
        let (arrived, flying) = std::mem::take(&mut self.flying)
            .into_iter()
            .partition(|(when, ..)| *when <= now);
        self.flying = flying;
        let arrived: Vec<_> = arrived;
        for (when, from, to, message) in arrived {
            if self.nodes[to].paused_until > now {
                // It waits in a buffer of the system.
                self.flying.push((when + 20 * MS, from, to, message));
            } else {
                self.receive(from, to, message);
            }
        }
        self.harm();
    }

    fn harm(&mut self) {
        let at = self.below(NODES as u64) as usize;
        match self.below(400) {
            0 => self.nodes[at].paused_until = self.now + self.below(4000 * MS),
            1 | 2 => self.cut = (at, self.now + self.below(6000 * MS)),
            3 => self.restart(at),
            _ => {}
        }
    }

    fn restart(&mut self, at: usize) {
        self.seen.restarts += 1;
        let terms = self.terms();
        let base = TestCluster::default().machine;
        let node = &mut self.nodes[at];
        node.machine = base;
        node.committed = 0;
        node.votes = 0;
        node.leads = None;
        node.holder = Holder::new(terms);
        node.boot = None;
        node.nonce = node.nonce.wrapping_add(16);
        node.stopped.clear();
    }

    /// What a node does by itself.
    fn act(&mut self, at: usize) {
        self.apply(at);
        if self.nodes[at].leads.is_some() {
            self.lead(at);
        } else if self.one_in(400) {
            self.stand(at);
        }
        if self.one_in(8) {
            self.renew(at);
        }
        let name = format!("n{}", at + 1);
        if self.nodes[at].boot.is_none() && self.one_in(20) {
            let command = NodesCommand::Boot {
                name: name.as_str().into(),
                address: String::new(),
                nonce: [self.nodes[at].nonce; 16],
                speaks: Speaks::ours(),
            };
            self.propose(command.into());
        }
        if self.one_in(60) {
            self.hand_over(at);
        }
    }

    fn apply(&mut self, at: usize) {
        if self.one_in(3) {
            return;
        }
        let name = format!("n{}", at + 1).as_str().into();
        let node = &mut self.nodes[at];
        let from = node.machine.position().index as usize;
        for index in from..node.committed.min(node.log.len()) {
            let (term, entry) = &node.log[index];
            let position = Position {
                term: *term,
                index: index as u64 + 1,
            };
            node.machine
                .apply(position, Entry::clone(entry), &mut Vec::new());
        }
        let parts = node.machine.parts();
        let nonce = [node.nonce; 16];
        let own = parts.nodes().named(&name);
        if node.boot.is_none() {
            let life = own.filter(|member| member.booted_with(nonce));
            node.boot = life.map(|member| member.boot);
        }
        let map = parts.shards().map();
        node.stopped
            .retain(|shard, revision| map[usize::from(shard.number())].revision == *revision);
    }

    fn renew(&mut self, at: usize) {
        let now = self.clock(at);
        let node = &mut self.nodes[at];
        let Some(boot) = node.boot else { return };
        let number = node.holder.renew(now);
        let applied = node.machine.position().index;
        for to in 0..NODES {
            if self.nodes[to].leads.is_some() {
                let renew = Message::Renew {
                    boot,
                    number,
                    applied,
                };
                self.send(at, to, renew);
            }
        }
    }

    /// A primary stops one of its shards and asks for its backup to take it.
    fn hand_over(&mut self, at: usize) {
        let id = NodeId(IDS[at]);
        let node = &mut self.nodes[at];
        let map = node.machine.parts().shards().map();
        let owned = ShardId::all().zip(map).take(SHARDS).find(|(shard, state)| {
            let owner = state.primary.is_some_and(|owner| owner.node == id);
            owner && state.in_sync && !node.stopped.contains_key(shard)
        });
        let Some((shard, state)) = owned else { return };
        let (fence, backup) = (state.fence(), Some(id));
        node.stopped.insert(shard, fence.revision);
        let step = ShardStep::HandOver { backup };
        let change = ShardChange { shard, fence, step };
        self.propose(ShardsCommand::Batch(vec![change]).into());
        self.seen.hand_overs += 1;
    }

    /// Hands a command to somebody who believes to lead, right away.
    fn propose(&mut self, command: Command) {
        let leaders: Vec<usize> = (0..NODES)
            .filter(|at| self.nodes[*at].leads.is_some())
            .collect();
        if leaders.is_empty() {
            return;
        }
        let chosen = leaders[self.below(leaders.len() as u64) as usize];
        self.write(chosen, command);
    }

    fn stand(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.term += 1;
        node.votes = 1;
        let vote = Message::Vote {
            term: node.term,
            last: last(&node.log),
        };
        for to in (0..NODES).filter(|to| *to != at) {
            self.send(at, to, vote.clone());
        }
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) {
        match message {
            Message::Append {
                term,
                log,
                committed,
                sent_at,
            } => {
                if !self.hears(to, term) {
                    return;
                }
                let node = &mut self.nodes[to];
                // A leader's log only grows, so that of two the longer is the newer.
                if node.follows < term || log.len() > node.log.len() {
                    node.follows = term;
                    node.log = log.clone();
                }
                node.committed = node.committed.max(committed.min(log.len()));
                let len = log.len();
                let answer = Message::Appended { term, len, sent_at };
                self.send(to, from, answer);
            }
            Message::Appended { term, len, sent_at } => {
                self.appended(from, to, (term, len, sent_at))
            }
            Message::Vote { term, last: theirs } => {
                let before = self.nodes[to].term;
                if term <= before || !self.hears(to, term) {
                    return;
                }
                if theirs >= last(&self.nodes[to].log) {
                    self.send(to, from, Message::Voted { term });
                }
            }
            Message::Voted { term } => {
                let node = &mut self.nodes[to];
                if node.term == term && node.leads.is_none() && node.votes > 0 {
                    node.votes += 1;
                    if node.votes > NODES / 2 {
                        node.votes = 0;
                        self.elected(to);
                    }
                }
            }
            Message::Renew {
                boot,
                number,
                applied,
            } => self.renewed(from, to, (boot, number, applied)),
            Message::Granted {
                number,
                boot,
                lasting,
            } => {
                let now = self.clock(to);
                let node = &mut self.nodes[to];
                if node.boot == Some(boot) {
                    let number = if self.lie == Lie::FromAnswer {
                        node.holder.renew(now)
                    } else {
                        number
                    };
                    node.holder.on_grant(number, lasting);
                }
            }
        }
    }

    /// Whether a message of that term counts; a newer one ends whatever the node was.
    fn hears(&mut self, at: usize, term: u64) -> bool {
        let node = &mut self.nodes[at];
        if term > node.term {
            node.term = term;
            node.votes = 0;
            node.leads = None;
        }
        term == node.term
    }

    /// What must never be.
    pub(super) fn check(&self) -> Result<(), String> {
        for shard in ShardId::all().take(SHARDS) {
            let owners: Vec<usize> = (0..NODES).filter(|at| self.owns(*at, shard)).collect();
            if owners.len() > 1 {
                return Err(format!("{owners:?} own shard {shard} at {} us", self.now));
            }
        }
        for at in 0..NODES {
            let applied = self.nodes[at].machine.position().index;
            if self.nodes[at].boot.is_some() && self.serves(at) && applied < self.revoked {
                return Err(format!(
                    "node {at} serves without revocation {}",
                    self.revoked
                ));
            }
        }
        Ok(())
    }

    fn serves(&self, at: usize) -> bool {
        self.nodes[at].holder.holds(self.clock(at))
    }

    fn owns(&self, at: usize, shard: ShardId) -> bool {
        let node = &self.nodes[at];
        let state = node.machine.parts().shards().map()[usize::from(shard.number())];
        let id = NodeId(IDS[at]);
        let owner = state.primary.filter(|owner| owner.node == id);
        self.serves(at)
            && owner.is_some_and(|owner| Some(owner.boot) == node.boot)
            && !node.stopped.contains_key(&shard)
    }
}

fn last(log: &Log) -> (u64, usize) {
    (log.last().map_or(0, |(term, _)| *term), log.len())
}

/// Numbers of the three nodes: that of the founder, and the places where the others joined.
const IDS: [u64; NODES] = [1, 3, 5];
