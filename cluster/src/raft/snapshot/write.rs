//! Writes a snapshot file.

use std::io::{self, BufWriter, Write};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::file::{Draft, SnapshotFile};
use super::{FRAME_BYTES_MAX, MAGIC, Snapshots, head};
use crate::raft::types::SnapshotMeta;

/// Writes the records of a machine behind the head that `meta` gives, and puts the file in its place.
pub(crate) fn write(
    snapshots: &Snapshots,
    meta: &SnapshotMeta,
    records: impl IntoIterator<Item = Bytes>,
) -> io::Result<SnapshotFile> {
    let mut sink = Sink {
        to: BufWriter::with_capacity(1 << 18, snapshots.draft()?),
        digest: Context::new(&SHA256),
    };
    sink.put(MAGIC)?;
    sink.frame(&head::encode(meta))?;
    for record in records {
        sink.frame(&record)?;
    }
    let file = sink.end()?;
    snapshots.install(meta, &file)
}

struct Sink {
    to: BufWriter<Draft>,
    digest: Context,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.to.write_all(bytes)
    }

    fn frame(&mut self, body: &[u8]) -> io::Result<()> {
        // An empty body would read as the end.
        if body.is_empty() || body.len() > FRAME_BYTES_MAX {
            let text = format!("a record of {} bytes does not fit a snapshot", body.len());
            return Err(io::Error::other(text));
        }
        // At most FRAME_BYTES_MAX, so nothing is cut off.
        let length = body.len() as u32;
        self.put(&length.to_le_bytes())?;
        self.put(&crc32fast::hash(body).to_le_bytes())?;
        self.put(body)
    }

    fn end(mut self) -> io::Result<SnapshotFile> {
        self.put(&0_u32.to_le_bytes())?;
        let digest = self.digest.finish();
        self.to.write_all(digest.as_ref())?;
        let draft = self.to.into_inner().map_err(|error| error.into_error())?;
        draft.finish()
    }
}
