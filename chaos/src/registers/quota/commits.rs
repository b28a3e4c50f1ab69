//! What quotas cost the log: the counts of all nodes, read while the run goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::api::Api;
use crate::clock::now_us;

const METRIC: &str = "lockgate_quota_proposals_total";
const EVERY: Duration = Duration::from_millis(250);
/// Rates are taken over so long, beside which the moments between two readings weigh little.
const WINDOW_US: u64 = 10_000_000;

/// Reads the counts until it is stopped.
#[derive(Debug)]
pub(super) struct Commits {
    stop: Arc<AtomicBool>,
    readers: JoinSet<Series>,
}

/// Proposals of one node since the beginning of the run, each with the moment of the reading.
type Series = Vec<(u64, u64)>;

impl Commits {
    pub(super) fn start(admins: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        for admin in admins {
            readers.spawn(read_until(Api::new(vec![*admin]), Arc::clone(&stop)));
        }
        Self { stop, readers }
    }

    /// The most commits per second of any ten seconds, by all nodes.
    pub(super) async fn stop(mut self) -> anyhow::Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(series) = self.readers.join_next().await {
            all.push(series.context("a reader has failed")?);
        }
        Ok(worst_rate(&all))
    }
}

async fn read_until(mut api: Api, stop: Arc<AtomicBool>) -> Series {
    let (mut series, mut last, mut sum) = (Series::new(), None, 0);
    while !stop.load(Ordering::Relaxed) {
        if let Some(count) = api.metrics(0).await.as_deref().and_then(sum_of) {
            // A node that has started again counts from 0.
            sum += match last {
                Some(last) if count >= last => count - last,
                Some(_) => count,
                None => 0,
            };
            last = Some(count);
            series.push((now_us(), sum));
        }
        sleep(EVERY).await;
    }
    series
}

fn sum_of(text: &str) -> Option<u64> {
    let samples = text.lines().filter(|line| line.starts_with(METRIC));
    let values: Option<Vec<u64>> = samples
        .map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    values
        .filter(|values| !values.is_empty())
        .map(|values| values.iter().sum())
}

fn worst_rate(all: &[Series]) -> f64 {
    let at = |series: &Series, moment: u64| {
        let before = series.partition_point(|(read, _)| *read <= moment);
        series[..before].last().map_or(0, |(_, count)| *count)
    };
    let ends = all.iter().flatten().map(|(read, _)| *read);
    let worst = ends.map(|end| {
        let spent = all
            .iter()
            .map(|series| at(series, end) - at(series, end.saturating_sub(WINDOW_US)));
        spent.sum::<u64>()
    });
    let worst = worst.max().unwrap_or(0);
    // A few hundred at most.
    worst as f64 / (WINDOW_US as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_commands_count() {
        let text = "# TYPE lockgate_quota_proposals_total counter\n\
            lockgate_quota_proposals_total{command=\"batch\"} 12\n\
            lockgate_quota_proposals_total{command=\"expire\"} 3\n";
        assert_eq!(sum_of(text), Some(15));
        assert_eq!(sum_of("other 1\n"), None);
    }

    #[test]
    fn the_rate_is_that_of_the_worst_ten_seconds_of_all_nodes() {
        let second = |n: u64| n * 1_000_000;
        let steady: Series = (0..30).map(|n| (second(n), n * 4)).collect();
        let burst: Series = (0..30)
            .map(|n| (second(n), if n < 15 { 0 } else { 50 }))
            .collect();
        assert!((worst_rate(&[steady, burst]) - 9.0).abs() < 0.01);
    }
}
