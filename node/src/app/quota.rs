//! Keeps the quotas of this node: their rules, and the task that settles with the cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lockgate_cluster::quota::{self, Agent, Seat};
use lockgate_cluster::{Cluster, View};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Registry;
use crate::policy::Quotas;
use crate::task::spawn_named;

/// What a node that ends gives back has this long.
const RETURN_MAX: Duration = Duration::from_secs(2);

/// Quotas of this node, and the task behind them. Cheap to clone.
#[derive(Clone)]
pub(super) struct QuotaKeeper {
    cluster: Cluster,
    quotas: Arc<Quotas>,
    stop: CancellationToken,
    agent: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl QuotaKeeper {
    pub(super) fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let seat = Seat::of(cluster).context("this node is no member of its cluster")?;
        let wallet = seat.wallet();
        let (node, boot) = (seat.node(), seat.boot());
        let agent = Agent::new(Arc::clone(&wallet), seat, node, boot);
        let stop = CancellationToken::new();
        let task = spawn_named("quotas", agent.run(stop.clone().cancelled_owned()));
        Ok(Self {
            cluster: cluster.clone(),
            quotas: Arc::new(Quotas::new(wallet)),
            stop,
            agent: Arc::new(Mutex::new(Some(task))),
        })
    }

    pub(super) fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// Puts the quotas of `registry` in force: first in the cluster, then here.
    ///
    /// `view` is the state that the registry was read from: limits that others have set since are newer than its own,
    /// and the version says so.
    pub(super) async fn apply(&self, registry: &Registry, view: &View) -> anyhow::Result<()> {
        let limits = Quotas::limits(&registry.quotas);
        if **view.quota().limits() != limits {
            let version = view.quota().version() + 1;
            let command = quota::Command::SetLimits { version, limits };
            let proposed = self.cluster.propose(command.into()).await;
            proposed.context("the limits of quotas cannot be replicated")?;
        }
        self.quotas.set(&registry.quotas);
        Ok(())
    }

    /// Gives back what this node holds.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        let agent = self.agent.lock().take();
        if let Some(agent) = agent {
            // What is not given back in time expires.
            let _late = timeout(RETURN_MAX, agent).await;
        }
    }
}
