//! Checked settings of what is recorded about calls, and where.

use std::path::PathBuf;

/// How records reach the audit log of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// How safe a record is before its call goes out, or its answer.
    pub mode: AuditMode,
    /// Whether a call waits for the disk, in the mode `local`.
    pub sync: AuditSync,
}

/// How safe a record is before its call goes out, or its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// In the log of the cluster, on the disks of a majority.
    Quorum,
    /// In the spool of this node: survives the process, and shortly after a power loss, too.
    #[default]
    Local,
    /// In memory.
    Memory,
}

impl AuditMode {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Local => "local",
            Self::Memory => "memory",
        }
    }
}

/// Whether a call waits for the disk, in the mode `local`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditSync {
    /// It does not; the disk has its record at most 10 ms and one sync later.
    #[default]
    Group,
    /// It does.
    Each,
}

/// Where lines about calls go besides the audit log of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audit {
    /// Nowhere.
    #[default]
    None,
    /// One JSON line per event on standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}
