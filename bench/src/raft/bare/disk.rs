//! The disk under the bare engine: one thread that writes all that waits as one batch of sled, with one sync of its file.
//! It is written only, and never read.

use std::{
    fs::File,
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::TypeConfig;
use crate::error::{Error, Result};

/// Jobs that may wait.
const QUEUE_MAX: usize = 4096;
/// Jobs of one batch.
const BATCH_MAX: usize = 4096;
/// Key of the vote; entries have keys of eight bytes.
const VOTE: &[u8] = b"vote";

/// Takes what is to be written. Clones write to the same file.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Append(Vec<(u64, Vec<u8>)>, IOFlushed<TypeConfig>),
    Vote(Vec<u8>, oneshot::Sender<io::Result<()>>),
    Remove(Range<u64>),
}

impl Disk {
    /// Opens a store in `directory`, which is made. Its thread ends with the last clone.
    pub(super) fn open(directory: &Path, n_syncs: Arc<AtomicU64>) -> Result<Self> {
        let db = sled::Config::new()
            .path(directory)
            .flush_every_ms(None)
            .open()
            .map_err(Error::caused("open a store"))?;
        let file = File::open(directory.join("db")).map_err(Error::io("open a store's file"))?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        thread::Builder::new()
            .name("bare-log".to_owned())
            .spawn(move || write_all(&db, &file, queue, &n_syncs))
            .map_err(Error::io("start a thread"))?;
        Ok(Self { jobs })
    }

    pub(super) async fn append(
        &self,
        records: Vec<(u64, Vec<u8>)>,
        done: IOFlushed<TypeConfig>,
    ) -> io::Result<()> {
        self.send(Job::Append(records, done)).await
    }

    pub(super) async fn vote(&self, vote: Vec<u8>) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.send(Job::Vote(vote, done)).await?;
        written.await.map_err(io::Error::other)?
    }

    pub(super) async fn remove(&self, range: Range<u64>) -> io::Result<()> {
        self.send(Job::Remove(range)).await
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).await.map_err(io::Error::other)
    }
}

fn write_all(db: &sled::Db, file: &File, mut queue: mpsc::Receiver<Job>, n_syncs: &AtomicU64) {
    let mut jobs = Vec::new();
    while queue.blocking_recv_many(&mut jobs, BATCH_MAX) > 0 {
        let mut batch = sled::Batch::default();
        let (mut appended, mut voted) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Append(records, done) => {
                    for (index, record) in records {
                        batch.insert(&index.to_be_bytes(), record);
                    }
                    appended.push(done);
                }
                Job::Vote(vote, done) => {
                    batch.insert(VOTE, vote);
                    voted.push(done);
                }
                Job::Remove(range) => range.for_each(|index| batch.remove(&index.to_be_bytes())),
            }
        }
        let written = db.apply_batch(batch).and_then(|()| db.flush());
        let written = written.map_err(io::Error::other);
        let written = written.and_then(|_bytes| file.sync_data());
        n_syncs.fetch_add(1, Ordering::Relaxed);
        let answer = || {
            written
                .as_ref()
                .copied()
                .map_err(|error| io::Error::other(error.to_string()))
        };
        for done in appended {
            done.io_completed(answer());
        }
        for done in voted {
            // Whoever asked may have gone; then nobody needs the answer.
            let _gone = done.send(answer());
        }
        if written.is_err() {
            return;
        }
    }
}
