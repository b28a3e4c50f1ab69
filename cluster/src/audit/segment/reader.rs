//! Readers: any number, beside the writer or without one.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::SegmentError;
use super::frame::{self, HEADER_BYTES, PREFIX_BYTES};
use super::journal;
use super::manifest::{Manifest, firsts, sealed_path, segment_path};
use super::store::offsets_path;
use super::tiles::Tiles;
use crate::audit::chain::Genesis;
use crate::audit::hash::Hash;
use crate::audit::leaf::LEAF_BYTES_MAX;
use crate::audit::mac::Mac;

/// What is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Longest frame.
const FRAME_BYTES_MAX: usize = PREFIX_BYTES + LEAF_BYTES_MAX;

/// One record as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Number in the log.
    pub seq: u64,
    /// MAC key that guards it.
    pub key_id: u32,
    /// MAC.
    pub mac: Mac,
    /// The leaf.
    pub line: &'a [u8],
}

/// Reads the segments of a directory.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    dir: PathBuf,
    readable: Arc<AtomicU64>,
}

impl SegmentReader {
    /// Reader beside a writer, which says how far it has come.
    pub(super) fn of(dir: &Path, readable: Arc<AtomicU64>) -> Self {
        Self {
            dir: dir.to_owned(),
            readable,
        }
    }

    /// Reader of a directory that nobody writes to, up to the last byte. What is no record there is an error.
    pub(crate) fn unbounded(dir: &Path) -> Self {
        Self::of(dir, Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// Reader of a directory that nobody writes to: of a stopped node, or a copy. Ends before the first record that
    /// can't be read in the last segment; [`SegmentReader::torn`] tells of it.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn open(dir: &Path) -> Result<Self, SegmentError> {
        let reader = Self::unbounded(dir);
        let last = firsts(dir, "seg")?.last().copied();
        let pruned = firsts(dir, "sealed")?.last().copied();
        let mut size = match pruned {
            Some(first) => Manifest::read(&sealed_path(dir, first))?.end(),
            None => 0,
        };
        if let Some(first) = last.filter(|first| *first >= size) {
            let mut records = Records::new(dir, first, u64::MAX)?;
            while let Ok(Some(record)) = records.next() {
                size = record.seq + 1;
            }
        }
        reader.readable.store(size, Ordering::Release);
        Ok(reader)
    }

    /// Number of records that can be read.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// First record that was not pruned.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn first(&self) -> Result<u64, SegmentError> {
        match firsts(&self.dir, "seg")?.first() {
            Some(first) => Ok(*first),
            None => Ok(self.manifests()?.last().map_or(0, Manifest::end)),
        }
    }

    /// What is wrong with the record behind the last one, if something is there.
    #[must_use]
    pub fn torn(&self) -> Option<SegmentError> {
        let size = self.size();
        let first = firsts(&self.dir, "seg").ok()?.last().copied()?;
        if first > size {
            return None;
        }
        let mut records = Records::new(&self.dir, first, u64::MAX).ok()?;
        loop {
            match records.next() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    /// What the log is.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn genesis(&self) -> Result<Genesis, SegmentError> {
        let path = genesis_path(&self.dir);
        let bytes = fs::read(&path).map_err(SegmentError::io("read", &path))?;
        Genesis::from_line(&bytes)
            .ok_or_else(|| SegmentError::damaged(&path, 0, "it is no genesis"))
    }

    /// Chain hash before the record `first`, at which a segment begins or the last one ends.
    ///
    /// # Errors
    /// When none does, or it can't be read.
    pub fn chain_before(&self, first: u64) -> Result<Hash, SegmentError> {
        let before = self
            .manifests()?
            .into_iter()
            .find(|before| before.end() == first);
        if let Some(before) = before {
            return Ok(before.chain_after);
        }
        let (_, chain) = read_header(&segment_path(&self.dir, first))?;
        Ok(chain)
    }

    /// Manifests of the sealed segments, pruned ones too, in order.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn manifests(&self) -> Result<Vec<Manifest>, SegmentError> {
        let firsts = firsts(&self.dir, "sealed")?.into_iter();
        let read = firsts.map(|first| Manifest::read(&sealed_path(&self.dir, first)));
        read.collect()
    }

    /// File of the segment that begins with `first`, to be sent to another node.
    #[must_use]
    pub fn segment_file(&self, first: u64) -> PathBuf {
        segment_path(&self.dir, first)
    }

    /// How many segments there are, and how many bytes they have.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn usage(&self) -> Result<(u64, u64), SegmentError> {
        let firsts = firsts(&self.dir, "seg")?;
        let mut bytes = 0;
        for first in &firsts {
            let path = segment_path(&self.dir, *first);
            let metadata = fs::metadata(&path).map_err(SegmentError::io("read", &path))?;
            bytes += metadata.len();
        }
        Ok((firsts.len() as u64, bytes))
    }

    /// Good checkpoints, oldest first, without those that are damaged.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn checkpoints(&self) -> Result<Vec<Vec<u8>>, SegmentError> {
        journal::read(&self.dir)
    }

    /// File of the checkpoints.
    #[must_use]
    pub fn checkpoints_file(&self) -> PathBuf {
        journal::path(&self.dir)
    }

    /// The first checkpoint that is damaged, and the first record that it covers and the one before it does not.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn damaged_checkpoint(&self) -> Result<Option<(u64, SegmentError)>, SegmentError> {
        journal::damage(&self.dir)
    }

    /// How many good checkpoints there are, and the last one. Needs no memory for the others, unless one is
    /// damaged.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn last_checkpoint(&self) -> Result<(u64, Option<Vec<u8>>), SegmentError> {
        journal::count(&self.dir)
    }

    /// Nodes of the tree, for proofs.
    ///
    /// # Errors
    /// When the files can't be opened.
    pub fn tiles(&self) -> Result<Tiles, SegmentError> {
        Tiles::open_read(&self.dir.join("tree"))
    }

    /// Records from `start` to before `end`, as far as they are there.
    ///
    /// # Errors
    /// When `start` was pruned, or the directory can't be read.
    pub fn records(&self, start: u64, end: u64) -> Result<Records, SegmentError> {
        Records::new(&self.dir, start, end.min(self.size()))
    }
}

/// Walks along records. What it gives out lives until the next one.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    firsts: Vec<u64>,
    next: u64,
    end: u64,
    segment: Option<Segment>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    /// First record of the next one.
    end: u64,
    /// Where the buffer ends in the file.
    read: u64,
    buffer: Vec<u8>,
    at: usize,
    is_at_end: bool,
}

impl Records {
    pub(super) fn new(dir: &Path, start: u64, end: u64) -> Result<Self, SegmentError> {
        let firsts = firsts(dir, "seg")?;
        match firsts.first() {
            Some(first) if *first > start && start < end => {
                return Err(SegmentError::Pruned { first: *first });
            }
            _ => {}
        }
        Ok(Self {
            dir: dir.to_owned(),
            firsts,
            next: start,
            end,
            segment: None,
        })
    }

    /// Records of the one segment of `range`, also while those before it are missing.
    pub(super) fn of_segment(
        dir: &Path,
        range: Range<u64>,
        chain_before: &Hash,
    ) -> Result<Self, SegmentError> {
        let path = segment_path(dir, range.start);
        if read_header(&path)? != (range.start, *chain_before) {
            let what = "it does not follow the segment before it";
            return Err(SegmentError::damaged(&path, 0, what));
        }
        Ok(Self {
            dir: dir.to_owned(),
            firsts: vec![range.start],
            next: range.start,
            end: range.end,
            segment: None,
        })
    }

    /// Next record; `None` behind the last. Not an `Iterator`: the record is borrowed from the buffer.
    ///
    /// # Errors
    /// When the record can't be read; it names file and offset.
    #[expect(
        clippy::should_implement_trait,
        reason = "the record borrows from self"
    )]
    pub fn next(&mut self) -> Result<Option<Stored<'_>>, SegmentError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let mut segment = match self.segment.take() {
            Some(segment) if self.next < segment.end => segment,
            _ => match self.open()? {
                Some(segment) => segment,
                None => return Ok(None),
            },
        };
        segment.fill()?;
        let is_last = segment.end == u64::MAX;
        if is_last && segment.at == segment.buffer.len() {
            return Ok(None);
        }
        let seq = self.next;
        let segment = self.segment.insert(segment);
        let offset = segment.read - (segment.buffer.len() - segment.at) as u64;
        let (frame, length) = frame::read(&segment.buffer[segment.at..], seq)
            .map_err(|what| SegmentError::damaged(&segment.path, offset, what))?;
        segment.at += length;
        self.next += 1;
        Ok(Some(Stored {
            seq,
            key_id: frame.key_id,
            mac: frame.mac,
            line: frame.line,
        }))
    }

    /// Whether a crash can have left what could not be read: the end of the last segment, not written to its end, or
    /// with zeros where the disk had nothing yet.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn is_torn(&self) -> Result<bool, SegmentError> {
        let Some(segment) = self.segment.as_ref().filter(|last| last.end == u64::MAX) else {
            return Ok(false);
        };
        let offset = segment.read - (segment.buffer.len() - segment.at) as u64;
        let mut rest = Vec::new();
        let mut file =
            File::open(&segment.path).map_err(SegmentError::io("open", &segment.path))?;
        let read = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_to_end(&mut rest));
        read.map_err(SegmentError::io("read", &segment.path))?;
        let has_more = (1..rest.len()).any(|at| frame::is_any(&rest[at..]));
        Ok(!has_more && (frame::is_cut_off(&rest) || rest.last() == Some(&0)))
    }

    /// Opens the segment of the next record, at that record.
    fn open(&self) -> Result<Option<Segment>, SegmentError> {
        let behind = self.firsts.partition_point(|first| *first <= self.next);
        let Some(first) = behind.checked_sub(1).and_then(|at| self.firsts.get(at)) else {
            return Ok(None);
        };
        let path = segment_path(&self.dir, *first);
        let file = File::open(&path).map_err(SegmentError::io("open", &path))?;
        let mut segment = Segment {
            file,
            path,
            end: self.firsts.get(behind).copied().unwrap_or(u64::MAX),
            read: 0,
            buffer: Vec::new(),
            at: 0,
            is_at_end: false,
        };
        if self.next > *first && segment.jump(&self.dir, self.next)? {
            return Ok(Some(segment));
        }
        segment.seek(HEADER_BYTES as u64)?;
        for seq in *first..self.next {
            segment.fill()?;
            if segment.at == segment.buffer.len() {
                return Ok(None);
            }
            segment.skip(seq)?;
        }
        Ok(Some(segment))
    }
}

impl Segment {
    /// Goes to the record `seq` by its noted place. `false` when something else is there: then the place isn't known.
    fn jump(&mut self, dir: &Path, seq: u64) -> Result<bool, SegmentError> {
        let mut place = [0; 4];
        let noted =
            File::open(offsets_path(dir)).and_then(|file| file.read_exact_at(&mut place, seq * 4));
        if noted.is_err() {
            return Ok(false);
        }
        self.seek(u32::from_le_bytes(place).into())?;
        self.fill()?;
        Ok(frame::read(&self.buffer, seq).is_ok())
    }

    fn skip(&mut self, seq: u64) -> Result<(), SegmentError> {
        let offset = self.read - (self.buffer.len() - self.at) as u64;
        let (_, length) = frame::read(&self.buffer[self.at..], seq)
            .map_err(|what| SegmentError::damaged(&self.path, offset, what))?;
        self.at += length;
        Ok(())
    }

    fn seek(&mut self, offset: u64) -> Result<(), SegmentError> {
        let sought = self.file.seek(SeekFrom::Start(offset));
        sought.map_err(SegmentError::io("read", &self.path))?;
        self.read = offset;
        self.buffer.clear();
        self.at = 0;
        self.is_at_end = false;
        Ok(())
    }

    /// Makes sure that the next frame is in the buffer as a whole, unless the file ends before.
    fn fill(&mut self) -> Result<(), SegmentError> {
        if self.is_at_end || self.buffer.len() - self.at >= FRAME_BYTES_MAX {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        let mut rest = (&mut self.file).take(CHUNK_BYTES as u64);
        let read = rest.read_to_end(&mut self.buffer);
        read.map_err(SegmentError::io("read", &self.path))?;
        let n_read = self.buffer.len() - before;
        self.read += n_read as u64;
        self.is_at_end = n_read < CHUNK_BYTES;
        Ok(())
    }
}

/// First record of a segment, and the chain hash before it.
fn read_header(path: &Path) -> Result<(u64, Hash), SegmentError> {
    let mut header = [0; HEADER_BYTES];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut header, 0));
    read.map_err(SegmentError::io("read", path))?;
    frame::read_header(&header).map_err(|what| SegmentError::damaged(path, 0, what))
}

/// File that says what the log is.
pub(super) fn genesis_path(dir: &Path) -> PathBuf {
    dir.join("genesis")
}
