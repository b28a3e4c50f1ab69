//! Brings the records of this node into the log of the cluster, and what earlier lives of it have left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockgate_cluster::audit::{AuditCommand, Kind};
use lockgate_cluster::{Cluster, ProposeError};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::ledger::{Batch, Ledger};
use super::spool::leftovers;
use crate::config::{AuditMode, AuditSync};

/// Records that come within this time go together, where nobody waits for them.
const COALESCE: Duration = Duration::from_millis(5);
/// Records are on the disk after this time and one sync, where nobody waits for that.
const SYNC_AFTER: Duration = Duration::from_millis(5);
/// Between attempts while the cluster takes nothing.
const RETRY: Duration = Duration::from_millis(200);
/// Lines of one command.
const LINES_MAX: usize = 512;

/// Brings records into the log until it is aborted.
pub async fn ship(ledger: Arc<Ledger>, cluster: Cluster) {
    loop {
        ledger.to_ship.notified().await;
        if ledger.mode() != AuditMode::Quorum {
            sleep(COALESCE).await;
        }
        while let Some(batch) = ledger.batch() {
            if !propose(&cluster, ledger.life(), &batch).await {
                ledger.refused();
                return;
            }
            ledger.committed(&batch);
        }
    }
}

/// Makes the spool durable in groups, until it is aborted.
pub async fn keep_synced(ledger: Arc<Ledger>) {
    loop {
        ledger.to_sync.notified().await;
        if ledger.sync_mode() == AuditSync::Group {
            sleep(SYNC_AFTER).await;
        }
        let syncing = Arc::clone(&ledger);
        // A disk that refuses is asked again, not at once.
        if tokio::task::spawn_blocking(move || syncing.sync())
            .await
            .is_err()
        {
            return;
        }
        if !ledger.is_healthy() {
            sleep(RETRY).await;
        }
    }
}

/// Brings into the log what earlier lives of this node have left in `dir`, and closes every call of theirs that has no
/// outcome as `unknown`.
///
/// # Errors
///
/// The spool can't be read.
pub async fn recover(ledger: &Ledger, cluster: &Cluster, dir: &Path) -> std::io::Result<()> {
    let (node, boot) = ledger.life();
    'lives: for life in leftovers(dir, boot)? {
        let (n_lines, n_open) = (life.lines.len(), life.open.len());
        for (n, lines) in life.lines.chunks(LINES_MAX).enumerate() {
            let batch = Batch {
                first: life.first + (n * LINES_MAX) as u64,
                lines: lines.to_vec(),
            };
            if !propose(cluster, (node, life.boot), &batch).await {
                error!(
                    boot = life.boot,
                    "records of an earlier life are refused and stay in the spool"
                );
                continue 'lives;
            }
        }
        for intent in &life.open {
            let args = format!("{{\"boot\":{}}}", life.boot);
            ledger.tell(None, Kind::Call, |record| {
                record.intent = Some(*intent);
                record.status = Some("unknown");
                record.args = Some(&args);
            });
        }
        // What closes them must be in the log before the debts are forgotten.
        if n_open > 0 {
            while let Some(batch) = ledger.batch() {
                if !propose(cluster, ledger.life(), &batch).await {
                    break;
                }
                ledger.committed(&batch);
            }
        }
        for path in &life.paths {
            std::fs::remove_file(path)?;
        }
        info!(
            boot = life.boot,
            records = n_lines,
            unknown = n_open,
            "audit spool of an earlier life drained"
        );
    }
    Ok(())
}

/// Proposes a batch until it is in the log: what is there already is passed over. False when it never can be.
async fn propose(cluster: &Cluster, (node, boot): (&str, u64), batch: &Batch) -> bool {
    loop {
        let command = AuditCommand::Append {
            node: node.to_owned(),
            boot,
            first_local_seq: batch.first,
            lines: batch.lines.clone(),
        };
        match cluster.propose(command.into()).await {
            Ok(_appended) => return true,
            Err(ProposeError::Refused(refusal)) => {
                error!(boot, first = batch.first, %refusal, "audit records are refused");
                return false;
            }
            Err(ProposeError::Closed) => return false,
            Err(cause) => warn!(%cause, "audit records wait for the cluster"),
        }
        sleep(RETRY).await;
    }
}
