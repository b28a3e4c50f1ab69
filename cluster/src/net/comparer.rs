//! Compares the state of this node with that of the others, whenever a new hash of it was taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::others::statuses;
use crate::agreement::{Agreed, Agreement, compare};
use crate::grpc::Peers;
use crate::machine::StateHash;
use crate::machine::snapshot::hashes_from_wire;
use crate::raft::Engine;

/// How often to look for a new hash, and to ask again a member that had not come as far. Hashes are a thousand entries
/// apart.
const EVERY: Duration = Duration::from_secs(1);

/// Compares until the engine ends.
pub(super) async fn follow(engine: Engine, peers: Peers, agreed: Agreed) {
    let applied = engine.applied();
    let mut compared = None;
    while applied.has_changed().is_ok() {
        sleep(EVERY).await;
        let ours: Vec<StateHash> = {
            let state = Arc::clone(&applied.borrow());
            state.parts.hashes().kept().copied().collect()
        };
        let Some(newest) = ours.last().map(|hash| hash.index) else {
            continue;
        };
        let seats: Vec<u64> = engine.status().seats.iter().map(|seat| seat.id).collect();
        let n_others = seats.len().saturating_sub(1);
        let comparison = Some((newest, seats));
        if comparison == compared {
            continue;
        }
        let statuses = statuses(&engine, &peers).await;
        let hashes = statuses.into_iter().filter_map(|status| {
            let part = lockgate_proto::peer::v1::HashesPart {
                hashes: status.hashes,
            };
            let hashes = hashes_from_wire(part).ok()?;
            Some(hashes.kept().copied().collect())
        });
        let others: Vec<Vec<StateHash>> = hashes.collect();
        let found = match n_others {
            0 => Some(Agreement::default()),
            _ => compare(&ours, &others),
        };
        if let Some(found) = found
            && agreed.note(found)
        {
            match found.differing {
                0 => tracing::info!(index = newest, "the state is that of the other nodes"),
                differing => tracing::error!(
                    index = newest,
                    differing,
                    minority = found.is_minority,
                    "the state of this node and that of others differ; remove the node that differs and let it join with an empty data directory"
                ),
            }
        }
        let has_newest = |other: &&Vec<StateHash>| other.iter().any(|one| one.index >= newest);
        if others.iter().filter(has_newest).count() == n_others {
            compared = comparison;
        }
    }
}
