//! Clients that read, write, and compare and set registers at random nodes, and write down what they were told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::api::Api;
use crate::linear::{Answer, Event, History, Input};
use crate::random::Random;

/// Clients at the same time.
pub(super) const CLIENTS: usize = 5;
/// Registers at the same time: fewer than clients, so that these meet.
const KEYS: usize = 3;
/// New registers are taken so often, so that no history of one grows beyond what can be judged.
const ROTATION: Duration = Duration::from_secs(5);
/// Pause of a client between two calls.
const PAUSE: Duration = Duration::from_millis(3);
/// Pause after a call that failed, so that a run without a leader is not a history of refusals.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(30);

/// Running clients.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Told>,
}

/// What the clients know of a run.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) history: History,
    /// When each answered call was answered, in order.
    pub(super) answered: Vec<Duration>,
    /// Calls in all.
    pub(super) n_calls: usize,
}

struct Client {
    number: usize,
    api: Api,
    n_nodes: usize,
    random: Random,
    start: Instant,
    is_local: bool,
    told: Told,
}

impl Load {
    /// Starts to call. Moments are counted from `start`.
    pub(super) fn start(
        nodes: &[SocketAddr],
        random: &mut Random,
        start: Instant,
        is_local: bool,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client::new(number, nodes, random.fork(), start, is_local);
            clients.spawn(client.call_until(Arc::clone(&stop)));
        }
        Self { stop, clients }
    }

    /// Ends the clients and collects what they know. Once more every register is read at every node.
    pub(super) async fn stop(
        mut self,
        nodes: &[SocketAddr],
        start: Instant,
    ) -> anyhow::Result<Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        while let Some(client) = self.clients.join_next().await {
            all.add(client.context("a client has failed")?);
        }
        let mut reader = Client::new(CLIENTS, nodes, Random::new(0), start, false);
        let keys: Vec<u32> = all.history.operations().into_keys().collect();
        for key in keys {
            for node in 0..nodes.len() {
                reader.call(node, key, Input::Read).await;
            }
        }
        all.add(reader.told);
        all.answered.sort_unstable();
        Ok(all)
    }
}

impl Told {
    fn add(&mut self, other: Self) {
        self.history.merge(other.history);
        self.answered.extend(other.answered);
        self.n_calls += other.n_calls;
    }
}

impl Client {
    fn new(
        number: usize,
        nodes: &[SocketAddr],
        random: Random,
        start: Instant,
        is_local: bool,
    ) -> Self {
        Self {
            number,
            api: Api::new(nodes.to_vec()),
            n_nodes: nodes.len(),
            random,
            start,
            is_local,
            told: Told::default(),
        }
    }

    async fn call_until(mut self, stop: Arc<AtomicBool>) -> Told {
        // What it saw last of the register, to compare with.
        let mut seen: (u32, Option<u64>) = (0, None);
        while !stop.load(Ordering::Relaxed) {
            let round = self.start.elapsed().as_secs() / ROTATION.as_secs();
            let key = u32::try_from(round).unwrap_or_default() * KEYS as u32
                + self.random.below(KEYS) as u32;
            if seen.0 != key {
                seen = (key, None);
            }
            // Every value is written once, so that a read tells which write it saw.
            let new = (self.told.n_calls * CLIENTS + self.number) as u64;
            let input = match self.random.below(10) {
                0..5 => Input::Read,
                5..7 => Input::Write(new),
                _ => Input::Cas {
                    expected: seen.1,
                    new,
                },
            };
            let node = self.random.below(self.n_nodes);
            match (self.call(node, key, input).await, input) {
                (Event::Completed(Answer::Value(value)), _) => seen.1 = value,
                (Event::Completed(Answer::Written | Answer::Set(true)), _) => seen.1 = Some(new),
                (Event::Completed(Answer::Set(false)), _) => {}
                _ => sleep(PAUSE_AFTER_FAILURE).await,
            }
            sleep(PAUSE).await;
        }
        self.told
    }

    async fn call(&mut self, node: usize, key: u32, input: Input) -> Event {
        let begin = self.start.elapsed();
        let invoked = Event::Invoked(input);
        self.told.history.record(self.number, key, begin, invoked);
        let event = self.api.call(node, key, input, self.is_local).await;
        let end = self.start.elapsed();
        self.told.history.record(self.number, key, end, event);
        self.told.n_calls += 1;
        if matches!(event, Event::Completed(_)) {
            self.told.answered.push(end);
        }
        event
    }
}
