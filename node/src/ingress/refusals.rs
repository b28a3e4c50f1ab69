//! Audit lines about refused credentials, so few that a flood of them cannot push out other lines.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::audit::Audit;

/// Lines in one second.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Counts refusals, and lets some of them into the audit log.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    written: u32,
    /// Refusals without a line since the last line.
    skipped: u64,
}

impl Window {
    /// How many refusals were left out before this one, if this one gets a line.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let over = self
            .since
            .is_none_or(|since| now.duration_since(since) >= SECOND);
        if over {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written == LINES_MAX {
            self.skipped += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

impl Refusals {
    /// Records that somebody at `peer` was refused for `why`.
    pub(super) fn note(&self, audit: &Audit, peer: IpAddr, why: &str) {
        let Some(skipped) = self.0.lock().admit(Instant::now()) else {
            return;
        };
        let peer = peer.to_string();
        match skipped {
            0 => audit.credential_refused(why, &peer),
            _ => {
                let why = format!("{why}; {skipped} more refusals came before without a line");
                audit.credential_refused(&why, &peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_ten_lines_a_second_and_is_counted() {
        let (mut window, start) = (Window::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(window.admit(start), Some(0));
        }
        for millis in [0, 500, 999] {
            assert_eq!(window.admit(start + Duration::from_millis(millis)), None);
        }
        assert_eq!(window.admit(start + SECOND), Some(3));
        assert_eq!(window.admit(start + SECOND), Some(0));
    }
}
