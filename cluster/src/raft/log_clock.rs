//! The time that a leader stamps into the entries of the log: its wall clock, which may be set back, made to go on.

use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::{error, info};

use super::engine::boot_time_us;
use crate::Clock;

/// A wall clock that is this far behind the log is worth a word.
const BEHIND_MIN: Duration = Duration::from_secs(1);

/// Stamps entries.
///
/// The parts of the machine never let their time go back: a window of a budget would be paid out twice, and records of
/// the audit log would not be in the order of their times. So where the wall clock was ahead and is set right, or a
/// leader's follows that was ahead, stamps go on from the latest one, a twentieth slower than time, until the wall
/// clock has caught up. If they stood still, no window would end before that.
pub(super) struct LogClock {
    wall: Clock,
    state: Mutex<State>,
}

/// What was stamped last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    last_ms: u64,
    /// The last stamp that the wall clock or the log gave, and when that was, by [`boot_time_us`].
    since_ms: u64,
    since_us: u64,
    /// Whether somebody was told that the clock is behind.
    is_told: bool,
}

/// What to say of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Behind(Duration),
    CaughtUp,
}

impl LogClock {
    pub(super) fn new(wall: Clock) -> Self {
        Self {
            wall,
            state: Mutex::default(),
        }
    }

    /// Milliseconds since 1970 for the next entry of a log whose latest stamp is `latest_ms`.
    pub(super) fn stamp_ms(&self, latest_ms: u64) -> u64 {
        let (at_ms, notice) = {
            let mut state = self.state.lock();
            state.stamp(self.wall_ms(), boot_time_us(), latest_ms)
        };
        match notice {
            None => {}
            Some(Notice::Behind(by)) => error!(
                seconds = by.as_secs(),
                "the clock of this node is behind the log: it was set back, or was ahead at the node that led before; \
                 windows of quotas and times of records go on from the latest time, at 95 % speed until this clock has \
                 caught up"
            ),
            Some(Notice::CaughtUp) => info!("the clock of this node has caught up with the log"),
        }
        at_ms
    }

    /// How far the latest stamp of the log is ahead of this node's wall clock.
    pub(super) fn behind(&self, latest_ms: u64) -> Duration {
        Duration::from_millis(latest_ms.saturating_sub(self.wall_ms()))
    }

    fn wall_ms(&self) -> u64 {
        let since_epoch = (self.wall)().duration_since(UNIX_EPOCH);
        u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }
}

impl State {
    fn stamp(&mut self, wall_ms: u64, now_us: u64, latest_ms: u64) -> (u64, Option<Notice>) {
        if latest_ms > self.last_ms {
            self.begin(latest_ms, now_us);
        }
        let behind = Duration::from_millis(self.last_ms.saturating_sub(wall_ms));
        if behind < BEHIND_MIN {
            // Stands still for a moment at most.
            self.begin(self.last_ms.max(wall_ms), now_us);
            let was_told = std::mem::take(&mut self.is_told);
            return (self.last_ms, was_told.then_some(Notice::CaughtUp));
        }
        let passed_us = now_us.saturating_sub(self.since_us);
        let goes_on_ms = self.since_ms + (passed_us - passed_us / 20) / 1000;
        self.last_ms = self.last_ms.max(goes_on_ms);
        let is_news = !std::mem::replace(&mut self.is_told, true);
        (self.last_ms, is_news.then_some(Notice::Behind(behind)))
    }

    fn begin(&mut self, at_ms: u64, now_us: u64) {
        self.last_ms = at_ms;
        self.since_ms = at_ms;
        self.since_us = now_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    /// Stamps at the given wall clocks, each a second after the one before, of a log that has them all.
    fn stamps(walls_ms: &[u64]) -> Vec<u64> {
        let mut state = State::default();
        let mut latest_ms = 0;
        let at = |(n, wall_ms): (u64, &u64)| {
            (latest_ms, _) = state.stamp(*wall_ms, n * 1_000_000, latest_ms);
            latest_ms
        };
        (0..).zip(walls_ms).map(at).collect()
    }

    #[test]
    fn stamps_follow_the_wall_clock() {
        assert_eq!(stamps(&[50_000, 51_000, DAY_MS]), [50_000, 51_000, DAY_MS]);
    }

    #[test]
    fn time_goes_on_when_the_clock_is_set_back() {
        let ahead = 30 * DAY_MS;
        let walls = [ahead, 1_000, 2_000, 3_000];
        let expected = [ahead, ahead + 950, ahead + 1_900, ahead + 2_850];
        assert_eq!(stamps(&walls), expected);
    }

    #[test]
    fn a_small_step_back_is_waited_for() {
        assert_eq!(
            stamps(&[50_000, 49_500, 50_400, 51_400]),
            [50_000, 50_000, 50_400, 51_400]
        );
    }

    #[test]
    fn a_step_of_minutes_is_made_up_for() {
        let step_ms = 60_000;
        let walls: Vec<u64> = (0..1300)
            .map(|n| step_ms + n * 1000 - step_ms * u64::from(n > 0))
            .collect();
        let stamps = stamps(&walls);
        assert!(stamps.is_sorted());
        assert_eq!(stamps[100], step_ms + 95_000);
        assert_eq!(stamps[1299], walls[1299]);
    }

    #[test]
    fn a_leader_goes_on_from_the_log_that_it_found() {
        let mut state = State::default();
        let behind = Notice::Behind(Duration::from_secs(4000));
        let mut stamp = |wall_ms, now_us, latest_ms| state.stamp(wall_ms, now_us, latest_ms);
        assert_eq!(
            stamp(1_000_000, 7_000_000, 5_000_000),
            (5_000_000, Some(behind))
        );
        assert_eq!(stamp(1_000_500, 7_500_000, 5_000_000), (5_000_475, None));
        assert_eq!(stamp(1_001_000, 8_000_000, 5_000_475), (5_000_950, None));
        let caught_up = stamp(6_000_000, 9_000_000, 5_000_950);
        assert_eq!(caught_up, (6_000_000, Some(Notice::CaughtUp)));
    }
}
