//! What one window of load showed.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::measure::new_histogram;

/// Counts of one target in one round.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Iterations completed in the window.
    pub(crate) n_calls: u64,
    /// Length of the window.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from the (intended) send time to the checked answer.
    pub(crate) latency: Histogram<u64>,
    /// Open loop: nanoseconds from the intended send time to the moment the generator saw it had come.
    pub(crate) lateness: Option<Histogram<u64>>,
    /// CPU time of the target's process in the window.
    pub(crate) cpu: Option<Duration>,
}

impl Sample {
    /// Nothing counted.
    pub(super) fn new(is_open_loop: bool) -> Self {
        Self {
            n_calls: 0,
            elapsed: Duration::ZERO,
            latency: new_histogram(),
            lateness: is_open_loop.then(new_histogram),
            cpu: None,
        }
    }

    /// Iterations a second.
    pub(crate) fn calls_per_second(&self) -> f64 {
        self.n_calls as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of the target a call, in microseconds.
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() * 1e6 / self.n_calls.max(1) as f64)
    }

    /// Cores that the target's process kept busy.
    pub(crate) fn busy(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / self.elapsed.as_secs_f64())
    }

    /// Latency at a quantile, in microseconds.
    pub(crate) fn latency_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Lateness of the generator at a quantile, in microseconds.
    pub(crate) fn lateness_us(&self, quantile: f64) -> Option<f64> {
        Some(self.lateness.as_ref()?.value_at_quantile(quantile) as f64 / 1e3)
    }
}
