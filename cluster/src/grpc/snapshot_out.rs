//! Sends a snapshot: head, chunks, checksum.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use lockgate_proto::peer::v1 as pb;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::convert::snapshot_head;
use crate::raft::{Snapshot, Vote};

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// How long the other side may take to install what it has received.
const INSTALL_MAX: Duration = Duration::from_secs(120);

/// How far the sending of one snapshot is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    sent_bytes: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl Progress {
    /// Returns when nothing was sent for `patience`, or, after everything was sent, when no answer came in the time
    /// that an installation may take.
    pub(super) async fn stalled(&self, patience: Duration) {
        let mut before = None;
        loop {
            let (sent_bytes, ended) = self.with(|state| (state.sent_bytes, state.ended));
            if ended {
                return sleep(INSTALL_MAX).await;
            }
            if before == Some(sent_bytes) {
                return;
            }
            before = Some(sent_bytes);
            sleep(patience).await;
        }
    }

    /// Why the file could not be read to its end, if that is what happened.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.with(|state| state.failure.take())
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere can't leave it half changed.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The parts of a snapshot, read while they are sent. When the file can't be read, the parts end early, which the other
/// side takes for torn, and [`Progress::failure`] says why.
pub(super) fn parts(
    vote: Vote,
    snapshot: &Snapshot,
    sender: pb::Sender,
) -> (
    impl Stream<Item = pb::SnapshotPart> + Send + 'static + use<>,
    Progress,
) {
    let head = snapshot_head(&vote, &snapshot.meta, snapshot.snapshot.size(), sender);
    let progress = Progress::default();
    let reading = Reading {
        file: Arc::clone(snapshot.snapshot.file()),
        at: 0,
        size: snapshot.snapshot.size(),
        hash: Context::new(&SHA256),
        progress: progress.clone(),
    };
    let first = stream::once(async { part(pb::snapshot_part::Part::Head(head)) });
    let rest = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        let progress = reading.progress.clone();
        match reading.next().await {
            Ok(Some(chunk)) => Some((part(pb::snapshot_part::Part::Chunk(chunk)), Some(reading))),
            Ok(None) => Some((reading.end(), None)),
            Err(error) => {
                progress.with(|state| state.failure = Some(error));
                None
            }
        }
    });
    (first.chain(rest), progress)
}

struct Reading {
    file: Arc<File>,
    at: u64,
    size: u64,
    hash: Context,
    progress: Progress,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let left = self.size - self.at;
        if left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let (file, at) = (Arc::clone(&self.file), self.at);
        let read = spawn_blocking(move || {
            let mut chunk = BytesMut::zeroed(want);
            file.read_exact_at(&mut chunk, at)?;
            Ok::<_, io::Error>(chunk.freeze())
        });
        let chunk = read.await.map_err(io::Error::other)??;
        self.at += want as u64;
        self.hash.update(&chunk);
        self.progress.with(|state| state.sent_bytes += want as u64);
        Ok(Some(chunk))
    }

    fn end(self) -> pb::SnapshotPart {
        self.progress.with(|state| state.ended = true);
        let sha256 = Bytes::copy_from_slice(self.hash.finish().as_ref());
        part(pb::snapshot_part::Part::End(pb::SnapshotEnd { sha256 }))
    }
}

fn part(part: pb::snapshot_part::Part) -> pb::SnapshotPart {
    pb::SnapshotPart { part: Some(part) }
}
