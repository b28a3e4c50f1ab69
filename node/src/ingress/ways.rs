//! The paths beside `/mcp`: HTTP+SSE (`/sse`, `/messages`) and WebSocket (`/ws`), each also for a tenant and a server.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::error::CallError;
use crate::identity::Authenticated;
use crate::task::spawn_named;

use super::body::Body;
use super::duplex::{Line, Peer};
use super::http::Place;
use super::service::{self, Path, Service, Visitor};
use super::{read, respond, sse, websocket};

/// A way in beside `/mcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `/sse`: the stream of HTTP+SSE.
    Stream,
    /// `/messages`: where its client POSTs.
    Messages,
    /// `/ws`: WebSocket.
    WebSocket,
}

impl Way {
    /// The way that a path means, and the path without its last part.
    pub(super) fn of(path: &str) -> Option<(Self, &str)> {
        let (base, last) = path.rsplit_once('/')?;
        let way = match last {
            "sse" => Self::Stream,
            "messages" => Self::Messages,
            "ws" => Self::WebSocket,
            _ => return None,
        };
        Some((way, base))
    }

    fn method(self) -> Method {
        match self {
            Self::Stream | Self::WebSocket => Method::GET,
            Self::Messages => Method::POST,
        }
    }

    /// The same as in `Allow`.
    pub(super) fn method_name(self) -> &'static str {
        match self {
            Self::Stream | Self::WebSocket => "GET",
            Self::Messages => "POST",
        }
    }
}

impl Service {
    /// Serves a request on a way beside `/mcp`.
    pub(super) async fn serve_at(
        &self,
        way: Way,
        base: &str,
        visitor: &Visitor,
        (head, body): (Parts, Incoming),
    ) -> Result<Response<Body>, CallError> {
        let Some(path) = Path::scope(base) else {
            return Ok(service::not_found());
        };
        let who = self.admit(visitor, &head, path)?;
        if head.method != way.method() {
            return Ok(respond::not_allowed(way.method_name()));
        }
        match way {
            Way::Stream if !service::accepts(&head.headers, "text/event-stream") => {
                Err(service::NO_STREAM_TAKEN)
            }
            Way::Stream => self
                .desk
                .open(&self.gateway, client(&head, path, who), base),
            Way::Messages => self.message(base, who, &head, body).await,
            Way::WebSocket => Ok(self.upgrade(head, path, who)),
        }
    }

    async fn message(
        &self,
        base: &str,
        who: Arc<Authenticated>,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, CallError> {
        service::check_body_type(&head.headers)?;
        let limits = &self.gateway.limits;
        let text = read::read(body, limits.body_bytes_max, limits.read_timeout).await?;
        // A body may take its time.
        let who = self.gateway.identities.renew(who)?;
        let post = sse::Post {
            who,
            uri: &head.uri,
            base,
            trace: service::context(&head.headers),
        };
        self.desk.post(&self.gateway, post, text).await
    }

    fn upgrade(&self, mut head: Parts, path: Path<'_>, who: Arc<Authenticated>) -> Response<Body> {
        let response = match websocket::accept(&head.headers) {
            Ok(response) => response,
            Err(refused) => return refused.response(),
        };
        let Some(upgrade) = head.extensions.remove::<OnUpgrade>() else {
            return websocket::Refused::NoUpgrade.response();
        };
        let place = head.extensions.remove::<Place>();
        let (line, outbox) = Line::open(Arc::clone(&self.gateway), client(&head, path, who));
        // Ends with the connection, whose place among the connections it keeps.
        drop(spawn_named("websocket", async move {
            match upgrade.await {
                Ok(upgraded) => websocket::serve(TokioIo::new(upgraded), line, outbox).await,
                Err(error) => tracing::debug!(%error, "connection did not become a websocket"),
            }
            drop(place);
        }));
        response
    }
}

fn client(head: &Parts, path: Path<'_>, who: Arc<Authenticated>) -> Peer {
    Peer {
        who,
        route: head.uri.path().to_owned(),
        server: path.server.map(str::to_owned),
    }
}
