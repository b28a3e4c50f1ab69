//! Who gets how much when there is not enough for all.

/// Max-min fair share of number `me` in `pool`: nobody gets more than it desires, and what the modest leave is divided
/// evenly among the others. Rounded up, so that the last token goes to whoever asks first.
pub(super) fn of(pool: u64, desires: &[u64], me: usize) -> u64 {
    let mine = desires[me];
    let mut sorted = desires.to_vec();
    sorted.sort_unstable();
    let mut left = pool;
    let mut n_left = sorted.len() as u64;
    for desire in sorted {
        let even = left.div_ceil(n_left);
        if desire > even {
            return mine.min(even);
        }
        left -= desire;
        n_left -= 1;
    }
    mine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pool: u64, desires: &[u64], expected: &[u64]) {
        let got: Vec<u64> = (0..desires.len()).map(|me| of(pool, desires, me)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn all_get_what_they_desire_while_there_is_enough() {
        check(100, &[10, 20, 30], &[10, 20, 30]);
    }

    #[test]
    fn what_the_modest_leave_goes_to_the_others() {
        check(100, &[10, 200, 300], &[10, 45, 45]);
    }

    #[test]
    fn the_last_token_goes_to_whoever_asks() {
        check(1, &[5, 5, 5], &[1, 1, 1]);
        check(0, &[5, 5], &[0, 0]);
    }

    #[test]
    fn one_alone_gets_all() {
        check(7, &[9], &[7]);
    }
}
