//! `Fetcher`: gets files of other members for the handle.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use lockgate_proto::id::NodeId;
use lockgate_proto::peer::v1::FileKind;
use tokio::sync::watch;

use super::files::NEWEST;
use crate::grpc::Roster;
use crate::plane::{FetchError, FileName, Plane};

/// A file that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerFile {
    /// A file of its audit log, by its name there.
    Audit(String),
    /// Its newest snapshot.
    Snapshot,
}

/// Fetches over the plane, once that is open. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    pub(super) plane: Arc<OnceLock<Plane>>,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
}

impl Fetcher {
    /// Fetches `file` of a member into `path`, and returns its size.
    pub(crate) async fn fetch(
        &self,
        from: NodeId,
        file: PeerFile,
        path: PathBuf,
    ) -> Result<u64, FetchError> {
        let (kind, name) = match file {
            PeerFile::Audit(name) => (FileKind::AuditSegment, name),
            PeerFile::Snapshot => (FileKind::Snapshot, NEWEST.to_owned()),
        };
        let file = FileName { kind, name };
        let member = self.roster.borrow().get(from.0).cloned();
        let (Some(member), Some(plane)) = (member, self.plane.get()) else {
            let source = io::Error::new(io::ErrorKind::NotConnected, "that node is no member");
            let (node, name) = (from.to_string(), file.name);
            return Err(FetchError::Broken { node, name, source });
        };
        plane.fetch((from.0, &member), &file, &path).await
    }
}
