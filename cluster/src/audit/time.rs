//! Time stamps of records: RFC 3339, UTC, milliseconds.

use std::ops::Range;

const SECS_PER_DAY: u64 = 86_400;

/// Length of a stamp in bytes. All have the same, so that they sort as text as they do in time.
pub(crate) const STAMP_BYTES: usize = 24;

/// Text of `ms` milliseconds since 1970: `2026-11-21T00:28:40.123Z`. Years have four digits.
#[must_use]
pub fn stamp(ms: u64) -> String {
    stamp_bytes(ms).iter().copied().map(char::from).collect()
}

/// As [`stamp`], in ASCII.
pub(crate) fn stamp_bytes(ms: u64) -> [u8; STAMP_BYTES] {
    let mut text = *FORM;
    fill(&mut text, ms);
    text
}

/// As [`stamp`], at the end of `out`.
pub(crate) fn push_stamp(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(FORM);
    if let Some(text) = out.last_chunk_mut() {
        fill(text, ms);
    }
}

/// What is the same in all stamps, with room for the rest.
const FORM: &[u8; STAMP_BYTES] = b"0000-00-00T00:00:00.000Z";

fn fill(text: &mut [u8; STAMP_BYTES], ms: u64) {
    let (secs, millis) = (ms / 1000, ms % 1000);
    let (year, month, day) = civil(secs / SECS_PER_DAY);
    let of_day = secs % SECS_PER_DAY;
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], of_day / 3600);
    put(&mut text[14..16], of_day / 60 % 60);
    put(&mut text[17..19], of_day % 60);
    put(&mut text[20..23], millis);
}

/// Milliseconds since 1970 of a stamp. `None` for any other text.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let number = |range: Range<usize>| text.get(range)?.parse::<u64>().ok();
    let days = days(number(0..4)?, number(5..7)?, number(8..10)?)?;
    let mut secs = days * SECS_PER_DAY;
    secs += number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let ms = secs * 1000 + number(20..23)?;
    (stamp(ms) == text).then_some(ms)
}

/// Day since 1970-01-01 (H. Hinnant, as below, `days_from_civil`).
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let of_era = year % 400;
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
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
    use super::*;

    #[test]
    fn stamps_are_those_of_the_calendar() {
        for (ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(stamp(ms), want);
        }
    }

    #[test]
    fn a_stamp_is_read_and_nothing_else() {
        for ms in [0, 951_782_400_000, 1_709_210_096_007, 4_107_542_400_000] {
            assert_eq!(parse(&stamp(ms)), Some(ms));
        }
        for text in [
            "",
            "2026-11-21",
            "2026-02-30T00:00:00.000Z",
            "2026-11-21T24:00:00.000Z",
            "2026-00-21T00:00:00.000Z",
            "2026-11-00T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2026-11-21T00:00:00.000z",
            "2026-11-21T00:00:00,000Z",
            "+026-11-21T00:00:00.000Z",
            "ää26-11-21T00:00:00.000",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_of_time_has_the_length_of_any_other() {
        assert_eq!(stamp(u64::MAX).len(), STAMP_BYTES);
    }
}
