//! A histogram with fixed buckets. Threads write to shards of their own, so that they don't fight for a cache line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Buckets of the largest scale, `+Inf` included.
const BUCKETS_MAX: usize = 19;
/// More shards than this cost memory in every series and win nothing that was measured.
const SHARDS_MAX: usize = 8;

/// What a histogram counts: its buckets and its unit.
#[derive(Debug)]
pub(super) struct Scale {
    /// Upper bounds, inclusive, ascending, as number and as the text of `le`.
    pub(super) bounds: &'static [(u64, &'static str)],
    /// Values are divided by this before they are summed, so that the sum does not overflow in the life of a node.
    sum_divisor: u64,
    /// Decimal digits of the sum in the unit of `le`.
    sum_decimals: u32,
}

/// Values in nanoseconds, shown in seconds; the sum counts microseconds.
pub(super) static DURATION: Scale = Scale {
    bounds: &[
        (100_000, "0.0001"),
        (250_000, "0.00025"),
        (500_000, "0.0005"),
        (1_000_000, "0.001"),
        (2_500_000, "0.0025"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (25_000_000, "0.025"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
        (250_000_000, "0.25"),
        (500_000_000, "0.5"),
        (1_000_000_000, "1"),
        (2_500_000_000, "2.5"),
        (5_000_000_000, "5"),
        (10_000_000_000, "10"),
        (30_000_000_000, "30"),
        (60_000_000_000, "60"),
    ],
    sum_divisor: 1_000,
    sum_decimals: 6,
};

/// Bytes.
pub(super) static SIZE: Scale = Scale {
    bounds: &[
        (256, "256"),
        (1 << 10, "1024"),
        (4 << 10, "4096"),
        (16 << 10, "16384"),
        (64 << 10, "65536"),
        (256 << 10, "262144"),
        (1 << 20, "1048576"),
        (4 << 20, "4194304"),
        (16 << 20, "16777216"),
    ],
    sum_divisor: 1,
    sum_decimals: 0,
};

const _: () = assert!(DURATION.bounds.len() < BUCKETS_MAX && SIZE.bounds.len() < BUCKETS_MAX);

/// Counts of values by bucket, and their sum.
#[derive(Debug)]
pub(super) struct Histogram {
    scale: &'static Scale,
    shards: Box<[Shard]>,
}

/// Aligned to two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    counts: [AtomicU64; BUCKETS_MAX],
    sum: AtomicU64,
}

/// A histogram at one moment, as the text format wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading<'a> {
    /// `le` and how many values were not larger; without `+Inf`.
    pub(super) cumulative: Vec<(&'a str, u64)>,
    /// All values.
    pub(super) count: u64,
    /// Their sum in the unit of `le`.
    pub(super) sum: String,
}

impl Histogram {
    pub(super) fn new(scale: &'static Scale) -> Self {
        let shards = (0..n_shards()).map(|_| Shard::default()).collect();
        Self { scale, shards }
    }

    /// Counts one value.
    pub(super) fn observe(&self, value: u64) {
        // There is at least one shard, and no index is larger than their number.
        let Some(shard) = self.shards.get(my_shard(self.shards.len())) else {
            return;
        };
        let bucket = self.scale.bounds.partition_point(|(le, _)| *le < value);
        if let Some(count) = shard.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let divisor = self.scale.sum_divisor;
        let rounded = value.saturating_add(divisor / 2) / divisor;
        shard.sum.fetch_add(rounded, Ordering::Relaxed);
    }

    /// Reads all shards. Count and buckets agree with each other, whatever is written meanwhile.
    pub(super) fn read(&self) -> Reading<'static> {
        let mut counts = [0; BUCKETS_MAX];
        let mut sum: u64 = 0;
        for shard in &self.shards {
            for (total, count) in counts.iter_mut().zip(&shard.counts) {
                *total += count.load(Ordering::Relaxed);
            }
            sum = sum.wrapping_add(shard.sum.load(Ordering::Relaxed));
        }
        let mut seen = 0;
        let bounds = self.scale.bounds.iter().zip(counts);
        let cumulative = bounds
            .map(|((_, le), count)| {
                seen += count;
                (*le, seen)
            })
            .collect();
        Reading {
            cumulative,
            count: counts.iter().sum(),
            sum: decimal(sum, self.scale.sum_decimals),
        }
    }
}

fn n_shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        threads.next_power_of_two().min(SHARDS_MAX)
    })
}

/// Threads take shards in turn, when they write for the first time.
fn my_shard(n_shards: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // While a thread ends it has no number any more; the first shard takes what it still writes.
    MINE.try_with(|mine| mine % n_shards).unwrap_or(0)
}

fn decimal(value: u64, decimals: u32) -> String {
    let unit = 10_u64.pow(decimals);
    match decimals {
        0 => value.to_string(),
        _ => format!(
            "{}.{:0width$}",
            value / unit,
            value % unit,
            width = decimals as usize
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scale: &'static Scale, value: u64, le: Option<&str>, sum: &str) {
        let histogram = Histogram::new(scale);
        histogram.observe(value);
        let reading = histogram.read();
        let first = reading.cumulative.iter().find(|(_, count)| *count == 1);
        assert_eq!(first.map(|(le, _)| *le), le);
        assert_eq!((reading.count, &*reading.sum), (1, sum));
    }

    #[test]
    fn a_value_falls_into_the_first_bucket_that_is_not_smaller() {
        check(&DURATION, 0, Some("0.0001"), "0.000000");
        check(&DURATION, 100_000, Some("0.0001"), "0.000100");
        check(&DURATION, 100_001, Some("0.00025"), "0.000100");
        check(&DURATION, 60_000_000_000, Some("60"), "60.000000");
        check(&DURATION, 60_000_000_001, None, "60.000000");
        check(&SIZE, 257, Some("1024"), "257");
        check(&SIZE, 1 << 30, None, "1073741824");
    }

    #[test]
    fn the_text_of_a_bound_is_its_value() {
        for (scale, unit) in [(&DURATION, 1e9), (&SIZE, 1.0)] {
            for (le, text) in scale.bounds {
                let shown: f64 = text.parse().unwrap();
                assert!((shown * unit - *le as f64).abs() < 0.5, "{text}");
            }
            assert!(scale.bounds.is_sorted_by(|(a, _), (b, _)| a < b));
        }
    }

    #[test]
    fn all_threads_are_in_the_sum() {
        let histogram = Histogram::new(&DURATION);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| histogram.observe(2_000_000)));
            }
        });
        let reading = histogram.read();
        assert_eq!((reading.count, &*reading.sum), (4_000, "8.000000"));
    }
}
