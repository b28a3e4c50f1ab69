//! `PlaneLinks`: one QUIC connection to each member that is asked for something.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::peer::v1 as pb;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::frame;
use super::serve::identity_of_connection;
use super::transport;
use crate::grpc::Links;
use crate::raft::{Member, RaftId};
use crate::tls::Credentials;

/// How long a connection may take, handshake included.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Connections to members, made when they are first used and again when they broke.
#[derive(Clone, Debug)]
pub(super) struct PlaneLinks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    credentials: Credentials,
    /// Knows what this node says of itself.
    links: Links,
    open: Mutex<HashMap<RaftId, Link>>,
}

#[derive(Debug)]
struct Link {
    member: Member,
    connection: Connection,
}

impl PlaneLinks {
    pub(super) fn new(endpoint: Endpoint, credentials: Credentials, links: Links) -> Self {
        Self {
            shared: Arc::new(Shared {
                endpoint,
                credentials,
                links,
                open: Mutex::default(),
            }),
        }
    }

    /// Begins a conversation.
    pub(super) async fn open(
        &self,
        (raft_id, member): (RaftId, &Member),
        kind: pb::stream_open::Kind,
    ) -> io::Result<(SendStream, RecvStream)> {
        let connection = self.connection(raft_id, member).await?;
        let (mut send, receive) = connection.open_bi().await?;
        let open = pb::StreamOpen {
            sender: Some(self.shared.links.sender(raft_id)),
            kind: Some(kind),
        };
        frame::write(&mut send, &open).await?;
        Ok((send, receive))
    }

    async fn connection(&self, raft_id: RaftId, member: &Member) -> io::Result<Connection> {
        // Held while dialling, so that many who want the same member dial once; others wait two seconds at most.
        let mut open = self.shared.open.lock().await;
        if let Some(link) = open.get(&raft_id)
            && link.member == *member
            && link.connection.close_reason().is_none()
        {
            return Ok(link.connection.clone());
        }
        // Ends of members that went away.
        open.retain(|_raft_id, link| link.connection.close_reason().is_none());
        let connection = timeout(CONNECT_MAX, self.dial(member)).await??;
        let link = Link {
            member: member.clone(),
            connection: connection.clone(),
        };
        open.insert(raft_id, link);
        Ok(connection)
    }

    async fn dial(&self, member: &Member) -> io::Result<Connection> {
        let config =
            transport::client(&self.shared.credentials.material()).map_err(io::Error::other)?;
        let mut addresses = lookup_host(&*member.address).await?;
        let address = addresses
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
        // The name is not looked at: the certificate's is checked below.
        let connecting = self.shared.endpoint.connect_with(config, address, "node");
        let connection = connecting.map_err(io::Error::other)?.await?;
        match identity_of_connection(&connection) {
            Some(identity) if identity.name() == member.name => Ok(connection),
            found => {
                let found = found.map_or_else(String::new, |it| it.name().to_owned());
                connection.close(quinn::VarInt::from_u32(1), b"other node");
                let why = format!(
                    "`{}` is node `{found}`, not `{}`",
                    member.address, member.name
                );
                Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
            }
        }
    }
}
