//! `Files`: what other members may fetch over the plane.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use lockgate_proto::peer::v1::FileKind;

use crate::plane::FileSource;
use crate::raft::Snapshots;

/// Name under which the newest snapshot is fetched.
pub(super) const NEWEST: &str = "newest";
/// Longest name of a file.
const NAME_BYTES_MAX: usize = 64;

/// The newest snapshot, and the files of the audit log.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) snapshots: Snapshots,
    /// Directory of the audit log.
    pub(super) audit: PathBuf,
}

impl FileSource for Files {
    fn open(&self, kind: FileKind, name: &str) -> io::Result<Option<File>> {
        let opened = match kind {
            FileKind::Snapshot if name == NEWEST => match self.snapshots.current() {
                Some((_meta, file)) => File::open(file.path()),
                None => return Ok(None),
            },
            FileKind::AuditSegment if is_file_name(name) => File::open(self.audit.join(name)),
            FileKind::Snapshot | FileKind::AuditSegment | FileKind::Unspecified => return Ok(None),
        };
        match opened {
            Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
            Ok(_directory) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A plain name, which can't lead out of its directory.
fn is_file_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_the_audit_log_are_given() {
        let dir = tempfile::TempDir::new().unwrap();
        let audit = dir.path().join("audit");
        std::fs::create_dir_all(audit.join("sub")).unwrap();
        for name in ["audit/00000000000000000001.seg", "secret"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let snapshots = Snapshots::open(&dir.path().join("snapshots")).unwrap();
        let files = Files { snapshots, audit };
        let has = |kind, name| files.open(kind, name).unwrap().is_some();
        assert!(has(FileKind::AuditSegment, "00000000000000000001.seg"));
        for name in [
            "",
            ".",
            "..",
            "../secret",
            "sub",
            "none",
            "/etc/passwd",
            "a\0b",
        ] {
            assert!(!has(FileKind::AuditSegment, name), "{name:?}");
        }
        assert!(!has(FileKind::Snapshot, NEWEST), "there is none yet");
        assert!(!has(FileKind::Unspecified, "00000000000000000001.seg"));
    }
}
