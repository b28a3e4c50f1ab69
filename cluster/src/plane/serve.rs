//! Answers the conversations that other members begin.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use lockgate_proto::peer::v1 as pb;
use pb::fetch_refused::Reason;
use quinn::{Connection, Incoming, RecvStream, SendStream};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::frame;
use crate::Clock;
use crate::grpc::Guard;
use crate::task::spawn_named;
use crate::tls::{Identity, identity_of, time_left};

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Conversations that are answered at once, over all connections. Each holds an open file and one chunk.
const CONVERSATIONS_MAX: usize = 64;
/// How long a peer may take to say what it wants, and to take the next chunk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Which files other members may have.
pub(crate) trait FileSource: fmt::Debug + Send + Sync {
    /// Opens a file for reading. `None` when there is no such file; `name` comes from outside and proves nothing.
    fn open(&self, kind: pb::FileKind, name: &str) -> io::Result<Option<File>>;
}

/// What all connections share.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    guard: Arc<Guard>,
    files: Arc<dyn FileSource>,
    clock: Clock,
    connections: Arc<Semaphore>,
    conversations: Arc<Semaphore>,
}

impl Serving {
    pub(super) fn new(guard: Arc<Guard>, files: Arc<dyn FileSource>, clock: Clock) -> Self {
        Self {
            guard,
            files,
            clock,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            conversations: Arc::new(Semaphore::new(CONVERSATIONS_MAX)),
        }
    }

    /// Takes a connection, or refuses it when there are too many.
    pub(super) fn accept(&self, incoming: Incoming) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            incoming.refuse();
            return;
        };
        let serving = self.clone();
        // Detached: it ends with its connection, which ends with the endpoint.
        let _detached = spawn_named("plane-connection", async move {
            let _permit = permit;
            let address = incoming.remote_address();
            match incoming.await {
                Ok(connection) => serving.converse(connection).await,
                Err(error) => tracing::info!(%address, %error, "plane connection refused"),
            }
        });
    }

    async fn converse(self, connection: Connection) {
        let Some(identity) = identity_of_connection(&connection) else {
            return;
        };
        let life = certificates(&connection)
            .and_then(|chain| time_left(chain.first()?, (self.clock)()))
            .unwrap_or_default();
        let accept = async {
            // An error is the end of the connection.
            while let Ok((send, receive)) = connection.accept_bi().await {
                // The semaphore is never closed. While none is free no stream is accepted, and the peer's own limit
                // holds it back.
                let Ok(permit) = Arc::clone(&self.conversations).acquire_owned().await else {
                    return;
                };
                let (serving, identity) = (self.clone(), identity.clone());
                // Detached: every step of it has a time limit.
                let _detached = spawn_named("plane-conversation", async move {
                    let _permit = permit;
                    if let Err(error) = serving.answer(&identity, send, receive).await {
                        tracing::debug!(peer = %identity, %error, "conversation broke off");
                    }
                });
            }
        };
        if timeout(life, accept).await.is_err() {
            connection.close(quinn::VarInt::from_u32(2), b"certificate expired");
        }
    }

    async fn answer(
        &self,
        identity: &Identity,
        mut send: SendStream,
        mut receive: RecvStream,
    ) -> io::Result<()> {
        let open: pb::StreamOpen = timeout(PATIENCE, frame::read(&mut receive)).await??;
        if let Err(refusal) = self.guard.check(Some(identity), open.sender.as_ref()) {
            tracing::warn!(peer = %identity, %refusal, "plane message refused");
            return refuse(&mut send, Reason::Sender).await;
        }
        match open.kind {
            Some(pb::stream_open::Kind::FetchFile(request)) => {
                self.send_file(&request, &mut send).await
            }
            None => refuse(&mut send, Reason::UnknownKind).await,
        }
    }

    async fn send_file(&self, request: &pb::FetchFile, send: &mut SendStream) -> io::Result<()> {
        let (kind, name) = (request.kind(), request.name.clone());
        let files = Arc::clone(&self.files);
        let opened = tokio::task::spawn_blocking(move || files.open(kind, &name)).await;
        let mut file = match opened.map_err(io::Error::other)? {
            Ok(Some(file)) => tokio::fs::File::from_std(file),
            Ok(None) => return refuse(send, Reason::NoSuchFile).await,
            Err(error) => {
                tracing::error!(%error, name = request.name, "file for another node can't be read");
                return refuse(send, Reason::Unreadable).await;
            }
        };
        let size = file.metadata().await?.len();
        let Some(left) = size.checked_sub(request.offset) else {
            return refuse(send, Reason::OutOfRange).await;
        };
        let length = match request.length {
            0 => left,
            length => length.min(left),
        };
        file.seek(io::SeekFrom::Start(request.offset)).await?;
        let range = pb::FetchRange { size, length };
        let head = pb::FetchHead {
            result: Some(pb::fetch_head::Result::Range(range)),
        };
        timeout(PATIENCE, frame::write(send, &head)).await??;
        let sha256 = send_bytes(&mut file, length, send).await?;
        timeout(PATIENCE, frame::write(send, &pb::FetchEnd { sha256 })).await??;
        send.finish().map_err(io::Error::other)
    }
}

/// Sends `length` bytes of a file and returns their SHA-256.
async fn send_bytes(
    file: &mut tokio::fs::File,
    length: u64,
    send: &mut SendStream,
) -> io::Result<Bytes> {
    let mut hash = Context::new(&SHA256);
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let mut chunk = BytesMut::zeroed(want);
        file.read_exact(&mut chunk).await?;
        hash.update(&chunk);
        timeout(PATIENCE, send.write_chunk(chunk.freeze())).await??;
        left -= want as u64;
    }
    Ok(Bytes::copy_from_slice(hash.finish().as_ref()))
}

async fn refuse(send: &mut SendStream, reason: Reason) -> io::Result<()> {
    let refused = pb::FetchRefused {
        reason: reason.into(),
    };
    let head = pb::FetchHead {
        result: Some(pb::fetch_head::Result::Refused(refused)),
    };
    timeout(PATIENCE, frame::write(send, &head)).await??;
    send.finish().map_err(io::Error::other)
}

/// Who is at the other end.
pub(super) fn identity_of_connection(connection: &Connection) -> Option<Identity> {
    identity_of(certificates(connection).as_deref())
}

fn certificates(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    let chain = connection.peer_identity()?.downcast().ok()?;
    Some(*chain)
}
