//! Nodes of the tree in files: of every eighth level, as C2SP tlog-tiles has them, one file a level.
//!
//! A node of a level between is made of at most 256 neighbours below it, which lie beside each other: one read of 8 KiB.
//! A proof needs one such read for each eight levels of each of its nodes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::SegmentError;
use crate::audit::hash::{Hash, node_hash};
use crate::audit::proof::Nodes;
use crate::audit::tree::Frontier;

/// Levels from one file to the next.
const STRIDE: u32 = Frontier::TILE_LEVELS;
/// Files: level 56 has a node for 2^56 leaves.
const FILES: usize = 8;

/// Hashes of complete subtrees, by level and place.
#[derive(Debug)]
pub struct Tiles {
    dir: PathBuf,
    levels: Vec<File>,
    /// Nodes that are not in the files yet.
    waiting: [Vec<u8>; FILES],
}

impl Tiles {
    /// Opens the files in `dir`, for reading and writing, and makes those that are missing.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(dir: &Path) -> Result<Self, SegmentError> {
        std::fs::create_dir_all(dir).map_err(SegmentError::io("create directory", dir))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Self::open_with(dir, &options)
    }

    /// Opens the files for reading only.
    ///
    /// # Errors
    /// When one of them is missing or can't be read.
    pub fn open_read(dir: &Path) -> Result<Self, SegmentError> {
        Self::open_with(dir, OpenOptions::new().read(true))
    }

    fn open_with(dir: &Path, options: &OpenOptions) -> Result<Self, SegmentError> {
        let mut levels = Vec::with_capacity(FILES);
        for level in 0..FILES {
            let path = dir.join(level_name(level));
            levels.push(
                options
                    .open(&path)
                    .map_err(SegmentError::io("open", &path))?,
            );
        }
        Ok(Self {
            dir: dir.to_owned(),
            levels,
            waiting: Default::default(),
        })
    }

    /// Adds a leaf and the nodes of the files above that are complete with it to those that wait for [`Tiles::flush`].
    pub(super) fn push(&mut self, leaf: Hash, nodes: &[Hash]) {
        let complete = std::iter::once(&leaf).chain(nodes);
        for (file, node) in self.waiting.iter_mut().zip(complete) {
            file.extend_from_slice(&node.0);
        }
    }

    /// Adds a leaf to `frontier`, and the nodes that are complete with it to those that wait for [`Tiles::flush`].
    pub(super) fn append(&mut self, frontier: &mut Frontier, leaf: Hash) {
        let waiting = &mut self.waiting;
        frontier.append_with(leaf, |level, _, node| {
            if level % STRIDE == 0 {
                // A tree of 2^63 leaves is out of reach.
                if let Some(file) = waiting.get_mut((level / STRIDE) as usize) {
                    file.extend_from_slice(&node.0);
                }
            }
        });
    }

    /// Writes the nodes that wait. `size` is the number of leaves with them.
    pub(super) fn flush(&mut self, size: u64) -> Result<(), SegmentError> {
        for (level, (file, waiting)) in self.levels.iter().zip(&mut self.waiting).enumerate() {
            if waiting.is_empty() {
                continue;
            }
            let end = nodes_of(level, size) * Hash::BYTES as u64;
            let at = end.saturating_sub(waiting.len() as u64);
            let path = self.dir.join(level_name(level));
            file.write_all_at(waiting, at)
                .map_err(SegmentError::io("write", &path))?;
            waiting.clear();
        }
        Ok(())
    }

    /// Takes away the nodes of leaves from `size` on.
    pub(super) fn cut(&mut self, size: u64) -> Result<(), SegmentError> {
        for (level, (file, waiting)) in self.levels.iter().zip(&mut self.waiting).enumerate() {
            waiting.clear();
            let path = self.dir.join(level_name(level));
            file.set_len(nodes_of(level, size) * Hash::BYTES as u64)
                .map_err(SegmentError::io("cut", &path))?;
        }
        Ok(())
    }

    /// Makes the files durable.
    pub(super) fn sync(&self) -> Result<(), SegmentError> {
        for (level, file) in self.levels.iter().enumerate() {
            let path = self.dir.join(level_name(level));
            file.sync_data().map_err(SegmentError::io("sync", &path))?;
        }
        Ok(())
    }

    /// Edge of the tree of the first `size` leaves.
    ///
    /// # Errors
    /// When a node can't be read.
    pub fn frontier(&self, size: u64) -> Result<Frontier, SegmentError> {
        let mut subtrees = Vec::new();
        let mut at = 0;
        while at < size {
            let level = (size - at).ilog2();
            subtrees.push(self.node(level, at >> level)?);
            at += 1 << level;
        }
        Frontier::from_parts(size, subtrees)
            .ok_or_else(|| SegmentError::damaged(&self.dir, 0, "the tree has no such size"))
    }
}

impl Nodes for Tiles {
    type Error = SegmentError;

    fn node(&self, level: u32, place: u64) -> Result<Hash, SegmentError> {
        let file = (level / STRIDE) as usize;
        let above = level % STRIDE;
        let path = self.dir.join(level_name(file));
        let damaged =
            |offset| SegmentError::damaged(&path, offset, "a node of the tree is missing");
        let mut bytes = vec![0; Hash::BYTES << above];
        let offset = (place << above) * Hash::BYTES as u64;
        let Some(level) = self.levels.get(file) else {
            return Err(damaged(0));
        };
        level.read_exact_at(&mut bytes, offset).map_err(|source| {
            if source.kind() == std::io::ErrorKind::UnexpectedEof {
                damaged(offset)
            } else {
                SegmentError::io("read", &path)(source)
            }
        })?;
        let nodes = bytes.chunks_exact(Hash::BYTES);
        let mut nodes: Vec<Hash> = nodes.filter_map(Hash::from_slice).collect();
        while nodes.len() > 1 {
            let (pairs, _) = nodes.as_chunks::<2>();
            nodes = pairs.iter().map(|[l, r]| node_hash(l, r)).collect();
        }
        nodes.first().copied().ok_or_else(|| damaged(offset))
    }
}

fn nodes_of(file: usize, size: u64) -> u64 {
    size >> (STRIDE as usize * file)
}

fn level_name(file: usize) -> String {
    format!("{:02}", file * STRIDE as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::hash::leaf_hash;
    use crate::audit::proof;

    #[test]
    fn proofs_are_made_from_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut tiles = Tiles::open(dir.path()).unwrap();
        let mut frontier = Frontier::default();
        let mut roots = vec![frontier.root()];
        for seq in 0..1500_u64 {
            tiles.append(&mut frontier, leaf_hash(&seq.to_be_bytes()));
            roots.push(frontier.root());
            if seq % 7 == 0 {
                tiles.flush(seq + 1).unwrap();
            }
        }
        tiles.flush(1500).unwrap();
        let tiles = Tiles::open_read(dir.path()).unwrap();
        for size in [1, 255, 256, 257, 700, 1023, 1500] {
            let root = roots[usize::try_from(size).unwrap()];
            assert_eq!(proof::root(&tiles, size).unwrap(), root);
            assert_eq!(tiles.frontier(size).unwrap().root(), root);
            for index in [0, size / 2, size - 1] {
                let path = proof::inclusion(&tiles, index, size).unwrap().unwrap();
                let leaf = leaf_hash(&index.to_be_bytes());
                assert!(proof::includes(&root, size, index, &leaf, &path));
            }
        }
    }

    #[test]
    fn a_cut_tree_grows_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut tiles = Tiles::open(dir.path()).unwrap();
        let mut frontier = Frontier::default();
        for seq in 0..600_u64 {
            tiles.append(&mut frontier, leaf_hash(&seq.to_be_bytes()));
        }
        tiles.flush(600).unwrap();
        let want = frontier.root();
        tiles.cut(300).unwrap();
        assert!(tiles.node(0, 300).is_err());
        let mut frontier = tiles.frontier(300).unwrap();
        for seq in 300..600_u64 {
            tiles.append(&mut frontier, leaf_hash(&seq.to_be_bytes()));
        }
        tiles.flush(600).unwrap();
        assert_eq!(proof::root(&tiles, 600).unwrap(), want);
    }
}
