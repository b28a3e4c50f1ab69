//! Clients that call without pause, each at one node, and come back when that is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::{Client, Outcome};
use crate::world::KEY;

/// Clients of each node.
const CLIENTS: usize = 4;
/// Pause before a node that is gone is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What the clients were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Keys of calls that were answered with their result.
    pub(super) done: Vec<String>,
    /// Calls of which the client knows nothing certain.
    pub(super) n_unknown: usize,
}

/// Running clients.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    n_answered: Arc<AtomicUsize>,
    clients: JoinSet<Told>,
}

impl Load {
    pub(super) fn start(nodes: &[SocketAddr]) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            n_answered: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..CLIENTS * nodes.len() {
            let (stop, n_answered) = (Arc::clone(&load.stop), Arc::clone(&load.n_answered));
            let node = nodes[number % nodes.len()];
            load.clients.spawn(async move {
                let mut told = Told::default();
                while !stop.load(Ordering::Relaxed) {
                    // Until the node is back.
                    if let Ok(client) = Client::open(node, Some(KEY)).await {
                        call_until(&stop, &n_answered, client, (number, &mut told)).await;
                    }
                    sleep(PAUSE).await;
                }
                told
            });
        }
        load
    }

    /// Calls that were answered with their result by now.
    pub(super) fn n_answered(&self) -> usize {
        self.n_answered.load(Ordering::Relaxed)
    }

    /// Ends the clients and collects what they know.
    pub(super) async fn stop(mut self) -> anyhow::Result<Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        while let Some(told) = self.clients.join_next().await {
            let told = told.context("a client has failed")?;
            all.done.extend(told.done);
            all.n_unknown += told.n_unknown;
        }
        Ok(all)
    }
}

/// Calls until it is told to stop, or the node gives no result.
async fn call_until(
    stop: &AtomicBool,
    n_answered: &AtomicUsize,
    mut client: Client,
    (number, told): (usize, &mut Told),
) {
    while !stop.load(Ordering::Relaxed) {
        let key = format!("c{number}-{}", told.done.len() + told.n_unknown);
        match client.count(&key).await {
            Outcome::Done => {
                n_answered.fetch_add(1, Ordering::Relaxed);
                told.done.push(key);
            }
            Outcome::NotSent { .. } => return,
            Outcome::Unknown | Outcome::Wrong(_) => {
                told.n_unknown += 1;
                return;
            }
        }
    }
}
