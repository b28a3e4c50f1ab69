//! `Serving`: whether this node may serve.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::raft::boot_time_us;

/// Whether a node may serve: it holds a lease, or is alone. Cheap to clone, and to ask.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// `None` for a node that is alone, which needs none.
    lease: Option<Arc<Lease>>,
}

#[derive(Debug, Default)]
struct Lease {
    /// Its end, in microseconds of [`boot_time`].
    until_us: AtomicU64,
    renewed: Notify,
    /// Whether the node is about to leave the cluster.
    drains: AtomicBool,
    unfinished: OnceLock<Unfinished>,
}

/// Counts what a node has begun and not finished.
struct Unfinished(Box<dyn Fn() -> u64 + Send + Sync>);

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unfinished").field(&(self.0)()).finish()
    }
}

impl Serving {
    /// Of a node that needs a lease and has none yet.
    pub(crate) fn leased() -> Self {
        Self {
            lease: Some(Arc::default()),
        }
    }

    /// Whether it may serve at this moment.
    pub fn is_on(&self) -> bool {
        let Some(lease) = &self.lease else {
            return true;
        };
        boot_time().as_micros() < u128::from(lease.until_us.load(Ordering::Acquire))
    }

    /// Waits until it may serve.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn begun(&self) {
        let Some(lease) = &self.lease else {
            return;
        };
        loop {
            let renewed = lease.renewed.notified();
            if self.is_on() {
                return;
            }
            renewed.await;
        }
    }

    /// Whether it may begin nothing new, because it is about to leave the cluster.
    pub fn is_draining(&self) -> bool {
        let drains = |lease: &Arc<Lease>| lease.drains.load(Ordering::Acquire);
        self.lease.as_ref().is_some_and(drains)
    }

    /// Tells the others, before this node leaves, how much it has begun that is not finished: calls, and records that
    /// the log lacks. The first `count` stays.
    pub fn report_unfinished(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        if let Some(lease) = &self.lease {
            let _first = lease.unfinished.set(Unfinished(Box::new(count)));
        }
    }

    /// What it has begun that is not finished; `None` while nobody counts.
    pub(crate) fn unfinished(&self) -> Option<u64> {
        let Unfinished(count) = self.lease.as_ref()?.unfinished.get()?;
        Some(count())
    }

    /// It may begin nothing new, or may again.
    pub(crate) fn drain(&self, on: bool) {
        if let Some(lease) = &self.lease {
            lease.drains.store(on, Ordering::Release);
        }
    }

    /// What is left of the lease; `None` for a node that needs none.
    pub fn left(&self) -> Option<Duration> {
        let until = Duration::from_micros(self.lease.as_ref()?.until_us.load(Ordering::Acquire));
        Some(until.saturating_sub(boot_time()))
    }

    /// The lease ends then.
    pub(crate) fn until(&self, until: Duration) {
        if let Some(lease) = &self.lease {
            let us = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
            lease.until_us.store(us, Ordering::Release);
            lease.renewed.notify_waiters();
        }
    }
}

/// Time since the machine was started; it goes on while the machine sleeps.
pub(crate) fn boot_time() -> Duration {
    Duration::from_micros(boot_time_us())
}
