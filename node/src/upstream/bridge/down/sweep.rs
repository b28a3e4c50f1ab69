//! The end of what nobody came back for: idle sessions, and calls whose clients did not answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::task::spawn_named;
use crate::upstream::shared::Shared;

use super::bridge::Bridge;
use super::call::Call;
use super::owned::Owned;
use super::shelf::Running;

/// How often idle sessions and calls without clients are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for a server that is taken out to hear that its calls are over.
const PARTING_WAIT: Duration = Duration::from_secs(1);

impl Bridge {
    pub(super) fn keep_swept(&self, shared: &Arc<Shared>) {
        if self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::downgrade(shared);
        // Ends when there is nothing left to look after, or with the server.
        drop(spawn_named("sweep of bridged sessions", async move {
            loop {
                sleep(SWEEP_INTERVAL).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if shared.down.sweep() {
                    return;
                }
            }
        }));
    }

    /// Ends what nobody came back for. Whether nothing is left.
    fn sweep(&self) -> bool {
        give_up(self.shelf.expire(), "the client did not answer in time");
        self.desk.expire();
        close_all(self.registry.idle());
        let is_done = || self.shelf.is_swept() && self.registry.is_empty() && self.desk.is_empty();
        if !is_done() {
            return false;
        }
        self.sweeping.store(false, Ordering::Release);
        // Whoever came in between saw a sweep under way.
        is_done() || self.sweeping.swap(true, Ordering::AcqRel)
    }

    /// Ends everything, for good.
    pub(in crate::upstream) async fn end(&self) {
        self.shelf.close();
        self.desk.clear();
        let parked = self.shelf.clear().into_iter();
        let told = join_all(parked.map(|running| part(running, "the server was removed")));
        // What the server does not take by then it learns from the end of its sessions.
        let _in_time = timeout(PARTING_WAIT, told).await;
        let closing = self.registry.end();
        let closing = closing.iter().map(|owned| owned.close());
        join_all(closing).await;
    }
}

/// Tells the server of each call that its client does not come back.
pub(super) fn give_up(calls: Vec<Running>, why: &'static str) {
    for running in calls {
        // Ends when the server has taken it, within the limit of every notification.
        drop(spawn_named("end of a parked call", part(running, why)));
    }
}

/// Refuses what the server asked, and cancels its call.
async fn part(mut running: Running, why: &'static str) {
    let hold = &mut running.line.hold;
    for refusal in running.call.refuse_asked(why) {
        let _server_gone = hold.owned.send(refusal).await;
    }
    let _server_gone = hold.owned.send(Call::cancelled(running.call.n, why)).await;
    hold.end();
}

pub(super) fn close_all(sessions: impl IntoIterator<Item = Arc<Owned>>) {
    for owned in sessions {
        // Bounded by the transport.
        drop(spawn_named("end of an owned session", async move {
            owned.close().await;
        }));
    }
}
