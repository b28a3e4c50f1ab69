//! One file of the journal: a block that says what it is, and frames.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{self, BLOCK};
use crate::random::random;
use crate::store::{Change, StoreError, sync_dir};

const MAGIC: &[u8; 8] = b"LGJRNL01";
/// Magic, salt, CRC-32.
const HEADER_BYTES: usize = 16;
/// A file grows by so much at once, in zeros behind a frame: a sync that has to bring its new length to the disk, too,
/// takes twice as long.
const GROWTH_BYTES: u64 = 128 << 10;

#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    path: PathBuf,
    salt: u32,
    length: u64,
}

impl JournalFile {
    /// Opens a file, or makes one without frames.
    pub(super) fn open(dir: &Path, name: &str) -> Result<Self, StoreError> {
        let path = dir.join(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Self::check(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(dir, path),
            Err(source) => Err(StoreError::Io {
                what: "open",
                path,
                source,
            }),
        }
    }

    fn check(file: File, path: PathBuf) -> Result<Self, StoreError> {
        let mut opened = Self {
            file,
            path,
            salt: 0,
            length: 0,
        };
        let mut header = [0; HEADER_BYTES];
        match opened.file.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(source) => return Err(opened.io("read", source)),
        }
        match salt_of(&header) {
            Some(salt) => opened.salt = salt,
            None => return Err(opened.damaged(0, "it does not begin as a journal".to_owned())),
        }
        let metadata = opened.file.metadata();
        opened.length = metadata.map_err(|source| opened.io("read", source))?.len();
        Ok(opened)
    }

    /// Written under another name and moved, so that it is whole or absent.
    fn create(dir: &Path, path: PathBuf) -> Result<Self, StoreError> {
        let draft = path.with_extension("new");
        let write = || -> io::Result<(File, u32)> {
            let salt = u32::from_le_bytes(random().map_err(io::Error::other)?);
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600);
            let file = options.open(&draft)?;
            file.set_len(BLOCK as u64)?;
            file.write_all_at(&header(salt), 0)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            sync_dir(dir)?;
            Ok((file, salt))
        };
        match write() {
            Ok((file, salt)) => Ok(Self {
                file,
                path,
                salt,
                length: BLOCK as u64,
            }),
            Err(source) => Err(StoreError::Io {
                what: "write",
                path,
                source,
            }),
        }
    }

    /// With what the checksums of its frames begin.
    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// All of it.
    pub(super) fn read(&self) -> Result<Vec<u8>, StoreError> {
        fs::read(&self.path).map_err(|source| self.io("read", source))
    }

    /// Writes a frame, which is in `buffer` afterwards, and returns when it is on the disk.
    pub(super) fn write(
        &mut self,
        at: u64,
        buffer: &mut Vec<u8>,
        number: u64,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let encoded = frame::encode(buffer, self.salt, number, changes);
        encoded.map_err(|source| self.io("write", source))?;
        let frame_bytes = buffer.len();
        let end = at + frame_bytes as u64;
        if end > self.length {
            let grown = end.next_multiple_of(GROWTH_BYTES);
            let zeros = usize::try_from(grown - end).unwrap_or_default();
            buffer.resize(frame_bytes + zeros, 0);
        }
        let written = self.file.write_all_at(buffer, at);
        written.map_err(|source| self.io("write", source))?;
        let synced = self.file.sync_data();
        synced.map_err(|source| self.io("sync", source))?;
        self.length = self.length.max(at + buffer.len() as u64);
        buffer.truncate(frame_bytes);
        Ok(())
    }

    /// What begins at this byte is not what was written.
    pub(super) fn damaged(&self, at: usize, what: String) -> StoreError {
        StoreError::DamagedFile {
            path: self.path.clone(),
            at: at as u64,
            what,
        }
    }

    fn io(&self, what: &'static str, source: io::Error) -> StoreError {
        StoreError::Io {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

fn header(salt: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn salt_of(bytes: &[u8; HEADER_BYTES]) -> Option<u32> {
    let salt = u32::from_le_bytes(bytes[8..12].try_into().ok()?);
    (*bytes == header(salt)).then_some(salt)
}
