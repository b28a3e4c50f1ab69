//! `Starting`: a node that waits for its cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::agreement::Agreed;
use crate::error::OpenError;
use crate::handle::{Beside, Cluster, Options};
use crate::net;
use crate::raft::{self, Alone, RaftStatus, Role, StartOptions, Timing};
use crate::removal::Removal;
use crate::serving::Serving;
use crate::store::{self, Lock};

/// Tells how the engine of a node stands. Never waits.
pub type StatusReader = Arc<dyn Fn() -> RaftStatus + Send + Sync>;

/// A node whose engine runs, and whose start the cluster has not counted yet: without a leader it can't. Dropping it
/// ends the node.
pub struct Starting {
    node: raft::Starting,
    beside: Beside,
}

impl Starting {
    /// Opens the state; see [`Cluster::begin`].
    pub(crate) fn begin(options: Options, wait_max: Option<Duration>) -> Result<Self, OpenError> {
        store::create_private_dir(&options.data_dir)?;
        let lock = Lock::take(&options.data_dir)?;
        let dir = options.data_dir.join("cluster");
        store::create_private_dir(&dir)?;
        let clock = options.clock;
        let Some(network) = &options.network else {
            let key = store::read_or_create_key(&dir)?;
            let start = StartOptions {
                dir,
                clock,
                name: options.node,
                address: String::new(),
                role: Role::Founder,
                timing: Timing::ALONE,
                wait_max,
                key: key.clone(),
                removal: Removal::default(),
                guards: options.guards,
            };
            return Ok(Self {
                node: raft::start(start, Alone, lock)?,
                beside: Beside {
                    fetcher: None,
                    serving: Serving::default(),
                    others: None,
                    spends: None,
                    agreed: Agreed::default(),
                    removal: Removal::default(),
                    key,
                },
            });
        };
        let prepared = net::prepare(
            network,
            &dir,
            options.node.as_str(),
            (clock, &options.guards),
        )?;
        let start = StartOptions {
            dir,
            clock,
            name: options.node,
            address: prepared.address,
            role: prepared.role,
            timing: Timing::CLUSTER,
            wait_max,
            key: prepared.key.clone(),
            removal: prepared.removal.clone(),
            guards: options.guards,
        };
        Ok(Self {
            node: raft::start(start, prepared.net, lock)?,
            beside: Beside {
                fetcher: Some(prepared.fetcher),
                serving: prepared.serving,
                others: Some(prepared.others),
                spends: Some(prepared.spends),
                agreed: prepared.agreed,
                removal: prepared.removal,
                key: prepared.key,
            },
        })
    }

    /// How its engine stands, now and later.
    pub fn status(&self) -> StatusReader {
        let engine = self.node.engine().clone();
        Arc::new(move || engine.status())
    }

    /// Waits until the node has taken its place in the cluster.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it never will.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the node.
    pub async fn joined(self) -> Result<Cluster, OpenError> {
        let running = self.node.joined().await?;
        Ok(Cluster::new(running, self.beside))
    }

    /// As [`Self::joined`], but blocks.
    pub(crate) fn wait(self) -> Result<Cluster, OpenError> {
        let running = self.node.wait()?;
        Ok(Cluster::new(running, self.beside))
    }
}

impl std::fmt::Debug for Starting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starting").finish_non_exhaustive()
    }
}
