//! Fetches files of other members, range by range.

use std::io;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use lockgate_proto::peer::v1 as pb;
use pb::fetch_head::Result as Head;
use quinn::RecvStream;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::endpoint::Plane;
use super::frame;
use crate::raft::{Member, RaftId};

/// Bytes of one range. Each is checked before it gets into the file, so this is also what it costs in memory.
const RANGE_BYTES: u64 = 4 << 20;
/// Attempts at one range.
const ATTEMPTS_MAX: u32 = 5;
/// Pause between them.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);
/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    /// Which room it is from.
    pub(crate) kind: pb::FileKind,
    /// Its name there.
    pub(crate) name: String,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The other member has no such file.
    #[error("{node} has no `{name}`")]
    NoSuchFile {
        /// Who was asked.
        node: String,
        /// For what.
        name: String,
    },
    /// The other member does not give it.
    #[error("{node} refuses `{name}`: {reason}")]
    Refused {
        /// Who was asked.
        node: String,
        /// For what.
        name: String,
        /// Name of the reason.
        reason: &'static str,
    },
    /// The connection broke, or what came does not fit its checksum, as often as was tried.
    #[error("cannot fetch `{name}` from {node}")]
    Broken {
        /// Who was asked.
        node: String,
        /// For what.
        name: String,
        /// What happened last.
        #[source]
        source: io::Error,
    },
    /// The file could not be written here.
    #[error("cannot write what was fetched from {node}")]
    Write {
        /// Who was asked.
        node: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// A range that arrived whole.
struct Range {
    bytes: Vec<u8>,
    /// Bytes of the whole file then.
    size: u64,
}

/// Why one attempt failed.
enum Attempt {
    /// Trying again won't help.
    Refused(pb::fetch_refused::Reason),
    /// It may.
    Broken(io::Error),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<tokio::time::error::Elapsed> for Attempt {
    fn from(elapsed: tokio::time::error::Elapsed) -> Self {
        Self::Broken(elapsed.into())
    }
}

impl Plane {
    /// Fetches a file of a member into `path`, up to the size that it has when the last range comes, and returns that.
    /// What `path` holds already is kept and continued, so that a fetch which broke off goes on where it was: check the
    /// content when it is whole. The file is on the disk when this returns.
    pub(crate) async fn fetch(
        &self,
        peer: (RaftId, &Member),
        file: &FileName,
        path: &Path,
    ) -> Result<u64, FetchError> {
        let failed = |source| FetchError::Write {
            node: peer.1.to_string(),
            source,
        };
        let mut out = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .await
            .map_err(failed)?;
        let mut offset = out.metadata().await.map_err(failed)?.len();
        loop {
            let range = self.fetch_range(peer, file, offset).await?;
            write(&mut out, &range.bytes).await.map_err(failed)?;
            offset += range.bytes.len() as u64;
            if offset >= range.size {
                out.sync_all().await.map_err(failed)?;
                return Ok(offset);
            }
        }
    }

    /// Fetches one range, in several attempts.
    async fn fetch_range(
        &self,
        peer: (RaftId, &Member),
        file: &FileName,
        offset: u64,
    ) -> Result<Range, FetchError> {
        let (node, name) = (peer.1.to_string(), file.name.clone());
        let mut n_attempts = 0;
        loop {
            n_attempts += 1;
            match self.attempt(peer, file, offset).await {
                Ok(range) => return Ok(range),
                Err(Attempt::Refused(pb::fetch_refused::Reason::NoSuchFile)) => {
                    return Err(FetchError::NoSuchFile { node, name });
                }
                Err(Attempt::Refused(reason)) => {
                    let reason = reason.as_str_name();
                    return Err(FetchError::Refused { node, name, reason });
                }
                Err(Attempt::Broken(source)) if n_attempts == ATTEMPTS_MAX => {
                    return Err(FetchError::Broken { node, name, source });
                }
                Err(Attempt::Broken(error)) => {
                    tracing::debug!(node, name, offset, %error, "range is fetched again");
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        peer: (RaftId, &Member),
        file: &FileName,
        offset: u64,
    ) -> Result<Range, Attempt> {
        let request = pb::FetchFile {
            kind: file.kind.into(),
            name: file.name.clone(),
            offset,
            length: RANGE_BYTES,
        };
        let kind = pb::stream_open::Kind::FetchFile(request);
        let (mut send, mut receive) = self.links().open(peer, kind).await?;
        // Nothing more is asked. An error is told by the other half.
        let _told_there = send.finish();
        let head: pb::FetchHead = timeout(PATIENCE, frame::read(&mut receive)).await??;
        match head.result {
            Some(Head::Range(range)) if range.length <= RANGE_BYTES => {
                let bytes = receive_bytes(&mut receive, range.length).await?;
                Ok(Range {
                    bytes,
                    size: range.size,
                })
            }
            Some(Head::Refused(refused)) => Err(Attempt::Refused(refused.reason())),
            _ => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "not a range that was asked").into())
            }
        }
    }
}

/// Receives `length` bytes and the checksum behind them.
async fn receive_bytes(receive: &mut RecvStream, length: u64) -> io::Result<Vec<u8>> {
    // At most `RANGE_BYTES`.
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let n = timeout(PATIENCE, AsyncReadExt::read(receive, &mut bytes[filled..])).await??;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += n;
    }
    let end: pb::FetchEnd = timeout(PATIENCE, frame::read(receive)).await??;
    let mut hash = Context::new(&SHA256);
    hash.update(&bytes);
    if hash.finish().as_ref() != end.sha256 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the bytes do not fit their checksum",
        ));
    }
    Ok(bytes)
}

async fn write(out: &mut File, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes).await?;
    out.flush().await
}
