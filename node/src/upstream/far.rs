//! The far end of an endpoint: one of the transports, behind one face.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::{Era, method};

use crate::config;
use crate::error::UpstreamError;

use super::link::{Outgoing, Reply, SessionInit, UpstreamSession};
use super::own_request;
use super::session_key::{Owner, SessionKey};
use super::transport::http::{EndpointSettings, HttpEndpoint, Verdict};
use super::transport::remote::{Remote, Wire};
use super::transport::stdio::{self, ChildSettings, Children, Declared, child_key};

/// Children of one server that may live at once. A machine that is asked for more has a client that opens sessions
/// without end.
const CHILDREN_MAX: u32 = 256;

/// What an address said when it was asked whether anybody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Anything.
    Welcome,
    /// That the gateway is not let in: its credential may have expired.
    Refused,
}

/// One address, or the children of one command.
#[derive(Debug)]
pub(super) enum Far {
    /// HTTP.
    Remote(Remote),
    /// Child processes.
    Stdio {
        /// How one is started.
        settings: Arc<ChildSettings>,
        /// Those that run.
        children: Children,
    },
}

impl Far {
    /// One for each endpoint of `server`. Connects to nothing and starts nothing.
    pub(super) fn of(
        server: &config::Server,
        answer_bytes_max: usize,
    ) -> Result<Vec<Self>, UpstreamError> {
        match &server.transport {
            config::Transport::Http {
                endpoints,
                kind,
                headers,
                connect_timeout,
                ..
            } => {
                let headers: Arc<[_]> = headers.as_slice().into();
                endpoints
                    .iter()
                    .map(|endpoint| {
                        HttpEndpoint::new(EndpointSettings {
                            server: server.name.clone(),
                            url: endpoint.url.clone(),
                            address: endpoint.address.clone(),
                            headers: Arc::clone(&headers),
                            connect_timeout: *connect_timeout,
                            timeout: server.timeout,
                            answer_bytes_max,
                        })
                        .map(|http| Self::Remote(Remote::new(http, *kind)))
                    })
                    .collect()
            }
            config::Transport::Stdio {
                command,
                args,
                env,
                cwd,
                scope,
            } => {
                let settings = Arc::new(ChildSettings {
                    server: server.name.clone(),
                    command: command.clone(),
                    args: args.clone(),
                    env: env.clone(),
                    cwd: cwd.clone(),
                    answer_bytes_max,
                });
                let children = Children::new(Arc::clone(&settings), *scope, CHILDREN_MAX);
                Ok(vec![Self::Stdio { settings, children }])
            }
        }
    }

    /// One request of the stateless era by `owner`.
    pub(super) async fn call(
        &self,
        out: &Outgoing,
        owner: &Owner<'_>,
    ) -> Result<Reply, UpstreamError> {
        match self {
            Self::Remote(remote) => remote.stateless()?.call(out).await,
            Self::Stdio { children, .. } => {
                let call = async { children.stateless(owner).await?.call(out).await };
                Box::pin(call).await
            }
        }
    }

    /// Opens a session.
    pub(super) async fn open(
        &self,
        init: SessionInit,
        key: &SessionKey,
    ) -> Result<UpstreamSession, UpstreamError> {
        match self {
            Self::Remote(remote) => {
                // A handshake is rare: boxed, its future is no part of the layout of every call's.
                let opening: BoxFuture<'_, _> = Box::pin(remote.open(init));
                opening.await
            }
            Self::Stdio { children, .. } => {
                let declared = Declared::of(&init.capabilities);
                let child = child_key(children.scope(), declared, key);
                let session = children.session(child, init).await?;
                Ok(UpstreamSession::Channel(session))
            }
        }
    }

    /// Finds out which eras the server speaks.
    pub(super) async fn probe(&self) -> Result<Verdict, UpstreamError> {
        match self {
            Self::Remote(remote) => remote.probe().await,
            Self::Stdio { settings, .. } => stdio::probe(Arc::clone(settings)).await,
        }
    }

    /// Whether anybody is there: whether the address answers at all, or the command starts.
    pub(super) async fn is_alive(
        &self,
        server: &ServerName,
        era: Era,
        limit: Duration,
    ) -> Result<Sign, UpstreamError> {
        match (self, era) {
            (Self::Remote(remote), _) => answers(remote.address(), server, era, limit).await,
            (Self::Stdio { children, .. }, Era::Stateless) => {
                let key = own_request::session_key();
                children.stateless(&key.owner()).await?;
                Ok(Sign::Welcome)
            }
            (Self::Stdio { .. }, Era::Session) => {
                let key = own_request::session_key();
                let session = self.open(own_request::session_init(), &key).await?;
                session.close().await;
                Ok(Sign::Welcome)
            }
        }
    }

    /// What is spoken there, as in the configuration; `None` while not known.
    pub(super) fn transport(&self) -> Option<&'static str> {
        match self {
            Self::Remote(remote) => remote.wire().map(Wire::as_str),
            Self::Stdio { .. } => Some("stdio"),
        }
    }

    /// Children so far that ended without being asked to.
    pub(super) fn crashes(&self) -> u64 {
        match self {
            Self::Remote(_) => 0,
            Self::Stdio { children, .. } => children.counts().crashes,
        }
    }

    /// Live child processes.
    pub(super) fn children(&self) -> usize {
        match self {
            Self::Remote(_) => 0,
            Self::Stdio { children, .. } => children.counts().live,
        }
    }

    /// Ends what it owns: children are stopped and reaped; connections end with their last user.
    pub(super) async fn end(&self) {
        if let Self::Stdio { children, .. } = self {
            children.stop().await;
        }
    }
}

/// Whether an address answers within `limit`: any answer will do, be it a refusal, unless the server itself says that
/// it fails. No session is needed: `ping` is allowed without, and whoever wants one refuses it, which is an answer.
async fn answers(
    endpoint: &HttpEndpoint,
    server: &ServerName,
    era: Era,
    limit: Duration,
) -> Result<Sign, UpstreamError> {
    let method = match era {
        Era::Session => method::PING,
        Era::Stateless => method::DISCOVER,
    };
    let out = own_request::outgoing(own_request::frame(method, "", era), era, limit);
    match endpoint.call(&out).await {
        Ok(Reply::Single { status, .. }) if status >= 500 => Err(UpstreamError::Status {
            server: server.clone(),
            status,
            retry_after: None,
            location: None,
        }),
        Err(
            error @ (UpstreamError::Unreachable { .. }
            | UpstreamError::Timeout { .. }
            | UpstreamError::Broken { .. }
            | UpstreamError::Status { status: 500.., .. }),
        ) => Err(error),
        Ok(Reply::Single {
            status: 401 | 403, ..
        })
        | Err(UpstreamError::Status {
            status: 401 | 403, ..
        }) => Ok(Sign::Refused),
        Ok(_) | Err(_) => Ok(Sign::Welcome),
    }
}
