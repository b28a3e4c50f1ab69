//! The key-encryption key: the one secret that is stored as it is, in a file of its own that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::OpenError;
use crate::secret::Secret;

use super::sync_dir;

/// Reads the key of `dir`, or draws one when `dir` has none yet.
pub(crate) fn read_or_create(dir: &Path) -> Result<Secret, OpenError> {
    let path = dir.join("key");
    match fs::metadata(&path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(OpenError::KeyFileExposed { path, mode });
            }
            read(&path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path),
        Err(source) => Err(OpenError::Io {
            what: "read",
            path,
            source,
        }),
    }
}

fn read(path: &Path) -> Result<Secret, OpenError> {
    let bytes = fs::read(path).map_err(|source| OpenError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(Secret::from_bytes(key)),
        Err(_) => Err(OpenError::KeyFileBroken {
            path: path.to_owned(),
        }),
    }
}

/// Puts the key of a cluster into `dir`, which this node joins.
pub(crate) fn install(dir: &Path, key: &Secret) -> Result<(), OpenError> {
    write(dir, &dir.join("key"), key)
}

fn create(dir: &Path, path: &Path) -> Result<Secret, OpenError> {
    let key = Secret::generate().ok_or(OpenError::NoRandomness)?;
    write(dir, path, &key)?;
    Ok(key)
}

/// Written under another name and moved, so that a crash leaves no half key.
fn write(dir: &Path, path: &Path, key: &Secret) -> Result<(), OpenError> {
    let draft = dir.join("key.new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(key.expose())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        sync_dir(dir)
    };
    write().map_err(|source| OpenError::Io {
        what: "write",
        path: path.to_owned(),
        source,
    })
}
