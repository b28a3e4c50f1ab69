//! Clients that call without pause, and write down what they were told.

mod client;
mod history;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub(crate) use self::client::Client;
pub(crate) use self::history::{Call, History, Outcome};

/// Clients at the same time, each with a session.
const CLIENTS: usize = 6;
/// Pause of a client between two calls: hundreds of calls in each phase are enough to judge.
const PAUSE: Duration = Duration::from_millis(5);

/// Running clients.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<anyhow::Result<Vec<Call>>>,
}

impl Load {
    /// Opens the sessions and starts to call. Moments are counted from `start`.
    pub(crate) async fn start(gateway: SocketAddr, start: Instant) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client::open(gateway, None).await?;
            clients.spawn(call_until(Arc::clone(&stop), client, number, start));
        }
        Ok(Self { stop, clients })
    }

    /// Ends the clients and collects what they know.
    pub(crate) async fn stop(mut self) -> anyhow::Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            calls.extend(client??);
        }
        calls.sort_by_key(|call| call.began);
        Ok(History { calls })
    }
}

async fn call_until(
    stop: Arc<AtomicBool>,
    mut client: Client,
    number: usize,
    start: Instant,
) -> anyhow::Result<Vec<Call>> {
    let mut calls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("c{number}-{}", calls.len());
        let began = start.elapsed();
        let outcome = client.count(&key).await;
        let ended = start.elapsed();
        calls.push(Call {
            key,
            began,
            ended,
            outcome,
        });
        sleep(PAUSE).await;
    }
    Ok(calls)
}
