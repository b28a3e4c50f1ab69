//! Keeps the shard map while this node leads: places shards, and gives those of a node that is dead to others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::NodeId;
use tokio::time::sleep;

use super::leases::Leases;
use crate::command::{Command, Entry, Outcome, ShardsCommand, wire};
use crate::machine::{Parts, ShardOwner};
use crate::placement::{Duty, Pace, Pulse, next_duty};
use crate::raft::{Applied, Engine, PeerError};

/// How often a leader compares, and how often another node looks whether it leads.
const LEADER_EVERY: Duration = Duration::from_millis(50);
const FOLLOWER_EVERY: Duration = Duration::from_millis(500);
/// A node that starts again is back by then. What it alone knew is given up afterwards.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// Half of the map in one entry: some 20 KiB.
const PACE: Pace = Pace {
    changes_max: 512,
    fills_max: 512,
};

/// Keeps the map until the engine ends.
pub(super) async fn keep(engine: Engine, leases: Leases) {
    let applied = engine.applied();
    let mut keeper = Keeper {
        engine,
        leases,
        over_since: BTreeMap::new(),
        owners: Default::default(),
        at_rest: None,
    };
    loop {
        let state = Arc::clone(&applied.borrow());
        match keeper.duty(&state) {
            Ok(Some(duty)) => keeper.take(duty).await,
            Ok(None) => {}
            Err(_follows) => sleep(FOLLOWER_EVERY - LEADER_EVERY).await,
        }
        sleep(LEADER_EVERY).await;
        if applied.has_changed().is_err() {
            return;
        }
    }
}

struct Keeper {
    engine: Engine,
    leases: Leases,
    /// Lives whose lease is over, and since when this leader knows.
    over_since: BTreeMap<Life, Duration>,
    /// Lives that own shards in these parts.
    owners: (Parts, BTreeSet<Life>),
    /// How everything stood when nothing was to be done. While it stands so, nothing is.
    at_rest: Option<(Parts, BTreeMap<Life, Pulse>)>,
}

/// Number of a node, and which of its lives.
type Life = (u64, u64);

impl Keeper {
    /// What is to be done, if this node leads.
    fn duty(&mut self, state: &Applied) -> Result<Option<Duty>, PeerError> {
        let (leases, parts) = (self.leases.clone(), &state.parts);
        let seen = leases.as_leader(|granter, _lead, now| {
            let serves = |(node, boot): &Life| granter.may_serve(NodeId(*node), *boot, now);
            self.look(parts, now, serves)
        });
        let Ok(pulses) = seen else {
            self.over_since.clear();
            self.at_rest = None;
            return seen.map(|_pulses| None);
        };
        if let Some((rested, as_seen)) = &self.at_rest
            && rested.shares_map(parts)
            && *as_seen == pulses
        {
            return Ok(None);
        }
        let pulse = |owner: ShardOwner| {
            let pulse = pulses.get(&(owner.node.0, owner.boot)).copied();
            pulse.unwrap_or(Pulse::Serves)
        };
        let duty = next_duty(parts.nodes().members(), parts.shards().map(), PACE, pulse);
        self.at_rest = duty.is_none().then(|| (parts.clone(), pulses));
        Ok(duty)
    }

    /// Lives of members and owners that do not serve.
    fn look(
        &mut self,
        parts: &Parts,
        now: Duration,
        serves: impl Fn(&Life) -> bool,
    ) -> BTreeMap<Life, Pulse> {
        if !self.owners.0.shares_map(parts) {
            let shards = parts.shards().map().iter();
            let owners = shards.filter_map(|shard| shard.primary);
            let owners = owners.map(|owner| (owner.node.0, owner.boot));
            self.owners = (parts.clone(), owners.collect());
        }
        let members = parts.nodes().members();
        let lives = members.values().map(|member| (member.id.0, member.boot));
        let lives = lives.chain(self.owners.1.iter().copied());
        let over: BTreeSet<Life> = lives.filter(|life| !serves(life)).collect();
        let since = |life: &Life| self.over_since.get(life).copied().unwrap_or(now);
        self.over_since = over.iter().map(|life| (*life, since(life))).collect();
        let pulse = |(life, since): (&Life, &Duration)| {
            let member = members.get(&NodeId(life.0));
            let leaves = member.is_none_or(|member| member.draining_since_ms.is_some());
            match leaves || now >= *since + GONE_AFTER {
                true => (*life, Pulse::Gone),
                false => (*life, Pulse::Over),
            }
        };
        self.over_since.iter().map(pulse).collect()
    }

    async fn take(&self, duty: Duty) {
        match duty {
            Duty::TakeOver(dead) => self.take_over(dead).await,
            Duty::Change(changes) => {
                let n_changes = changes.len();
                match self.propose(ShardsCommand::Batch(changes)).await {
                    Ok(_index) => tracing::debug!(n_changes, "shards changed"),
                    Err(cause) => tracing::info!(%cause, "shards did not change yet"),
                }
            }
        }
    }

    async fn take_over(&self, dead: ShardOwner) {
        let ShardOwner { node, boot } = dead;
        let begun = self
            .leases
            .as_leader(|granter, _lead, now| granter.take_over(node, boot, now));
        if !matches!(begun, Ok(true)) {
            return;
        }
        let done = self.propose(ShardsCommand::TakeOver { node, boot }).await;
        match &done {
            Ok(index) => tracing::warn!(%node, boot, index, "shards of a node taken over"),
            Err(cause) => tracing::info!(%cause, %node, boot, "shards not taken over yet"),
        }
        // Without an answer the entry is not behind what the log holds by now, as long as this node leads.
        let _deposed = self.leases.as_leader(|granter, lead, _now| {
            granter.taken_over(node, boot, done.unwrap_or(lead.last_log));
        });
    }

    async fn propose(&self, command: ShardsCommand) -> Result<u64, PeerError> {
        let entry = Entry {
            at_ms: 0,
            leader_us: 0,
            leader_term: 0,
            origin: None,
            command: Command::Shards(command),
        };
        let outcome = self.engine.propose_here(wire::encode_entry(entry)).await?;
        let outcome: Outcome =
            wire::decode_outcome(outcome).map_err(|cause| PeerError::Unknown(cause.to_string()))?;
        Ok(outcome.index)
    }
}
