//! `Serving`: whether this node may serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::raft::boot_time_us;

/// Whether a node may serve: it holds a lease, or is alone. Cheap to clone, and to ask.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// End of the lease, in microseconds of [`boot_time`]. `None` for a node that is alone, which needs none.
    until_us: Option<Arc<AtomicU64>>,
}

impl Serving {
    /// Of a node that needs a lease and has none yet.
    pub(crate) fn leased() -> Self {
        Self {
            until_us: Some(Arc::default()),
        }
    }

    /// Whether it may serve at this moment.
    pub fn is_on(&self) -> bool {
        let Some(until_us) = &self.until_us else {
            return true;
        };
        boot_time().as_micros() < u128::from(until_us.load(Ordering::Acquire))
    }

    /// What is left of the lease; `None` for a node that needs none.
    pub fn left(&self) -> Option<Duration> {
        let until = Duration::from_micros(self.until_us.as_ref()?.load(Ordering::Acquire));
        Some(until.saturating_sub(boot_time()))
    }

    /// The lease ends then.
    pub(crate) fn until(&self, until: Duration) {
        if let Some(until_us) = &self.until_us {
            let us = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
            until_us.store(us, Ordering::Release);
        }
    }
}

/// Time since the machine was started; it goes on while the machine sleeps.
pub(crate) fn boot_time() -> Duration {
    Duration::from_micros(boot_time_us())
}
