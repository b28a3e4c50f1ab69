//! Fetches the audit segments that this node lacks from other members.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockgate_proto::id::NodeId;
use openraft::async_runtime::WatchReceiver;
use tokio::fs;
use tokio::time::sleep;

use super::fetcher::{Fetcher, PeerFile};
use crate::audit::segment::{Manifest, SegmentError};
use crate::plane::FetchError;
use crate::raft::Engine;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// What was fetched may be wrong so often before it is set aside: its end may have been fetched while it was written.
const WRONG_MAX: u32 = 2;
/// Good checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// Why the segments are not whole after an attempt.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error("cannot keep what was fetched")]
    Keep(#[from] io::Error),
    #[error("`{0}` is not the segment that its manifest describes")]
    Differs(String),
}

/// Completes the segments whenever some are missing, until the engine ends.
pub(super) async fn complete(engine: Engine, fetcher: Fetcher) {
    let files = engine.audit().clone();
    let mut lacking = files.lacking();
    let (mut n_attempts, mut n_wrong) = (0_usize, 0);
    loop {
        // The files hold the sender, so this waits as long as nothing is missing.
        if lacking.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let others = others(&engine);
        if let Some(from) = n_attempts.checked_rem(others.len()).map(|at| others[at]) {
            n_attempts += 1;
            let tried = async {
                fetch_all(&fetcher, from, files.dir()).await?;
                files.complete().await.map_err(Failure::from)
            };
            match tried.await {
                Ok(()) => {
                    tracing::info!(%from, "audit records fetched and verified");
                    n_wrong = 0;
                    continue;
                }
                Err(Failure::Segments(error @ SegmentError::Short { .. })) => {
                    tracing::info!(%from, %error, "audit records are still missing");
                }
                Err(error @ Failure::Segments(_)) if n_wrong >= WRONG_MAX => {
                    tracing::error!(%from, %error, "audit records that were fetched are set aside");
                    n_wrong = 0;
                    let moved = files.clone();
                    let moving = tokio::task::spawn_blocking(move || moved.set_aside()).await;
                    if let Err(error) = moving.unwrap_or_else(|ended| Err(io::Error::other(ended)))
                    {
                        tracing::error!(%error, "they cannot be moved");
                    }
                }
                Err(error) => {
                    n_wrong += 1;
                    tracing::warn!(%from, %error, "audit records were not fetched");
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// The other members, the leader first.
fn others(engine: &Engine) -> Vec<NodeId> {
    let metrics = engine.raft().metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.nodes();
    let mut others: Vec<u64> = membership.map(|(id, _)| *id).collect();
    others.retain(|id| *id != engine.id());
    others.sort_by_key(|id| Some(*id) != metrics.current_leader);
    others.into_iter().map(NodeId).collect()
}

/// Fetches what a member has and `dir` lacks.
async fn fetch_all(fetcher: &Fetcher, from: NodeId, dir: &Path) -> Result<(), Failure> {
    let mut first = 0;
    while let Some(end) = fetch_sealed(fetcher, from, dir, first).await? {
        first = end;
    }
    let name = segment_name(first);
    let path = dir.join(&name);
    match fetcher.fetch(from, PeerFile::Audit(name), path).await {
        Ok(_) => {}
        Err(FetchError::NoSuchFile { .. }) => remove(&dir.join(segment_name(first))).await?,
        Err(error) => return Err(error.into()),
    }
    if let Some(new) = fetch_new(fetcher, from, dir, CHECKPOINTS).await? {
        fs::rename(new, dir.join(CHECKPOINTS)).await?;
    }
    Ok(())
}

/// Fetches the sealed segment that begins with `first` and returns where the next one begins. `None` when the member has
/// sealed none there.
async fn fetch_sealed(
    fetcher: &Fetcher,
    from: NodeId,
    dir: &Path,
    first: u64,
) -> Result<Option<u64>, Failure> {
    let name = format!("{first:020}.sealed");
    let sealed = dir.join(&name);
    if let Ok(bytes) = fs::read(&sealed).await
        && let Some(manifest) = Manifest::from_bytes(&bytes)
    {
        return Ok(Some(manifest.end()));
    }
    let Some(new) = fetch_new(fetcher, from, dir, &name).await? else {
        return Ok(None);
    };
    let manifest = Manifest::from_bytes(&fs::read(&new).await?);
    let manifest = manifest.filter(|manifest| manifest.first == first && manifest.count > 0);
    let manifest = manifest.ok_or_else(|| Failure::Differs(name.clone()))?;
    let segment = segment_name(first);
    let path = dir.join(&segment);
    let file = PeerFile::Audit(segment.clone());
    fetcher.fetch(from, file, path.clone()).await?;
    let (read, expected) = (dir.to_owned(), manifest.clone());
    let is_same = tokio::task::spawn_blocking(move || expected.describes(&read)).await;
    let is_same = is_same.map_err(io::Error::other)?;
    if !is_same.map_err(io::Error::other)? {
        remove(&path).await?;
        return Err(Failure::Differs(segment));
    }
    // The manifest last: it says that the segment is there.
    fs::rename(new, sealed).await?;
    Ok(Some(manifest.end()))
}

/// Fetches a file anew, and returns where it is. `None` when the member has none.
async fn fetch_new(
    fetcher: &Fetcher,
    from: NodeId,
    dir: &Path,
    name: &str,
) -> Result<Option<PathBuf>, Failure> {
    let path = dir.join("fetched");
    remove(&path).await?;
    let file = PeerFile::Audit(name.to_owned());
    match fetcher.fetch(from, file, path.clone()).await {
        Ok(_) => Ok(Some(path)),
        Err(FetchError::NoSuchFile { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn segment_name(first: u64) -> String {
    format!("{first:020}.seg")
}

async fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
