//! When an open loop sends. A timerfd wakes the thread: tokio's timers round to a millisecond,
//! and spinning from call to call would take the core away from the upstream that shares it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::time::Instant;

/// Fixed arrival rate.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: OwnedFd,
    start: Instant,
    rate: f64,
    spin: Duration,
    n_due: u64,
}

impl Pacer {
    /// Arrivals at `rate` a second from `start` on. The timer fires `spin` before each of them;
    /// as it stays readable until it is armed again, the caller's poll loop then spins.
    pub(super) fn new(rate: f64, start: Instant, spin: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let pacer = Self {
            timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            start,
            rate,
            spin,
            n_due: 0,
        };
        pacer.arm(start)?;
        Ok(pacer)
    }

    /// When the next call is to be sent.
    fn next(&self) -> Instant {
        self.start + arrival(self.n_due, self.rate)
    }

    /// Takes the next arrival if its time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let intended = self.next();
        if intended > now {
            return None;
        }
        self.n_due += 1;
        Some(intended)
    }

    /// Lets the timer fire at the next arrival. Setting it also takes back an expiry that nobody read.
    pub(super) fn arm(&self, now: Instant) -> io::Result<()> {
        // Zero would disarm it.
        let wait = self
            .next()
            .saturating_duration_since(now + self.spin)
            .max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl AsFd for Pacer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Time of the n-th arrival; computed from the start, so that no rounding adds up.
fn arrival(n: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(n as f64 / rate)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Pacer, arrival};

    #[test]
    fn arrivals_do_not_drift() {
        assert_eq!(arrival(3_000_000, 3000.0), Duration::from_secs(1000));
        assert_eq!(arrival(1, 1000.0), Duration::from_millis(1));
    }

    #[test]
    fn calls_that_are_late_are_all_due() {
        let start = Instant::now();
        let mut pacer = Pacer::new(1000.0, start, Duration::ZERO).unwrap();
        let now = start + Duration::from_micros(2500);
        let due: Vec<_> = std::iter::from_fn(|| pacer.take_due(now)).collect();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(due, [at(0), at(1), at(2)]);
        assert_eq!(pacer.next(), at(3));
    }
}
