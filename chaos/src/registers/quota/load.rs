//! Clients of every tenant at every node, which call without regard to what they are told, and write it down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{Client, Outcome};
use super::tenant::{TENANTS, Tenant};
use crate::clock::now_us;

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Which of [`TENANTS`].
    pub(super) tenant: usize,
    /// Node that was called.
    pub(super) node: usize,
    /// What the counting server knows it by.
    pub(super) key: String,
    pub(super) began_us: u64,
    pub(super) outcome: Outcome,
}

/// Running clients.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Vec<Call>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Refusals since a call was let through, by tenant.
    refused: [AtomicUsize; TENANTS.len()],
}

impl Load {
    /// Starts to call `nodes`, with one key for each tenant.
    pub(super) fn start(nodes: &[SocketAddr], keys: &[String]) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for (at, key) in keys.iter().enumerate() {
            for (node, address) in nodes.iter().enumerate() {
                let client = Client::new(*address, key);
                clients.spawn(call_until(client, at, node, Arc::clone(&shared)));
            }
        }
        Self { shared, clients }
    }

    /// How often in a row calls of a tenant were refused, up to now.
    pub(super) fn refused(&self, tenant: usize) -> usize {
        self.shared.refused[tenant].load(Ordering::Relaxed)
    }

    /// Ends the clients and collects what they know.
    pub(super) async fn stop(mut self) -> anyhow::Result<Vec<Call>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(calls) = self.clients.join_next().await {
            all.extend(calls.context("a client has failed")?);
        }
        all.sort_by_key(|call| call.began_us);
        Ok(all)
    }
}

async fn call_until(
    mut client: Client,
    tenant: usize,
    node: usize,
    shared: Arc<Shared>,
) -> Vec<Call> {
    let Tenant { name, pause, .. } = TENANTS[tenant];
    let mut calls = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let key = format!("{name}-{node}-{}", calls.len());
        let began_us = now_us();
        let outcome = client.count(&key).await;
        match &outcome {
            Outcome::Done => shared.refused[tenant].store(0, Ordering::Relaxed),
            Outcome::Refused { used_up: true, .. } => {
                shared.refused[tenant].fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Refused { .. } | Outcome::Failed | Outcome::Wrong(_) => {}
        }
        calls.push(Call {
            tenant,
            node,
            key,
            began_us,
            outcome,
        });
        sleep(pause).await;
    }
    calls
}
