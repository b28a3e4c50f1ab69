//! What is read off the machine, and how figures are summed up.

mod cpu;
mod machine;
mod memory;
mod summary;

use hdrhistogram::Histogram;

pub(crate) use self::{cpu::ProcessCpu, machine::Machine, memory::Memory, summary::Summary};

/// Longest latency that is told apart, in nanoseconds: one minute.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// A histogram of nanoseconds with three significant digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3)
        // The bounds are constants that satisfy hdrhistogram: low >= 1, high >= 2 * low, digits <= 5.
        .expect("valid bounds")
}
