//! How much a key may spend.

/// How much a key may spend. Tokens are requests, or millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A token bucket: `amount` tokens flow in per `per_us` microseconds, at most `burst` are there at once.
    Rate {
        /// Tokens that flow in.
        amount: u64,
        /// In how many microseconds. Not 0.
        per_us: u64,
        /// Most tokens at once.
        burst: u64,
    },
    /// At most `amount` tokens in each window. Windows are counted from 1970 on the leader's wall clock, so a window of
    /// a day is a day in UTC.
    Budget {
        /// Tokens of one window.
        amount: u64,
        /// Length of a window, in milliseconds. Not 0.
        window_ms: u64,
    },
}

impl Limit {
    /// Most tokens that can be there at once.
    pub fn capacity(self) -> u64 {
        match self {
            Self::Rate { burst, .. } => burst,
            Self::Budget { amount, .. } => amount,
        }
    }

    /// Whether it can be computed with.
    pub(super) fn is_valid(self) -> bool {
        match self {
            Self::Rate { per_us: 0, .. } | Self::Budget { window_ms: 0, .. } => false,
            Self::Rate { .. } | Self::Budget { .. } => self.capacity() <= Self::CAPACITY_MAX,
        }
    }

    /// Keeps sums of levels and grants far from overflow: a billion dollars, in millionths.
    const CAPACITY_MAX: u64 = 1_000_000_000_000_000;
}
