//! Spends of keys that are too small to be divided among the nodes: the leader decides, out of its own purse.

use std::sync::{Arc, OnceLock, Weak};

use super::leases::leader;
use crate::grpc::Peers;
use crate::machine::quota::Key;
use crate::quota::{Denial, Unreachable, Wallet};
use crate::raft::{Engine, PeerError};

/// Both sides of such a spend. Works once the network serves and the wallet is there. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Spends {
    parts: Arc<OnceLock<(Engine, Peers)>>,
    wallet: Arc<OnceLock<Weak<Wallet>>>,
}

impl Spends {
    pub(super) fn serve(&self, engine: Engine, peers: Peers) {
        // The network begins to serve once.
        let _first = self.parts.set((engine, peers));
    }

    /// Takes the wallet of this node, from which it spends for others while it leads. The first one stays.
    pub(crate) fn open(&self, wallet: &Arc<Wallet>) {
        let _first = self.wallet.set(Arc::downgrade(wallet));
    }

    /// Asks the leader to spend. `None` when it has, otherwise how many microseconds it will take until it is worth
    /// asking again.
    pub(crate) async fn ask(&self, key: &Key, tokens: u64) -> Result<Option<u64>, Unreachable> {
        let (engine, peers) = self.parts.get().ok_or(Unreachable)?;
        let asked = match leader(engine) {
            Some((id, _)) if id == engine.id() => self.decide(key, tokens).await,
            Some((id, member)) => peers.spend((id, &member), key, tokens).await,
            None => Err(PeerError::NotLeader { leader: None }),
        };
        asked.map_err(|cause| {
            tracing::debug!(%cause, "a small quota was not decided");
            Unreachable
        })
    }

    /// Spends for another node, as the leader.
    pub(super) async fn decide(&self, key: &Key, tokens: u64) -> Result<Option<u64>, PeerError> {
        let wallet = self.wallet.get().and_then(Weak::upgrade);
        let (Some(wallet), Some((engine, _))) = (wallet, self.parts.get()) else {
            return Err(PeerError::Refused("it does not serve yet".to_owned()));
        };
        let leader = leader(engine).map(|(id, _)| id);
        if leader != Some(engine.id()) {
            return Err(PeerError::NotLeader { leader });
        }
        let limit = {
            let applied = engine.applied();
            let applied = applied.borrow();
            applied.parts.quota().limits().get(&key.rule).copied()
        };
        let limit = limit.ok_or_else(|| PeerError::Refused("there is no such quota".to_owned()))?;
        match wallet.decide(key, limit, tokens).await {
            Ok(()) => Ok(None),
            Err(Denial::Exhausted { retry_after, .. }) => {
                let wait = retry_after.map_or(u128::MAX, |wait| wait.as_micros());
                Ok(Some(u64::try_from(wait).unwrap_or(u64::MAX)))
            }
            Err(denial @ Denial::Unavailable { .. }) => Err(PeerError::Refused(denial.to_string())),
        }
    }
}
