//! Times and sizes as people write them: `100ms`, `30s`, `5m`, `1h`, `1d`; `512KiB`, `4MiB`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) usize);

/// Smallest unit first. Written in the largest that divides the value.
const TIMES: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl Time {
    /// Longest time that a key takes; keeps sums of times far from overflow.
    pub(super) const MAX: Self = Self(Duration::from_secs(366 * 86_400));

    /// Reads `30s` and the like. A number without unit is refused: nobody can tell its unit.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::read(text).filter(|time| *time <= Self::MAX)
    }

    /// Reads it, however long it is.
    pub(super) fn read(text: &str) -> Option<Self> {
        parse(text, TIMES).map(|ms| Self(Duration::from_millis(ms)))
    }
}

impl Size {
    /// Reads `4MiB` and the like.
    pub(super) fn parse(text: &str) -> Option<Self> {
        parse(text, SIZES)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
    }
}

/// A whole number and a unit, optionally with spaces between.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let fits = |unit: &&(&str, u64)| ms.is_multiple_of(u128::from(unit.1));
        // `ms` divides everything, so the fallback is never taken.
        let (name, factor) = TIMES.iter().rfind(fits).unwrap_or(&TIMES[0]);
        write!(f, "{}{name}", ms / u128::from(*factor))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("{text:?} is not a time such as 30s"))
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("{text:?} is not a size such as 4MiB"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn time(text: &str, ms: u64) {
        assert_eq!(
            Time::parse(text),
            Some(Time(Duration::from_millis(ms))),
            "{text}"
        );
    }

    #[test]
    fn times_have_units() {
        time("100ms", 100);
        time("30s", 30_000);
        time("30 s", 30_000);
        time("5m", 300_000);
        time("1h", 3_600_000);
        time("1d", 86_400_000);
        time("0s", 0);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(Size::parse("4MiB"), Some(Size(4 << 20)));
        assert_eq!(Size::parse("1KB"), Some(Size(1000)));
        assert_eq!(Size::parse("17B"), Some(Size(17)));
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1 week",
            "367d",
            "99999999999999999999s",
            "1M",
            "m1",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
        for text in ["", "4", "4M", "4 mib", "99999999999GiB"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_shown_time_reads_back(ms in 0_u64..31_622_400_000) {
            let time = Time(Duration::from_millis(ms));
            proptest::prop_assert_eq!(Time::parse(&time.to_string()), Some(time));
        }
    }
}
