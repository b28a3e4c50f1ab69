//! A clock that all processes of this machine share, so that moments seen by two of them can be compared.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine was started.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither part is negative, and a microsecond of a thousand centuries fits.
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
