//! A snapshot file, and one that is being received.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open snapshot file. What is open can be read to its end, also after a newer snapshot took its place.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
}

impl SnapshotFile {
    /// Opens the file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            size,
        })
    }

    /// The file itself. Read it at positions (`read_at`): all clones share it.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where it was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// A snapshot file that is being written or received, under another name. Removed when it is not finished.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Draft {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            finished: false,
        })
    }

    /// Makes it durable and ends the writing. It still has to be installed.
    pub(crate) fn finish(mut self) -> io::Result<SnapshotFile> {
        self.file.sync_all()?;
        let file = SnapshotFile::open(&self.path)?;
        self.finished = true;
        Ok(file)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // What stays behind is removed at the next start.
            let _removed = std::fs::remove_file(&self.path);
        }
    }
}
