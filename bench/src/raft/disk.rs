//! What the disk alone takes to make a little durable.

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    orders::{Counted, Order},
    writers::nanos,
};
use crate::{
    error::{Error, Result},
    measure::new_histogram,
};

/// Bytes of one append: a page, which is what a small batch comes to.
const APPEND_BYTES: usize = 4096;

/// Appends and syncs, one after the other, to a file in `directory`.
pub(super) fn measure(directory: &Path, order: Order) -> Result<Counted> {
    let path = directory.join("disk");
    let failed = || Error::io(format!("write {}", path.display()));
    let mut file = File::create(&path).map_err(failed())?;
    let mut latency = new_histogram();
    let (begun, mut n_syncs) = (Instant::now(), 0);
    while begun.elapsed() < order.measure() {
        let before = Instant::now();
        file.write_all(&[b'd'; APPEND_BYTES])
            .and_then(|()| file.sync_data())
            .map_err(failed())?;
        latency.saturating_record(nanos(before.elapsed()));
        n_syncs += 1;
    }
    let quantile = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Counted {
        writes: n_syncs,
        writes_in_all: n_syncs,
        elapsed_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        syncs: n_syncs,
    })
}

/// Median time of one such append in `directory`, over `time`.
pub(crate) fn fdatasync_us(directory: &Path, time: Duration) -> Result<f64> {
    let order = Order {
        clients: 1,
        warmup_ms: 0,
        measure_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    };
    Ok(measure(directory, order)?.p50_us)
}
