//! Randomness that spreads timers. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A number in 0..1. Each `RandomState` of the standard library hashes with other keys.
pub(crate) fn unit() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn stays_in_range_and_varies() {
        let numbers: Vec<f64> = (0..100).map(|_| super::unit()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        assert!(
            numbers
                .windows(2)
                .any(|pair| (pair[0] - pair[1]).abs() > 0.1)
        );
    }
}
