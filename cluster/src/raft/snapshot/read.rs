//! Reads a snapshot file, and trusts nothing in it that was not checked.

use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::file::SnapshotFile;
use super::{DIGEST_BYTES, FRAME_BYTES_MAX, MAGIC, head};
use crate::raft::types::SnapshotMeta;

/// What a snapshot file holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) meta: SnapshotMeta,
    /// Records of the machine, in their order.
    pub(crate) records: Vec<Bytes>,
}

/// Reads the head alone, without checking what follows.
pub(super) fn meta(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
    let mut source = Source::new(file);
    source.magic()?;
    let head = source.frame()?.ok_or_else(|| bad("it holds nothing"))?;
    head::decode(&head)
}

/// Reads the whole file. An error when it is not exactly what was written.
pub(crate) fn read(file: &SnapshotFile) -> io::Result<Contents> {
    let mut source = Source::new(file);
    source.magic()?;
    let head = source.frame()?.ok_or_else(|| bad("it holds nothing"))?;
    let meta = head::decode(&head)?;
    let mut records = Vec::new();
    while let Some(record) = source.frame()? {
        records.push(record.into());
    }
    source.end()?;
    Ok(Contents { meta, records })
}

struct Source<'a> {
    from: BufReader<At<'a>>,
    digest: Context,
}

impl<'a> Source<'a> {
    fn new(file: &'a SnapshotFile) -> Self {
        let at = At { file, position: 0 };
        Self {
            from: BufReader::with_capacity(1 << 18, at),
            digest: Context::new(&SHA256),
        }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(cut_off)?;
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn magic(&mut self) -> io::Result<()> {
        match self.take()? {
            bytes if bytes == *MAGIC => Ok(()),
            _ => Err(bad("it is no snapshot that this program can read")),
        }
    }

    /// Next body. `None` at the end.
    fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length == 0 {
            return Ok(None);
        }
        if length > FRAME_BYTES_MAX {
            return Err(bad("a record has an impossible length"));
        }
        let crc = u32::from_le_bytes(self.take()?);
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).map_err(cut_off)?;
        self.digest.update(&body);
        if crc32fast::hash(&body) != crc {
            return Err(bad("the checksum of a record does not match"));
        }
        Ok(Some(body))
    }

    fn end(mut self) -> io::Result<()> {
        let mut written = [0; DIGEST_BYTES];
        self.from.read_exact(&mut written).map_err(cut_off)?;
        if self.digest.finish().as_ref() != written {
            return Err(bad("its checksum does not match"));
        }
        match self.from.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(bad("something follows its end")),
        }
    }
}

/// Reads at positions, as clones of a file share where they stand.
struct At<'a> {
    file: &'a SnapshotFile,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.file().read_at(bytes, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut_off(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => bad("it is cut off"),
        _ => error,
    }
}
