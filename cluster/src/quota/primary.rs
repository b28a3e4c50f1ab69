//! The primary of small keys: the leader of the cluster.

use super::wallet::{Decider, DeciderFuture};
use crate::handle::Cluster;
use crate::machine::quota::Key;

/// Asks the leader.
#[derive(Debug)]
pub(super) struct Primary(pub(super) Cluster);

impl Decider for Primary {
    fn spend(&self, key: &Key, tokens: u64) -> DeciderFuture<'_> {
        let key = key.clone();
        Box::pin(async move { self.0.spend_at_leader(key, tokens).await })
    }
}
