//! Time stamps: RFC 3339, UTC, milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

const SECS_PER_DAY: u64 = 86_400;

/// Writes stamps; the text of a second is made once and used for all stamps in it.
#[derive(Debug)]
pub(crate) struct Stamp {
    second: u64,
    /// `2026-11-21T00:28:40.123Z`
    text: [u8; 24],
}

impl Stamp {
    /// Starts at 1970.
    pub(crate) fn new() -> Self {
        let mut stamp = Self {
            second: 0,
            text: *b"0000-00-00T00:00:00.000Z",
        };
        stamp.set_second(0);
        stamp
    }

    /// Text of `now`. A clock before 1970 reads as 1970.
    pub(crate) fn at(&mut self, now: SystemTime) -> &str {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since_epoch.as_secs() != self.second {
            self.set_second(since_epoch.as_secs());
        }
        put(&mut self.text[20..23], since_epoch.subsec_millis().into());
        // Made of digits and the marks above.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    fn set_second(&mut self, second: u64) {
        self.second = second;
        let (year, month, day) = civil(second / SECS_PER_DAY);
        let of_day = second % SECS_PER_DAY;
        put(&mut self.text[0..4], year);
        put(&mut self.text[5..7], month);
        put(&mut self.text[8..10], day);
        put(&mut self.text[11..13], of_day / 3600);
        put(&mut self.text[14..16], of_day / 60 % 60);
        put(&mut self.text[17..19], of_day % 60);
    }
}

/// Writes the last digits of `value`, as many as there is room for.
fn put(room: &mut [u8], mut value: u64) {
    for digit in room.iter_mut().rev() {
        // Below 10, so that it fits.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970-01-01. Counts in eras of 400 years that begin on a 1st of March, so that the
/// leap day comes last (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(millis: u64, want: &str) {
        let mut stamp = Stamp::new();
        assert_eq!(stamp.at(UNIX_EPOCH + Duration::from_millis(millis)), want);
    }

    #[test]
    fn stamps_are_those_of_the_calendar() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_210_096_007, "2024-02-29T12:34:56.007Z");
        check(1_767_225_599_000, "2025-12-31T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_stamp_follows_the_clock_back_and_forth() {
        let mut stamp = Stamp::new();
        let first = UNIX_EPOCH + Duration::from_millis(1_709_210_096_007);
        stamp.at(first + Duration::from_secs(100));
        assert_eq!(stamp.at(first), "2024-02-29T12:34:56.007Z");
        assert_eq!(
            stamp.at(UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000Z"
        );
    }
}
