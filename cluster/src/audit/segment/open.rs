//! Opening: what is there, how far it is whole, and how far the machine wants it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::error::SegmentError;
use super::frame;
use super::journal::Journal;
use super::manifest::{Manifest, firsts, replace, sealed_path, segment_path, sync_dir};
use super::reader::{Records, genesis_path};
use super::store::{Active, Limits, SegmentStore, offsets_path};
use super::tiles::Tiles;
use crate::audit::chain::{self, Genesis};
use crate::audit::hash::{Hash, leaf_hash};
use crate::audit::mac::MacKeys;
use crate::audit::tree::Frontier;

/// What the machine has applied: the records before `frontier.size()` and no others belong to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Edge of the tree.
    pub frontier: Frontier,
    /// Chain hash after the last record.
    pub chain: Hash,
}

impl SegmentStore {
    /// Opens the segments in `dir`, or makes the directory, and cuts them back to `position`.
    ///
    /// # Errors
    /// [`SegmentError::Short`] when records are missing that were applied; [`SegmentError::Damaged`] when some of them
    /// can't be read or are others; [`SegmentError::OtherLog`].
    pub fn open(
        dir: &Path,
        genesis: &Genesis,
        position: &Position,
        keys: MacKeys,
        limits: Limits,
    ) -> Result<Self, SegmentError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir);
        made.map_err(SegmentError::io("create directory", dir))?;
        check_genesis(dir, genesis)?;
        let size = position.frontier.size();
        drop_later(dir, size)?;
        let sealed = sealed(dir)?;
        let (end, chain) = sealed.last().map_or_else(
            || (0, genesis.head()),
            |last| (last.end(), last.chain_after),
        );
        let scan = Scan::run(dir, end, chain, size)?;
        let whole = scan.as_ref().map_or((end, chain), |scan| {
            (end + scan.leaves.len() as u64, scan.chain)
        });
        if whole.0 < size {
            return Err(SegmentError::Short {
                have: whole.0,
                need: size,
            });
        }
        if whole.1 != position.chain {
            return Err(SegmentError::damaged(
                &segment_path(dir, end),
                0,
                format!("the chain of its first {size} records is not the one that was applied"),
            ));
        }
        let leaves = scan.as_ref().map_or(&[] as &[Hash], |scan| &scan.leaves);
        let tiles = open_tiles(dir, end, leaves, &position.frontier)?;
        let offsets = open_offsets(dir, end, scan.as_ref())?;
        Ok(Self {
            dir: dir.to_owned(),
            keys,
            limits,
            size,
            chain: position.chain,
            active: scan.map(|scan| scan.active),
            offsets,
            tiles,
            journal: Journal::open(dir, size)?,
            readable: Arc::new(AtomicU64::new(size)),
        })
    }
}

fn check_genesis(dir: &Path, genesis: &Genesis) -> Result<(), SegmentError> {
    let path = genesis_path(dir);
    let want = genesis.to_line();
    match fs::read(&path) {
        Ok(found) if found == want => Ok(()),
        Ok(_) => Err(SegmentError::OtherLog {
            path: dir.to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => replace(&path, &want),
        Err(error) => Err(SegmentError::io("read", &path)(error)),
    }
}

/// Takes away segments from `size` on, and the seal of the one that goes beyond it.
fn drop_later(dir: &Path, size: u64) -> Result<(), SegmentError> {
    let mut paths = Vec::new();
    for first in firsts(dir, "sealed")? {
        let path = sealed_path(dir, first);
        if first >= size || Manifest::read(&path)?.end() > size {
            paths.push(path);
        }
    }
    let segments = firsts(dir, "seg")?.into_iter();
    paths.extend(
        segments
            .filter(|first| *first >= size)
            .map(|first| segment_path(dir, first)),
    );
    for path in &paths {
        fs::remove_file(path).map_err(SegmentError::io("remove", path))?;
    }
    if paths.is_empty() {
        Ok(())
    } else {
        sync_dir(dir)
    }
}

/// Manifests in order, each the neighbour of the next, and each with its file unless it was pruned.
fn sealed(dir: &Path) -> Result<Vec<Manifest>, SegmentError> {
    let mut sealed: Vec<Manifest> = Vec::new();
    for first in firsts(dir, "sealed")? {
        let path = sealed_path(dir, first);
        let manifest = Manifest::read(&path)?;
        let follows = sealed.last().is_none_or(|last| {
            last.end() == manifest.first && last.chain_after == manifest.chain_before
        });
        if manifest.first != first || !follows {
            let what = "it does not follow the segment before it";
            return Err(SegmentError::damaged(&path, 0, what));
        }
        let path = segment_path(dir, first);
        match fs::metadata(&path) {
            Ok(found) if found.len() == manifest.bytes => {}
            Ok(found) => {
                let what = format!(
                    "it has {} bytes, and was sealed with {}",
                    found.len(),
                    manifest.bytes
                );
                return Err(SegmentError::damaged(
                    &path,
                    found.len().min(manifest.bytes),
                    what,
                ));
            }
            // Pruned; only from the front.
            Err(_)
                if sealed
                    .iter()
                    .all(|last| !segment_path(dir, last.first).exists()) => {}
            Err(error) => return Err(SegmentError::io("read", &path)(error)),
        }
        sealed.push(manifest);
    }
    Ok(sealed)
}

/// The last segment, read through once.
struct Scan {
    active: Active,
    leaves: Vec<Hash>,
    offsets: Vec<u8>,
    chain: Hash,
}

impl Scan {
    /// Reads the segment that begins with `first` up to the record `size`, and cuts it there. `None` when there is none.
    fn run(dir: &Path, first: u64, chain: Hash, size: u64) -> Result<Option<Self>, SegmentError> {
        let path = segment_path(dir, first);
        let mut options = OpenOptions::new();
        let mut file = match options.read(true).write(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(SegmentError::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(SegmentError::io("read", &path))?;
        let header = frame::read_header(&bytes);
        let header = header.map_err(|what| SegmentError::damaged(&path, 0, what))?;
        if header != (first, chain) {
            let what = "it does not follow the segment before it";
            return Err(SegmentError::damaged(&path, 0, what));
        }
        let mut at = frame::HEADER_BYTES;
        let mut leaves = Vec::new();
        let mut offsets = Vec::new();
        let mut head = chain;
        for seq in first..size {
            if at == bytes.len() {
                break;
            }
            let (frame, length) = frame::read(&bytes[at..], seq)
                .map_err(|what| SegmentError::damaged(&path, at as u64, what))?;
            let leaf = leaf_hash(frame.line);
            head = chain::link(&head, seq, &leaf);
            leaves.push(leaf);
            // A segment is far below 4 GiB.
            let offset = u32::try_from(at).unwrap_or(u32::MAX);
            offsets.extend_from_slice(&offset.to_le_bytes());
            at += length;
        }
        let cut = file
            .set_len(at as u64)
            .and_then(|()| file.seek(SeekFrom::Start(at as u64)));
        cut.map_err(SegmentError::io("cut", &path))?;
        let active = Active {
            file,
            path,
            first,
            chain_before: chain,
            bytes: at as u64,
            // What was written before may be in memory only.
            synced: 0,
        };
        Ok(Some(Self {
            active,
            leaves,
            offsets,
            chain: head,
        }))
    }
}

/// Opens the tree: the nodes of sealed segments are durable, those of the last one are made anew. If they don't add up
/// to what was applied, all that can be is made from the records.
fn open_tiles(
    dir: &Path,
    first: u64,
    leaves: &[Hash],
    want: &Frontier,
) -> Result<Tiles, SegmentError> {
    let tree = dir.join("tree");
    let mut tiles = Tiles::open(&tree)?;
    tiles.cut(first)?;
    if let Ok(mut frontier) = tiles.frontier(first) {
        for leaf in leaves {
            tiles.append(&mut frontier, *leaf);
        }
        if frontier == *want {
            tiles.flush(want.size())?;
            return Ok(tiles);
        }
    }
    let start = firsts(dir, "seg")?.first().copied().unwrap_or(first);
    tiles.cut(start)?;
    let mut frontier = tiles.frontier(start)?;
    let mut records = Records::new(dir, start, want.size())?;
    while let Some(record) = records.next()? {
        tiles.append(&mut frontier, leaf_hash(record.line));
        // Not all of them in memory at once.
        if record.seq % 4096 == 0 {
            tiles.flush(frontier.size())?;
        }
    }
    tiles.flush(frontier.size())?;
    if frontier != *want {
        let what = "the tree of the records is not the one that was applied";
        return Err(SegmentError::damaged(&tree, 0, what));
    }
    tiles.sync()?;
    Ok(tiles)
}

/// Opens the places of the records. Those of sealed segments that are missing read as zero, and readers then look from
/// the beginning of the segment.
fn open_offsets(dir: &Path, first: u64, scan: Option<&Scan>) -> Result<File, SegmentError> {
    let path = offsets_path(dir);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(&path);
    let file = file.map_err(SegmentError::io("open", &path))?;
    let scanned = scan.map_or(&[] as &[u8], |scan| &scan.offsets);
    file.set_len(first * 4)
        .and_then(|()| file.write_all_at(scanned, first * 4))
        .map_err(SegmentError::io("write", &path))?;
    Ok(file)
}
