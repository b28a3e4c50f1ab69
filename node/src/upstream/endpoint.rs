//! One address of a server with everything that is counted about it. Read and written by calls, without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use crate::error::UpstreamError;

use super::balance::View;
use super::breaker::BreakerHandle;
use super::far::Far;
use super::shared::LastError;

/// Shared by all calls to one address.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Position in the configuration.
    pub(super) index: usize,
    /// URL, or the command.
    pub(super) label: Box<str>,
    /// Transport.
    pub(super) far: Far,
    /// Its breaker.
    pub(super) breaker: BreakerHandle,
    weight: u32,
    in_flight: AtomicU32,
    healthy: AtomicBool,
    began: Instant,
    /// Milliseconds from `began` to the last answer.
    answered_ms: AtomicU64,
    last_failure: ArcSwapOption<LastError>,
}

impl Endpoint {
    /// Taken for healthy until somebody finds otherwise.
    pub(super) fn new(
        index: usize,
        label: Box<str>,
        weight: u32,
        far: Far,
        breaker: BreakerHandle,
    ) -> Self {
        Self {
            index,
            label,
            far,
            breaker,
            weight,
            in_flight: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
            began: Instant::now(),
            answered_ms: AtomicU64::new(0),
            last_failure: ArcSwapOption::empty(),
        }
    }

    /// As a chooser sees it.
    pub(super) fn view(&self, tried: bool) -> View {
        View {
            healthy: self.is_healthy(),
            gate: self.breaker.gate(),
            in_flight: self.in_flight(),
            weight: self.weight,
            tried,
        }
    }

    /// Whether the last sign of it was a good one.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Notes a sign of life, or of its absence.
    pub(super) fn set_healthy(&self, healthy: bool) {
        // The read keeps the cache line shared among calls while nothing changes.
        if self.is_healthy() != healthy {
            self.healthy.store(healthy, Ordering::Relaxed);
        }
    }

    /// Calls in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Notes an answer.
    pub(super) fn answered(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.began).as_millis();
        self.answered_ms
            .store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Keeps a failure that the breaker counts, for those whom the breaker refuses later.
    pub(super) fn note_failure(&self, error: &UpstreamError) {
        self.last_failure
            .store(Some(Arc::new(LastError::now(error))));
    }

    /// The last of them.
    pub(super) fn last_failure(&self) -> Option<LastError> {
        self.last_failure.load().as_deref().cloned()
    }

    /// Time since the last answer, or since the start.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        let answered = Duration::from_millis(self.answered_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.began)
            .saturating_sub(answered)
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
