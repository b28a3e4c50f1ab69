//! Connections to one address that wait for their next request.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::blame::Blame;
use super::connection::{Cause, Connection};
use super::connector::Connector;
use super::exchange::Exchange;
use super::head::Head;
use super::request::Request;
use crate::error::UpstreamError;
use crate::task::spawn_named;

/// Most connections that wait. More may be in use at once: calls in flight are limited elsewhere.
const IDLE_MAX: usize = 256;

/// Most connections whose answer is complete while the end of the body has yet to come.
const TAILS_MAX: usize = 256;

/// How long a connection waits when the server says nothing about it. A request that crosses the server's own idle
/// close is lost without a safe retry, so this stays below the 5 s of Node.js and uvicorn (undici waits 4 s as well).
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4);
/// No `Keep-Alive: timeout=` makes a connection wait longer.
const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Distance kept from the server's announced timeout.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// A connection that waited longer than this may have been closed without our reactor having looked: it looks then.
const REST_UNSEEN_MAX: Duration = Duration::from_millis(10);

/// Connections to one address. The one used last is used first, so that surplus ones grow old and are closed.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    blame: Blame,
    idle: Mutex<Vec<Idle>>,
    reaping: AtomicBool,
    tails: Arc<Semaphore>,
}

#[derive(Debug)]
struct Idle {
    // Boxed once, for it is handed about many times in a call.
    connection: Box<Connection>,
    since: Instant,
    until: Instant,
}

impl Pool {
    pub(super) fn new(connector: Connector, blame: Blame) -> Arc<Self> {
        Arc::new(Self {
            connector,
            blame,
            idle: Mutex::new(Vec::new()),
            reaping: AtomicBool::new(false),
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
        })
    }

    /// Sends a request and waits until `limit` after its start for the response head. A waiting connection that turns
    /// out to be closed before a byte of the request left is replaced; nothing is ever written twice.
    ///
    /// # Errors
    ///
    /// `Unreachable` when nothing was sent, `Timeout` and `Broken` when the server may have acted.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: impl Fn() -> Request,
        limit: Duration,
    ) -> Result<(Head, Exchange), UpstreamError> {
        loop {
            let (mut connection, now, fresh) = match self.take().await {
                Some((connection, now)) => (connection, now, false),
                None => (Box::pin(self.connect()).await?, Instant::now(), true),
            };
            let deadline = deadline_after(now, limit);
            let failed = match connection.send(request(), deadline).await {
                Ok(head) => {
                    let idle = idle_timeout(head.keep_alive);
                    let exchange = Exchange::new(connection, Arc::clone(self), idle);
                    return Ok((head, exchange));
                }
                Err(failed) => failed,
            };
            match (failed.cause, failed.unsent, fresh) {
                (Cause::Late, ..) => return Err(self.blame.timeout(limit)),
                (_, true, false) => {}
                (cause, true, true) => {
                    return Err(self.blame.unreachable(io::Error::other(cause)));
                }
                (cause, false, _) => return Err(self.blame.broken(cause.describe())),
            }
        }
    }

    /// Takes back a connection whose exchange is over, at rest.
    pub(super) fn put(self: &Arc<Self>, connection: Box<Connection>, idle: Duration) {
        if idle.is_zero() {
            return;
        }
        let since = Instant::now();
        let until = since + idle;
        {
            let mut waiting = self.idle.lock();
            if waiting.len() >= IDLE_MAX {
                return;
            }
            waiting.push(Idle {
                connection,
                since,
                until,
            });
        }
        if !self.reaping.swap(true, Ordering::AcqRel) {
            // Ends by itself when nothing waits any more or the pool is gone.
            drop(spawn_named("http-idle", reap(Arc::downgrade(self), until)));
        }
    }

    /// Leave to wait for the end of one more body; without it the connection is closed.
    pub(super) fn tail_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.tails).try_acquire_owned().ok()
    }

    async fn connect(&self) -> Result<Box<Connection>, UpstreamError> {
        let unreachable = |error| self.blame.unreachable(error);
        let io = self.connector.connect().await.map_err(unreachable)?;
        Ok(Box::new(Connection::new(io)))
    }

    /// One that waited, and the time.
    async fn take(&self) -> Option<(Box<Connection>, Instant)> {
        loop {
            // The statement ends the lock; a dead connection is closed outside of it.
            let idle = self.idle.lock().pop()?;
            let mut connection = idle.connection;
            let mut now = Instant::now();
            if idle.until <= now {
                continue;
            }
            if now - idle.since > REST_UNSEEN_MAX {
                // A task that yields runs again after its worker has asked the kernel for events, so a close that
                // has come by now, such as that of a restarted server, is seen before the request is at stake.
                yield_now().await;
                now = Instant::now();
            }
            if connection.is_alive() {
                return Some((connection, now));
            }
        }
    }

    /// Closes what has waited long enough; returns when to look again.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut waiting = self.idle.lock();
        let over: Vec<Idle> = waiting.extract_if(.., |idle| idle.until <= now).collect();
        let next = waiting.iter().map(|idle| idle.until).min();
        if next.is_none() {
            // Under the lock, so that a `put` which comes now starts the next reaper.
            self.reaping.store(false, Ordering::Release);
        }
        drop(waiting);
        drop(over);
        next
    }

    #[cfg(test)]
    pub(super) fn n_idle(&self) -> usize {
        self.idle.lock().len()
    }
}

/// `limit` from `now`; a limit beyond the clock's range means a month.
pub(super) fn deadline_after(now: Instant, limit: Duration) -> Instant {
    now.checked_add(limit)
        .unwrap_or_else(|| now + Duration::from_secs(30 * 24 * 3600))
}

/// Sleeps before it looks: under load the pool is empty most of the time, and would end and start this with every call.
async fn reap(pool: Weak<Pool>, first: Instant) {
    let mut next = first;
    loop {
        sleep_until(next).await;
        let Some(later) = pool.upgrade().and_then(|pool| pool.sweep()) else {
            return;
        };
        next = later;
    }
}

fn idle_timeout(announced: Option<Duration>) -> Duration {
    match announced {
        Some(timeout) => timeout.saturating_sub(IDLE_MARGIN).min(IDLE_TIMEOUT_MAX),
        None => IDLE_TIMEOUT_DEFAULT,
    }
}
