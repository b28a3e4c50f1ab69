//! `Rounds`: lets proposals that many wait for into the log together.
//!
//! A write costs the same for one entry as for many: a message to every other node, a sync on each, an answer. Where
//! proposals come faster than that, those that come during one round go together in the next one: the engine makes one
//! write of what it is given at once. One that is alone goes at once.

mod core;

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::core::Core;
use super::types::RaftId;
use crate::alarm::Alarm;
use crate::task::spawn_named;

/// Proposals that wait to be let in; each node has few under way.
const WAITING_MAX: usize = 1024;

/// The way into a round. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    arrivals: mpsc::Sender<Arrival>,
}

/// Takes part in a round until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    _round: Arc<Round>,
}

#[derive(Debug)]
struct Arrival {
    node: RaftId,
    admit: oneshot::Sender<Pass>,
}

/// One round. It ends with the last pass to it.
#[derive(Debug)]
struct Round {
    n_ended: watch::Sender<usize>,
}

impl Drop for Round {
    fn drop(&mut self) {
        self.n_ended.send_modify(|n_ended| *n_ended += 1);
    }
}

impl Rounds {
    /// Starts what lets proposals in. It ends when this and its clones are gone.
    pub(super) fn start() -> io::Result<Self> {
        let (arrivals, receiver) = mpsc::channel(WAITING_MAX);
        let _detached = spawn_named("raft-rounds", run(receiver, Alarm::new()?));
        Ok(Self { arrivals })
    }

    /// Waits for the next round. `node`: who proposes. `None` when the engine ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: who has gone is not waited for.
    pub(super) async fn join(&self, node: RaftId) -> Option<Pass> {
        let (admit, admitted) = oneshot::channel();
        self.arrivals.send(Arrival { node, admit }).await.ok()?;
        admitted.await.ok()
    }
}

async fn run(mut arrivals: mpsc::Receiver<Arrival>, mut alarm: Alarm) {
    let (n_ended, mut ends) = watch::channel(0_usize);
    let mut n_seen = 0;
    let mut core = Core::default();
    let mut waiting = Vec::new();
    loop {
        let due = core.due();
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => take(&mut core, &mut waiting, arrival),
                None => return,
            },
            // Its sender is here.
            _changed = ends.changed() => {}
            () = alarm.until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        while let Ok(arrival) = arrivals.try_recv() {
            take(&mut core, &mut waiting, arrival);
        }
        let now = Instant::now();
        let n_now = *ends.borrow_and_update();
        core.ended(n_now - n_seen, now);
        n_seen = n_now;
        if core.due().is_some_and(|due| due <= now) {
            core.begin(now);
            let n_ended = n_ended.clone();
            let round = Arc::new(Round { n_ended });
            for admit in waiting.drain(..) {
                let pass = Pass {
                    _round: Arc::clone(&round),
                };
                // Who has gone gives it back.
                let _gone = oneshot::Sender::send(admit, pass);
            }
        }
    }
}

fn take(core: &mut Core, waiting: &mut Vec<oneshot::Sender<Pass>>, arrival: Arrival) {
    core.arrived(arrival.node, Instant::now());
    waiting.push(arrival.admit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_during_a_round_is_let_in_when_it_ends() {
        let rounds = Rounds::start().unwrap();
        let first = rounds.join(1).await.unwrap();
        let mut second = Box::pin(rounds.join(2));
        let mut third = Box::pin(rounds.join(3));
        tokio::select! {
            biased;
            _early = &mut second => panic!("let in beside the first"),
            _early = &mut third => panic!("let in beside the first"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        let (second, third) = (second.await.unwrap(), third.await.unwrap());
        assert!(Arc::ptr_eq(&second._round, &third._round));
    }

    #[tokio::test]
    async fn who_gives_up_holds_up_nobody() {
        let rounds = Rounds::start().unwrap();
        drop(Box::pin(rounds.join(1)));
        let pass = rounds.join(1).await.unwrap();
        let mut gone = Box::pin(rounds.join(2));
        tokio::select! {
            biased;
            _early = &mut gone => panic!("let in beside the first"),
            () = tokio::task::yield_now() => {}
        }
        drop((gone, pass));
        assert!(rounds.join(1).await.is_some());
    }
}
