//! When a certificate counts. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::stamp::Stamp;

/// Certificates are renewed weeks before they end, or, where they live for days, when a third of their life is left.
const SOON_MAX: Duration = Duration::from_hours(7 * 24);
/// Part of a life of which it is said to end soon.
const SOON_PART: u32 = 4;

/// From when until when a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    from: SystemTime,
    until: SystemTime,
}

/// How a certificate stands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Clients that look at dates refuse it.
    NotYet,
    /// It counts.
    Good,
    /// It counts, and should have been renewed.
    EndsSoon,
    /// Clients that look at dates refuse it.
    Ended,
}

impl Standing {
    /// Whether clients take it.
    pub fn counts(self) -> bool {
        matches!(self, Self::Good | Self::EndsSoon)
    }
}

impl Validity {
    /// Dates of `certificate`. `None` when they cannot be read, which is no proof against it.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_rest, certificate) = X509Certificate::from_der(certificate).ok()?;
        let at = |seconds| u64::try_from(seconds).unwrap_or_default();
        let time = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(at(seconds)));
        let validity = certificate.validity();
        Some(Self {
            from: time(validity.not_before.timestamp())?,
            until: time(validity.not_after.timestamp())?,
        })
    }

    /// How it stands at `now`.
    pub fn standing(&self, now: SystemTime) -> Standing {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        let left = self.until.duration_since(now);
        match left {
            _ if now < self.from => Standing::NotYet,
            Err(_) => Standing::Ended,
            Ok(left) if left < SOON_MAX.min(life / SOON_PART) => Standing::EndsSoon,
            Ok(_) => Standing::Good,
        }
    }

    /// Its first and its last second.
    pub fn dates(&self) -> (SystemTime, SystemTime) {
        (self.from, self.until)
    }

    /// What it is at `now`, for people.
    pub fn said(&self, now: SystemTime) -> String {
        let shown = |time| Stamp::new().at(time).to_owned();
        match self.standing(now) {
            Standing::NotYet => format!("is not valid before {}", shown(self.from)),
            Standing::Good => format!("is valid until {}", shown(self.until)),
            Standing::EndsSoon => format!("ends soon, at {}", shown(self.until)),
            Standing::Ended => format!("has ended at {}", shown(self.until)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    #[track_caller]
    fn check(life_days: u64, now: u64, standing: Standing) {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let validity = Validity {
            from: at(1000 * DAY),
            until: at((1000 + life_days) * DAY),
        };
        assert_eq!(validity.standing(at(now)), standing);
    }

    #[test]
    fn it_counts_from_its_first_second_to_its_last() {
        check(90, 1000 * DAY - 1, Standing::NotYet);
        check(90, 1000 * DAY, Standing::Good);
        check(90, 1090 * DAY, Standing::EndsSoon);
        check(90, 1090 * DAY + 1, Standing::Ended);
    }

    #[test]
    fn it_ends_soon_a_week_before_or_in_the_last_quarter_of_a_short_life() {
        check(90, 1083 * DAY, Standing::Good);
        check(90, 1083 * DAY + 1, Standing::EndsSoon);
        check(1, 1000 * DAY + DAY * 3 / 4, Standing::Good);
        check(1, 1000 * DAY + DAY * 3 / 4 + 1, Standing::EndsSoon);
    }

    #[test]
    fn what_cannot_be_read_has_no_dates() {
        assert_eq!(Validity::of(&CertificateDer::from_slice(b"junk")), None);
    }
}
