//! The agent: carries the batches of one node to the cluster, at a bounded pace.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::batcher::Batcher;
use super::expiry::Expiry;
use super::wallet::Wallet;
use crate::machine::quota::{Command, Reply};

/// A batch is sent this long after the one before, if there is anything to say.
const EVERY: Duration = Duration::from_millis(250);
/// When a purse runs low a batch goes earlier, but not earlier than this: three nodes then make 13.3 commits per second
/// at most, and one more for what expires.
const EVERY_MIN: Duration = Duration::from_millis(225);
/// After so long an answer is of no use: its grants would live for half of their time at best.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Old grants are taken away no more often than this.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// How long the last batch of a node that ends may take.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What the agent needs of the cluster.
pub trait Propose: Send + Sync + 'static {
    /// Carries out `command` at the leader.
    fn propose(&self, command: Command) -> impl Future<Output = Result<Reply, Unanswered>> + Send;

    /// How the cluster looks from here. Called at every turn, so it must not wait.
    fn place(&self) -> Place;

    /// Whether a grant below `lease` is out, in the state as this node knows it.
    fn has_grant_below(&self, lease: u64) -> bool;
}

/// Whether a command was carried out is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer about quotas from the cluster")]
pub struct Unanswered;

/// How the cluster looks from one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Nodes that serve calls.
    pub n_nodes: usize,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Number of the last grant in the state as this node knows it.
    pub last_lease: u64,
}

/// Carries the batches of one node to the cluster.
#[derive(Debug)]
pub struct Agent<P> {
    wallet: Arc<Wallet>,
    batcher: Batcher,
    expiry: Expiry,
    expired_at: Instant,
    cluster: P,
}

impl<P: Propose> Agent<P> {
    /// The agent of the life `boot` of the node `node`.
    pub fn new(wallet: Arc<Wallet>, cluster: P, node: u64, boot: u64) -> Self {
        Self {
            wallet,
            batcher: Batcher::new(node, boot),
            expiry: Expiry::default(),
            expired_at: Instant::now(),
            cluster,
        }
    }

    /// Runs until `stop` completes; then gives back what is held.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut sent_at = Instant::now();
        loop {
            let busy = !self.wallet.is_idle() || self.batcher.has_usage();
            tokio::select! {
                () = &mut stop => break,
                () = self.wallet.woken() => {}
                () = sleep_until(sent_at + EVERY), if busy => {}
                () = sleep_until(self.expired_at + EXPIRE_EVERY) => self.expire().await,
            }
            tokio::select! {
                () = &mut stop => break,
                () = sleep_until(sent_at + EVERY_MIN) => {}
            }
            let place = self.cluster.place();
            self.wallet.set_place(place.n_nodes, place.is_leader);
            sent_at = Instant::now();
            self.settle(ANSWER_WAIT).await;
        }
        for purse in self.wallet.active() {
            purse.close();
        }
        self.batcher.close();
        // One batch takes a bounded part of the usage along.
        while self.settle(LAST_WAIT).await {}
    }

    /// Sends one batch, if there is anything to say. Returns whether it was applied.
    async fn settle(&mut self, wait: Duration) -> bool {
        let Some(batch) = self.batcher.next(&self.wallet, self.wallet.now_us()) else {
            return false;
        };
        self.wallet.counts().batch();
        let command = Command::Batch(batch);
        match timeout(wait, self.cluster.propose(command)).await {
            Ok(Ok(reply)) => {
                let is_applied = reply != Reply::Stale;
                self.batcher.on_reply(reply, self.wallet.now_us());
                self.wallet.set_cut_off(false);
                is_applied
            }
            Ok(Err(Unanswered)) | Err(_) => {
                if !self.wallet.is_cut_off() {
                    warn!("no answer to a batch of quotas, only what is held can be spent");
                }
                self.wallet.counts().unanswered();
                self.batcher.on_unknown();
                self.wallet.set_cut_off(true);
                false
            }
        }
    }

    /// As the leader, takes away what no node can spend any more.
    async fn expire(&mut self) {
        self.expired_at = Instant::now();
        let place = self.cluster.place();
        let now_us = self.wallet.now_us();
        self.expiry.on_seen(place.last_lease, now_us);
        let below = self.expiry.old_below(now_us);
        if place.is_leader && self.cluster.has_grant_below(below) {
            let command = Command::Expire { below };
            self.wallet.counts().expiry();
            if timeout(ANSWER_WAIT, self.cluster.propose(command)).await != Ok(Ok(Reply::Done)) {
                self.wallet.counts().unanswered();
                debug!("expiry of old grants not known to be committed");
            }
        }
    }
}
