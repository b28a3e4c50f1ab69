//! Where shards belong: a pure planner, members and the shard map in, the next changes out.
//!
//! First comes the aim: every node that accepts shards is primary of as many as any other, give or take one, and
//! backup of as many, and as few shards as possible change their primary for that. Then the way there, one step a
//! shard: a shard moves by filling a backup and handing over to it, so its next step may have to wait until the
//! backup is in sync. Planning again after each batch leads to the aim, whatever happened meanwhile.

mod aim;
mod balance;
mod duty;
#[cfg(test)]
mod tests;

use lockgate_proto::id::{NodeId, ShardId};

use self::aim::Aim;
pub(crate) use self::duty::{Duty, Pulse, next_duty};
use crate::command::{ShardChange, ShardStep};
use crate::machine::Shard;

/// A member as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// Whether shards may be placed on it: it is seated, has a lease and does not drain.
    pub accepts: bool,
}

/// How much may go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Most changes in one plan, which is one entry of the log.
    pub changes_max: usize,
    /// Most shards whose backup is being filled at a time. A shard that moves has no backup in sync meanwhile.
    pub fills_max: usize,
}

/// The next changes, at most one a shard, so that the map comes closer to balance; none when it is balanced, when
/// nobody accepts shards, or when everything waits for backups that are being filled.
///
/// A shard whose primary is not among the candidates is left alone until it is taken over: only its backup knows what
/// it knew.
pub fn plan(candidates: &[Candidate], shards: &[Shard], pace: Pace) -> Vec<ShardChange> {
    let aim = Aim::of(candidates, shards);
    let filling = shards.iter();
    let filling = filling.filter(|shard| shard.backup.is_some() && !shard.in_sync);
    let mut fills_left = pace.fills_max.saturating_sub(filling.count());
    let mut changes = Vec::new();
    for (shard, (now, place)) in ShardId::all().zip(shards.iter().zip(aim.places())) {
        if changes.len() == pace.changes_max {
            break;
        }
        let Some(step) = place.and_then(|place| step(now, place)) else {
            continue;
        };
        if fills(&step) {
            // One that fills another backup already is counted; it goes on with the better one.
            let counted = now.backup.is_some() && !now.in_sync;
            if !counted && fills_left == 0 {
                continue;
            }
            fills_left -= usize::from(!counted);
        }
        changes.push(ShardChange {
            shard,
            fence: now.fence(),
            step,
        });
    }
    changes
}

/// Where one shard belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    primary: NodeId,
    backup: Option<NodeId>,
}

/// The next step of a shard towards its place; `None` when it is there, or waits for its backup.
fn step(now: &Shard, place: Place) -> Option<ShardStep> {
    let Some(owner) = now.primary else {
        let Place { primary, backup } = place;
        return Some(ShardStep::Assign { primary, backup });
    };
    let wanted = if owner.node == place.primary {
        place.backup
    } else if now.backup == Some(place.primary) && now.in_sync {
        let backup = place.backup;
        return Some(ShardStep::HandOver { backup });
    } else {
        Some(place.primary)
    };
    (now.backup != wanted).then_some(ShardStep::SetBackup { backup: wanted })
}

/// Whether a backup has to be filled because of this step.
fn fills(step: &ShardStep) -> bool {
    match step {
        ShardStep::SetBackup { backup } | ShardStep::HandOver { backup } => backup.is_some(),
        // A shard that nobody owned has no sessions.
        _ => false,
    }
}
