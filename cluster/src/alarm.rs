//! `Alarm`: a timer for waits of less than a millisecond, which the runtime's own rounds up.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// A timer of the system. It is the runtime's whose thread made it.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// When it rings, if it is set.
    set: Option<Instant>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    ///
    /// The system gives no timer: too many files are open.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; unsound is only a descriptor that changes or closes early, which this can't"
    )]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: AsyncFd::new(timer)?,
            set: None,
        })
    }

    /// Waits until `at`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Asked for the same time again, it goes on without a call of the system.
    pub async fn until(&mut self, at: Instant) {
        let rung = async {
            self.set(at)?;
            loop {
                let mut ready = self.timer.readable().await?;
                // How often it has rung.
                let mut times = [0; 8];
                let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut times)?));
                match read {
                    Ok(read) => break read,
                    Err(_it_was_an_earlier_one) => {}
                }
            }
        };
        let rung: io::Result<usize> = rung.await;
        self.set = None;
        if rung.is_err() {
            sleep_until(at).await;
        }
    }

    fn set(&mut self, at: Instant) -> Result<(), Errno> {
        if self.set == Some(at) {
            return Ok(());
        }
        // Zero would mean never.
        let left = at.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.set = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_no_earlier_than_it_was_set_to_last() {
        let mut alarm = Alarm::new().unwrap();
        let begun = Instant::now();
        let given_up = tokio::select! {
            biased;
            () = alarm.until(begun + Duration::from_micros(1)) => false,
            () = std::future::ready(()) => true,
        };
        assert!(given_up);
        for us in [300, 2_000] {
            let at = Instant::now() + Duration::from_micros(us);
            alarm.until(at).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn it_rings_at_once_for_what_is_past() {
        let mut alarm = Alarm::new().unwrap();
        alarm.until(Instant::now()).await;
    }
}
