//! How soon what was changed at one node is served by the others.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::fault::RECOVERY_MAX;
use crate::invariant::Verdict;
use crate::load::Client;

/// Changes made.
const CHANGES: usize = 30;
/// Between two calls with a key that a node does not know yet.
const POLL: Duration = Duration::from_millis(1);
/// What the median may be.
const MEDIAN_MAX: Duration = Duration::from_millis(100);

/// Makes keys at the nodes in turn, and opens sessions with them at the others. Returns, by change, how long it took from
/// the answer to the operator until the slowest of the others served a caller with that key.
pub(super) async fn measure(api: &mut Api, nodes: &[SocketAddr]) -> anyhow::Result<Vec<Duration>> {
    let mut taken = Vec::new();
    for change in 0..CHANGES {
        let at = change % nodes.len();
        let made =
            json!({"id": format!("spread{change}"), "principal": "spread", "roles": ["all"]});
        let made = api.operate(at, "/api/v1/keys", &made).await?;
        let key = made["key"].as_str().context("no key")?;
        let begin = Instant::now();
        for (_, node) in nodes.iter().enumerate().filter(|(other, _)| *other != at) {
            while Client::open(*node, Some(key)).await.is_err() {
                ensure!(begin.elapsed() < RECOVERY_MAX, "{node} takes no new key");
                sleep(POLL).await;
            }
        }
        taken.push(begin.elapsed());
    }
    Ok(taken)
}

/// S: what one node was told, the others know.
pub(super) fn judge(taken: &[Duration]) -> Verdict {
    let mut sorted = taken.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied();
    let worst = sorted.last().copied().unwrap_or_default();
    Verdict {
        letter: "S",
        invariant: "a change made at one node is served by the others within 100 ms (median)",
        holds: median.is_some_and(|median| median <= MEDIAN_MAX),
        seen: format!(
            "median {} ms, worst {} ms of {} changes",
            median.unwrap_or_default().as_millis(),
            worst.as_millis(),
            sorted.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides_and_no_change_proves_nothing() {
        let ms = Duration::from_millis;
        assert!(judge(&[ms(900), ms(1), ms(100)]).holds);
        assert!(!judge(&[ms(1), ms(101), ms(900)]).holds);
        assert!(!judge(&[]).holds);
    }
}
