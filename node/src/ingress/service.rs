//! One HTTP request: path, guard, identity, era, door.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use lockgate_cluster::Serving;
use lockgate_proto::id::Tenant;
use lockgate_proto::jsonrpc::Batch;
use lockgate_proto::mcp::{Era, Revision, headers};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Events};
use crate::audit::Audit;
use crate::config;
use crate::error::CallError;
use crate::identity::{Authenticated, Identities, Shown};
use crate::session;
use crate::stateless;
use crate::telemetry::Metrics;
use crate::telemetry::trace::Context;

use super::body::Body;
use super::cors;
use super::guard::Guard;
use super::refusals::Refusals;
use super::sse::Desk;
use super::ways::Way;
use super::{read, respond};

// Compared and hashed without being read as text first, request by request.
const SESSION_ID: HeaderName = HeaderName::from_static(headers::SESSION_ID);
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(headers::PROTOCOL_VERSION);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static(headers::LAST_EVENT_ID);
/// A GET opens an event stream, and its client takes none.
pub(super) const NO_STREAM_TAKEN: CallError = CallError::NotAcceptable {
    kinds: "text/event-stream",
};
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the SDKs send.
const ACCEPTS_BOTH: &str = "application/json, text/event-stream";

/// What every transport of clients shares.
#[derive(Debug)]
pub struct Gateway {
    /// Replaced whole when keys, roles or tenants change.
    pub identities: Arc<Identities>,
    /// Session era.
    pub sessions: session::Door,
    /// Stateless era.
    pub stateless: stateless::Door,
    /// Takes what is refused before a door.
    pub audit: Arc<Audit>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Bounds.
    pub limits: config::Limits,
    /// Whether this node may serve.
    pub serving: Serving,
    /// Fires when streams that carry no call have to end.
    pub closing: CancellationToken,
    /// Calls in flight then have this long.
    pub grace: Duration,
}

/// Serves one listener.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) gateway: Arc<Gateway>,
    guard: Arc<Guard>,
    refusals: Arc<Refusals>,
    pub(super) desk: Desk,
}

/// Serves one connection.
#[derive(Debug)]
pub(super) struct Visitor {
    service: Service,
    peer: IpAddr,
    shown: Shown,
    seen: session::Seen,
}

/// What the head of a request asks for.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    head: &'a http::request::Parts,
    path: Path<'a>,
    /// `MCP-Protocol-Version`.
    version: Option<&'a str>,
    seen: &'a session::Seen,
}

/// `/mcp`, `/s/{server}/mcp`, `/t/{tenant}/mcp`, `/t/{tenant}/s/{server}/mcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    tenant: Option<&'a str>,
    pub(super) server: Option<&'a str>,
}

impl<'a> Path<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        Self::scope(text.strip_suffix("/mcp")?)
    }

    /// What stands before the last part of a path.
    pub(super) fn scope(rest: &'a str) -> Option<Self> {
        let (tenant, rest) = match rest.strip_prefix("/t/") {
            Some(rest) => match rest.split_once('/') {
                Some((tenant, _)) => (Some(tenant), &rest[tenant.len()..]),
                None => (Some(rest), ""),
            },
            None => (None, rest),
        };
        let server = match rest {
            "" => None,
            _ => Some(rest.strip_prefix("/s/")?),
        };
        let valid =
            |part: Option<&str>| part.is_none_or(|part| !part.is_empty() && !part.contains('/'));
        (valid(tenant) && valid(server)).then_some(Self { tenant, server })
    }
}

impl Service {
    /// Serves `gateway` behind `guard`.
    pub fn new(gateway: Arc<Gateway>, guard: Guard) -> Self {
        Self {
            gateway,
            guard: Arc::new(guard),
            refusals: Arc::default(),
            desk: Desk::default(),
        }
    }

    async fn route(
        &self,
        visitor: &Visitor,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let (head, body) = request.into_parts();
        let Some(path) = Path::parse(head.uri.path()) else {
            return self.beside(visitor, head, body).await;
        };
        let version = text(&head.headers, &PROTOCOL_VERSION);
        let asked = Asked {
            head: &head,
            path,
            version,
            seen: &visitor.seen,
        };
        let era = era_of(version);
        let refuse = |error: CallError| Box::new(respond::error(&error, era));
        let who = self.admit(visitor, &head, path).map_err(refuse)?;
        match head.method {
            Method::POST => {
                check_types(&head.headers).map_err(refuse)?;
                let limits = &self.gateway.limits;
                let body = read::read(body, limits.body_bytes_max, limits.read_timeout)
                    .await
                    .map_err(refuse)?;
                // A body may take its time.
                let who = self.gateway.identities.renew(who).map_err(refuse)?;
                Ok(self.post(asked, who, body).await)
            }
            _ if era == Era::Stateless => Ok(respond::not_allowed("POST")),
            Method::GET => Ok(self.get(asked, who)),
            Method::DELETE => {
                let request = session_request(asked, who);
                let ended = Box::pin(self.gateway.sessions.end(&request)).await;
                Ok(ended.map_or_else(
                    |error| respond::error(&error, era),
                    |()| respond::plain(StatusCode::OK, Body::Empty),
                ))
            }
            _ => Ok(respond::not_allowed("GET, POST, DELETE")),
        }
    }

    /// Answers a browser that asks for a page of a listed origin.
    fn preflight(
        &self,
        head: &http::request::Parts,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let path = head.uri.path();
        let methods = match (Path::parse(path), Way::of(path)) {
            (Some(_), _) => "GET, POST, DELETE",
            (None, Some((way, _))) => way.method_name(),
            (None, None) => return Ok(not_found()),
        };
        // No credential comes with it.
        let open = self.gateway.identities.load().anonymous().is_some();
        let checked = self.guard.check(&head.uri, &head.headers, open);
        match checked {
            Ok(()) => Ok(cors::preflight(head, methods)),
            Err(error) => Err(Box::new(respond::error(&error, Era::Session))),
        }
    }

    /// Paths beside `/mcp`.
    async fn beside(
        &self,
        visitor: &Visitor,
        head: http::request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let path = head.uri.path().to_owned();
        let Some((way, base)) = Way::of(&path) else {
            return Ok(not_found());
        };
        // Boxed, so that a request on `/mcp` needs no room for it.
        let served = Box::pin(self.serve_at(way, base, visitor, (head, body))).await;
        served.map_err(|error| Box::new(respond::error(&error, Era::Session)))
    }

    /// Guard and identity.
    pub(super) fn admit(
        &self,
        visitor: &Visitor,
        head: &http::request::Parts,
        path: Path<'_>,
    ) -> Result<Arc<Authenticated>, CallError> {
        let tenant = path.tenant.map(Tenant::from);
        let identity = self.gateway.identities.load();
        let open = identity.anonymous().is_some();
        self.guard.check(&head.uri, &head.headers, open)?;
        if !self.gateway.serving.is_on() {
            return Err(CallError::NoLease);
        }
        let who = visitor.shown.recognise(&identity, &head.headers);
        drop(identity);
        self.enter(who, tenant.as_ref(), (visitor.peer, head.uri.path()))
    }

    /// Lets somebody in on a route, and records who is not.
    fn enter(
        &self,
        who: Result<Arc<Authenticated>, CallError>,
        tenant: Option<&Tenant>,
        (peer, path): (IpAddr, &str),
    ) -> Result<Arc<Authenticated>, CallError> {
        let audit = &self.gateway.audit;
        let entered = who.and_then(|who| match who.enter(tenant) {
            Err(CallError::ForeignTenant) => {
                audit.security("tenant_refused", &who.caller, path);
                Err(CallError::ForeignTenant)
            }
            entered => entered.map(|()| who),
        });
        entered.inspect_err(|error| {
            self.gateway.metrics.auth_failed();
            if !matches!(error, CallError::ForeignTenant) {
                self.refusals.note(audit, peer, &error.to_string());
            }
        })
    }

    async fn post(
        &self,
        asked: Asked<'_>,
        who: Arc<Authenticated>,
        body: bytes::Bytes,
    ) -> Response<Body> {
        let Asked { head, version, .. } = asked;
        let (headers, sessions) = (&head.headers, &self.gateway.sessions);
        let batch = match Batch::parse(body.clone(), &sessions.message_limits()) {
            Ok(batch) => batch,
            Err(error) => return respond::error_of(&body, &error.into(), era_of(version)),
        };
        let batch = match batch {
            Batch::One(frame) if stateless::claims_stateless(version, &frame) => {
                let trace = context(headers).or_else(|| Context::of_meta(&frame));
                let request = stateless::Request {
                    who,
                    server: asked.path.server,
                    headers: Some(headers),
                    trace,
                    cancel: None,
                };
                return respond::answer(self.gateway.stateless.post(request, frame).await);
            }
            Batch::Many(_) if era_of(version) == Era::Stateless => {
                let what = "batches do not exist in 2026-07-28".into();
                return respond::error(&CallError::InvalidRequest { what }, Era::Stateless);
            }
            batch => batch,
        };
        let request = session_request(asked, who);
        let response = sessions.post_parsed(&request, batch).await;
        respond::with_session(respond::answer(response.answer), response.session_id)
    }

    fn get(&self, asked: Asked<'_>, who: Arc<Authenticated>) -> Response<Body> {
        let headers = &asked.head.headers;
        if !accepts(headers, "text/event-stream") {
            return respond::error(&NO_STREAM_TAKEN, Era::Session);
        }
        let last_event = text(headers, &LAST_EVENT_ID);
        match self
            .gateway
            .sessions
            .listen(&session_request(asked, who), last_event)
        {
            Ok(Answer::Events(events)) => {
                use futures_util::StreamExt;
                let events = events
                    .0
                    .take_until(self.gateway.closing.clone().cancelled_owned());
                respond::answer(Answer::Events(Events(Box::pin(events))))
            }
            Ok(other) => respond::answer(other),
            Err(error @ CallError::StreamOver) => {
                respond::allowing(respond::error(&error, Era::Session), "POST, DELETE")
            }
            Err(error) => respond::error(&error, Era::Session),
        }
    }
}

impl Visitor {
    /// Whoever is at the other end of a connection from `peer`.
    pub(super) fn new(service: Service, peer: IpAddr) -> Self {
        Self {
            service,
            peer,
            shown: Shown::default(),
            seen: session::Seen::default(),
        }
    }

    /// Answers one request. Never fails: every error is a response.
    ///
    /// # Errors
    ///
    /// None.
    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let service = &self.service;
        let page = service.guard.page(request.headers());
        let is_preflight =
            page.is_some() && cors::is_preflight(request.method(), request.headers());
        let answered = match is_preflight {
            true => service.preflight(&request.into_parts().0),
            false => service.route(&self, request).await,
        };
        let mut response = answered.unwrap_or_else(|refusal| *refusal);
        if let Some(origin) = page {
            cors::open(&mut response, origin);
        }
        if service.guard.lists_origins() {
            cors::vary(&mut response);
        }
        Ok(response)
    }
}

fn session_request(asked: Asked<'_>, who: Arc<Authenticated>) -> session::Request<'_> {
    let headers = &asked.head.headers;
    session::Request {
        who,
        route: asked.head.uri.path(),
        server: asked.path.server,
        session_id: text(headers, &SESSION_ID),
        version: asked.version,
        trace: context(headers),
        seen: Some(asked.seen),
    }
}

fn era_of(version: Option<&str>) -> Era {
    let revision = version.and_then(Revision::parse);
    revision.map_or(Era::Session, Revision::era)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim_ascii)
}

pub(super) fn context(headers: &HeaderMap) -> Option<Context> {
    Context::parse(text(headers, &TRACEPARENT)?, text(headers, &TRACESTATE))
}

/// POST bodies are JSON, and clients take both kinds of answers.
fn check_types(headers: &HeaderMap) -> Result<(), CallError> {
    check_body_type(headers)?;
    let both = || accepts(headers, "application/json") && accepts(headers, "text/event-stream");
    if headers
        .get(ACCEPT)
        .is_none_or(|value| value != ACCEPTS_BOTH)
        && !both()
    {
        let kinds = "application/json and text/event-stream";
        return Err(CallError::NotAcceptable { kinds });
    }
    Ok(())
}

/// POST bodies are JSON, as it is.
pub(super) fn check_body_type(headers: &HeaderMap) -> Result<(), CallError> {
    let is_json = text(headers, &CONTENT_TYPE).is_some_and(|value| {
        value
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    });
    if !is_json {
        return Err(CallError::UnsupportedMedia);
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let coding = String::from_utf8_lossy(coding.as_bytes()).into();
            Err(CallError::EncodedBody { coding })
        }
        _ => Ok(()),
    }
}

pub(super) fn not_found() -> Response<Body> {
    respond::plain(
        StatusCode::NOT_FOUND,
        "not found; MCP is served at /mcp, /sse and /ws\n".into(),
    )
}

pub(super) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    // A client that says nothing takes anything (RFC 9110, section 12.5.1).
    if values.peek().is_none() {
        return true;
    }
    let family = kind.split('/').next().unwrap_or_default();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let name = item.split(';').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(kind)
                || name == "*/*"
                || name.strip_suffix("/*") == Some(family)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_tenant_and_server() {
        let path = |tenant, server| Some(Path { tenant, server });
        assert_eq!(Path::parse("/mcp"), path(None, None));
        assert_eq!(Path::parse("/s/files/mcp"), path(None, Some("files")));
        assert_eq!(Path::parse("/t/acme/mcp"), path(Some("acme"), None));
        assert_eq!(
            Path::parse("/t/acme/s/files/mcp"),
            path(Some("acme"), Some("files"))
        );
        for other in [
            "/",
            "/mcp/",
            "/s//mcp",
            "/s/a/b/mcp",
            "/t//mcp",
            "/x/mcp",
            "/s/mcp",
            "mcp",
            "/t/a/x/mcp",
        ] {
            assert_eq!(Path::parse(other), None, "{other}");
        }
    }
}
