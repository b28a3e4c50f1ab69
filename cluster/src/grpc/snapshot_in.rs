//! Receives a snapshot into a draft, and hands it on only when it is whole.

use std::io::{self, Write};

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{Stream, StreamExt};
use lockgate_proto::peer::v1 as pb;
use lockgate_proto::peer::v1::snapshot_part::Part;
use tokio::task::spawn_blocking;
use tonic::Status;

use crate::raft::{Draft, SnapshotFile};

/// Writes what follows a snapshot's head into `draft`. `Ok` means that every byte arrived, fits the checksum and is on
/// the disk; otherwise the draft goes, and its file with it.
pub(super) async fn receive(
    mut parts: impl Stream<Item = Result<pb::SnapshotPart, Status>> + Unpin,
    size: u64,
    mut draft: Draft,
    still_welcome: impl Fn() -> Result<(), Status>,
) -> Result<SnapshotFile, Status> {
    let mut hash = Context::new(&SHA256);
    let mut left = size;
    while let Some(part) = parts.next().await {
        still_welcome()?;
        match part?.part {
            Some(Part::Chunk(chunk)) => {
                left = left
                    .checked_sub(chunk.len() as u64)
                    .ok_or_else(|| Status::invalid_argument("snapshot is longer than it said"))?;
                hash.update(&chunk);
                draft = on_disk(move || draft.write_all(&chunk).map(|()| draft)).await?;
            }
            Some(Part::End(end)) => {
                if left > 0 {
                    return Err(Status::data_loss("snapshot is shorter than it said"));
                }
                if hash.finish().as_ref() != end.sha256 {
                    return Err(Status::data_loss("snapshot does not fit its checksum"));
                }
                return on_disk(move || draft.finish()).await;
            }
            Some(Part::Head(_)) | None => {
                return Err(Status::invalid_argument("unknown part of a snapshot"));
            }
        }
    }
    Err(Status::data_loss("snapshot is torn"))
}

/// Never on the thread of the cluster: a heartbeat would wait for the disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done)
        .map_err(|error| Status::resource_exhausted(format!("cannot write the snapshot: {error}")))
}
