//! How long everything takes.

use std::time::Duration;

use crate::{load::Window, raft::RaftPlan};

/// Clients of the replicated writes that the budget rests on.
pub(super) const WRITERS: usize = 64;

/// Lengths and counts of one suite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Rounds of every scenario.
    pub(super) rounds: usize,
    /// Closed loops of small calls, which the budget rests on.
    pub(super) small: Window,
    /// The open loop.
    pub(super) open: Window,
    /// Everything else.
    pub(super) other: Window,
    /// Sessions to weigh.
    pub(super) sessions: usize,
    /// Streams to weigh.
    pub(super) streams: usize,
    /// Starts to time.
    pub(super) starts: usize,
    /// Rounds and windows of replicated writes.
    pub(super) writes: (usize, Window),
    /// Rounds and windows of the modes of the audit log.
    pub(super) audit: (usize, Window),
    /// Whether scenarios are measured that serve only as an orientation.
    pub(super) has_extras: bool,
}

impl Plan {
    /// Two minutes, or a quarter of an hour.
    pub(super) const fn new(is_quick: bool) -> Self {
        if is_quick {
            Self {
                rounds: 3,
                small: window(200, 700),
                open: window(200, 1500),
                other: window(100, 500),
                sessions: 600,
                streams: 500,
                starts: 5,
                writes: (3, window(150, 500)),
                audit: (3, window(300, 1500)),
                has_extras: false,
            }
        } else {
            Self {
                rounds: 5,
                small: window(1000, 5000),
                open: window(1000, 10_000),
                other: window(500, 3000),
                sessions: 5000,
                streams: 2000,
                starts: 20,
                writes: (5, window(1000, 3000)),
                audit: (5, window(1000, 5000)),
                has_extras: true,
            }
        }
    }

    /// Replicated writes.
    pub(super) fn raft(&self) -> RaftPlan {
        let (rounds, window) = self.writes;
        RaftPlan {
            clients: vec![1, WRITERS, 1024],
            rounds,
            warmup: window.warmup,
            measure: window.measure,
        }
    }
}

const fn window(warmup_ms: u64, measure_ms: u64) -> Window {
    Window {
        warmup: Duration::from_millis(warmup_ms),
        measure: Duration::from_millis(measure_ms),
    }
}
