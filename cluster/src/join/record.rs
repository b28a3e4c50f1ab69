//! `Record`: what a node keeps of its membership beside the log, in one small file.
//!
//! It counts the lives of the node, which have to be told apart in every message, also before the node has heard of the
//! cluster; and it bridges the time between the admission of a new node and its first entry of the log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use lockgate_proto::peer::v1 as pb;
use prost::Message;

use crate::grpc::{Members, members_from};
use crate::raft::RaftId;
use crate::store;

const FILE: &str = "member";
const FORMAT: u32 = 1;

/// Why the record can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecordError {
    /// It can't be read or written.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// It is damaged.
    #[error("`{}` is damaged; remove this node from the cluster and let it join again with an empty data directory", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("`{}` was written by a newer version (format {format})", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// What this node keeps of its membership.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    path: PathBuf,
    stored: pb::MembershipRecord,
}

impl Record {
    /// Reads the record in `dir`, if there is one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, RecordError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let what = "read";
                return Err(RecordError::Io { what, path, source });
            }
        };
        let Some(stored) = decode(&bytes) else {
            return Err(RecordError::Damaged { path });
        };
        if stored.format > FORMAT {
            let format = stored.format;
            return Err(RecordError::Newer { path, format });
        }
        Ok(Some(Self { path, stored }))
    }

    /// A record of the node that makes the cluster, whose id is empty before it has one.
    pub(crate) fn founder(dir: &Path, raft_id: RaftId, cluster: Bytes) -> Self {
        Self::new(
            dir,
            pb::MembershipRecord {
                format: FORMAT,
                raft_id,
                cluster,
                ..pb::MembershipRecord::default()
            },
        )
    }

    /// A record of a node that asks to be admitted, and has no number yet.
    pub(crate) fn asking(dir: &Path, nonce: [u8; 16]) -> Self {
        Self::new(
            dir,
            pb::MembershipRecord {
                format: FORMAT,
                nonce: Bytes::copy_from_slice(&nonce),
                ..pb::MembershipRecord::default()
            },
        )
    }

    /// Takes note of the answer. Kept with the next life.
    pub(crate) fn admit(&mut self, admitted: pb::Admitted) {
        self.stored.raft_id = admitted.raft_id;
        self.stored.cluster = admitted.cluster;
        self.stored.membership_log_id = admitted.membership_log_id;
        self.stored.membership = admitted.membership;
    }

    fn new(dir: &Path, stored: pb::MembershipRecord) -> Self {
        let path = dir.join(FILE);
        Self { path, stored }
    }

    /// Begins a new life, durably, and returns its number. The first is 1.
    pub(crate) fn begin_life(&mut self) -> Result<u64, RecordError> {
        self.stored.starts += 1;
        self.save()?;
        Ok(self.stored.starts)
    }

    /// Writes the record.
    pub(crate) fn save(&self) -> Result<(), RecordError> {
        self.write().map_err(|source| RecordError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// What names this node's attempt to join.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        // A founder has none, and never asks.
        <[u8; 16]>::try_from(self.stored.nonce.as_ref()).unwrap_or_default()
    }

    /// Number of this node. 0 while it asks to be admitted.
    pub(crate) fn raft_id(&self) -> RaftId {
        self.stored.raft_id
    }

    /// Id of the cluster. Empty at the node that made it: the log tells it.
    pub(crate) fn cluster(&self) -> Bytes {
        self.stored.cluster.clone()
    }

    /// Whom this node may hear before it has read the log.
    pub(crate) fn members(&self) -> Members {
        let log_id = self.stored.membership_log_id.as_ref();
        members_from(log_id, self.stored.membership.clone())
    }

    /// Written under another name and moved, so that a crash leaves the old one or the new one.
    fn write(&self) -> io::Result<()> {
        let body = self.stored.encode_to_vec();
        let draft = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&crc32fast::hash(&body).to_be_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        match self.path.parent() {
            Some(dir) => store::sync_dir(dir),
            None => Ok(()),
        }
    }
}

fn decode(bytes: &[u8]) -> Option<pb::MembershipRecord> {
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    if u32::from_be_bytes(*crc) != crc32fast::hash(body) {
        return None;
    }
    pb::MembershipRecord::decode(body.chunk()).ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn admitted() -> pb::Admitted {
        pb::Admitted {
            cluster: vec![4; 16].into(),
            raft_id: 12,
            membership_log_id: Some(pb::RaftLogId {
                term: 1,
                leader: 1,
                index: 9,
            }),
            membership: Some(pb::RaftMembership {
                configs: Vec::new(),
                members: vec![pb::RaftMember {
                    raft_id: 1,
                    name: "n1".to_owned(),
                    address: "a:1".to_owned(),
                }],
            }),
            ..pb::Admitted::default()
        }
    }

    #[test]
    fn each_start_is_a_new_life() {
        let dir = TempDir::new().unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), None);
        let asking = Record::asking(dir.path(), [6; 16]);
        asking.save().unwrap();
        let mut record = Record::read(dir.path()).unwrap().unwrap();
        assert_eq!((record.raft_id(), record.nonce()), (0, [6; 16]));
        record.admit(admitted());
        assert_eq!(record.begin_life().unwrap(), 1);
        for life in 2..5 {
            let mut again = Record::read(dir.path()).unwrap().unwrap();
            assert_eq!(again.begin_life().unwrap(), life);
            assert_eq!((again.raft_id(), again.cluster()), (12, vec![4; 16].into()));
            assert_eq!(again.members().upto, 10);
            assert_eq!(again.members().by_id[&1].name, "n1");
        }
    }

    #[test]
    fn a_damaged_record_is_refused_at_every_byte() {
        let dir = TempDir::new().unwrap();
        let mut record = Record::asking(dir.path(), [6; 16]);
        record.admit(admitted());
        record.begin_life().unwrap();
        let path = dir.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(
                Record::read(dir.path()),
                Err(RecordError::Damaged { .. })
            ));
            fs::write(&path, &good[..at]).unwrap();
            assert!(matches!(
                Record::read(dir.path()),
                Err(RecordError::Damaged { .. })
            ));
        }
    }

    #[test]
    fn a_newer_record_is_refused_by_its_format() {
        let dir = TempDir::new().unwrap();
        let mut record = Record::founder(dir.path(), 1, Bytes::new());
        record.stored.format = 2;
        record.begin_life().unwrap();
        let refused = Record::read(dir.path());
        assert!(matches!(refused, Err(RecordError::Newer { format: 2, .. })));
    }
}
