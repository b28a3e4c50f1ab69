//! Brings the records of this node into the log of the cluster, and what earlier lives of it have left.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lockgate_cluster::audit::AuditCommand;
use lockgate_cluster::{Alarm, Cluster, ProposeError};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::gather::Gathering;
use super::ledger::{Batch, Ledger};
use super::spool::{Leftover, leftovers};
use crate::config::{AuditMode, AuditSync};

/// Records that come within this time go together, where nobody waits for them: a command, its sync and the checkpoint
/// behind it cost as much for few records as for many.
const COALESCE: Duration = Duration::from_millis(20);
/// Records are on the disk after this time and one sync, where nobody waits for that. The 10 ms that the configuration
/// promises have room for the sync that is under way when they come, and for their own.
const SYNC_AFTER: Duration = Duration::from_millis(5);
/// Between attempts while the cluster takes nothing.
const RETRY: Duration = Duration::from_millis(200);
/// Lines of one command.
const LINES_MAX: usize = 512;

/// Brings records into the log until it is aborted.
pub async fn ship(ledger: Arc<Ledger>, cluster: Cluster) {
    let are_awaited = ledger.mode() == AuditMode::Quorum;
    // Where the system gives none, records go as they come.
    let mut alarm = Alarm::new().ok();
    loop {
        ledger.to_ship.notified().await;
        // Each command costs the cluster as much as hundreds of records in it.
        let mut coalesces = !are_awaited;
        loop {
            if coalesces {
                sleep(COALESCE).await;
            }
            let Some(batch) = ledger.batch() else {
                break;
            };
            coalesces = !are_awaited && !batch.leaves_some;
            let begun = Instant::now();
            if !propose(&cluster, ledger.life(), &batch).await {
                ledger.refused();
                return;
            }
            let gathering = match batch.leaves_some {
                true => None,
                false => gathering(&ledger, &batch, begun.elapsed()),
            };
            ledger.on_committed(&batch);
            if are_awaited && let (Some(gathering), Some(alarm)) = (gathering, &mut alarm) {
                gather(&ledger, gathering, alarm).await;
            }
        }
    }
}

/// What the command behind this one waits for.
fn gathering(ledger: &Ledger, batch: &Batch, took: Duration) -> Option<Gathering> {
    let committed = batch.first + batch.count as u64 - 1;
    Gathering::behind(batch.count, (committed, ledger.status().last), took)
}

async fn gather(ledger: &Ledger, gathering: Gathering, alarm: &mut Alarm) {
    let late = alarm.until(Instant::now() + gathering.limit);
    tokio::select! {
        () = ledger.recorded(gathering.through) => {}
        () = late => {}
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

/// Brings into the log what earlier lives of this node have left in the spool, with an outcome `unknown` for every call of
/// theirs that has none. Tries until the disk and the log have taken it.
pub async fn recover(ledger: &Ledger, cluster: &Cluster) {
    loop {
        match drain(ledger, cluster).await {
            Ok(()) => return,
            Err(cause) => warn!(%cause, "audit spool of an earlier life waits"),
        }
        sleep(RETRY).await;
    }
}

async fn drain(ledger: &Ledger, cluster: &Cluster) -> io::Result<()> {
    let (node, boot) = ledger.life();
    for mut life in leftovers(ledger.dir(), boot)? {
        let n_open = life.open.len();
        if n_open > 0 {
            let view = cluster.read().await.map_err(io::Error::other)?;
            let last = view.audit().last_local_seq(node, life.boot);
            let boot = life.boot;
            life.owe(last, |local_seq, intent| {
                ledger.unknown(boot, local_seq, intent)
            })?;
        }
        if !bring(cluster, (node, life.boot), &life).await {
            error!(
                boot = life.boot,
                "records of an earlier life are refused and stay in the spool"
            );
            continue;
        }
        for path in &life.paths {
            std::fs::remove_file(path)?;
        }
        info!(
            boot = life.boot,
            records = life.lines.len(),
            unknown = n_open,
            "audit spool of an earlier life drained"
        );
    }
    Ok(())
}

/// Brings all records of an earlier life into the log. False when it never takes them.
async fn bring(cluster: &Cluster, life: (&str, u64), left: &Leftover) -> bool {
    let follows = |a: &(u64, Vec<u8>), b: &(u64, Vec<u8>)| a.0 + 1 == b.0;
    for run in left.lines.chunk_by(follows) {
        for lines in run.chunks(LINES_MAX) {
            let text: Vec<&[u8]> = lines.iter().map(|(_, line)| line.as_slice()).collect();
            let batch = Batch {
                first: lines[0].0,
                count: lines.len(),
                text: text.join(&b'\n').into(),
                leaves_some: false,
            };
            if !propose(cluster, life, &batch).await {
                return false;
            }
        }
    }
    true
}

/// Proposes a batch until it is in the log: what is there already is passed over. False when it never can be.
async fn propose(cluster: &Cluster, (node, boot): (&str, u64), batch: &Batch) -> bool {
    loop {
        let command = AuditCommand::Append {
            node: node.to_owned(),
            boot,
            first_local_seq: batch.first,
            lines: batch.lines(),
        };
        // Nobody looks for them in the view.
        match cluster.propose_unseen(command.into()).await {
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
