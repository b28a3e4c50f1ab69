//! The part of every request that is the same, made once.

use std::io;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use http_body_util::Full;
use lockgate_proto::mcp::headers;
use secrecy::{ExposeSecret, SecretString};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static(headers::SESSION_ID);
pub(in crate::upstream::transport) const PROTOCOL_VERSION: HeaderName =
    HeaderName::from_static(headers::PROTOCOL_VERSION);
pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static(headers::METHOD);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static(headers::LAST_EVENT_ID);

/// What the HTTP codec alone decides.
const FRAMING: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

/// Target and headers that every request to one address, or of one session, carries.
#[derive(Clone, Debug)]
pub(in crate::upstream::transport) struct Template {
    uri: Uri,
    headers: HeaderMap,
}

impl Template {
    /// Headers of MCP over HTTP, then the `injected` ones, which win.
    pub(super) fn new(url: &Uri, injected: &[(HeaderName, SecretString)]) -> io::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host(url)?);
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("lockgate/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, secret) in injected {
            if FRAMING.contains(name) {
                return Err(invalid(format!("header `{name}` cannot be injected")));
            }
            // The value stays out of the message: it is a secret.
            let mut value = HeaderValue::from_str(secret.expose_secret())
                .map_err(|_| invalid(format!("value of header `{name}` is invalid")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            uri: Uri::try_from(target).map_err(|error| invalid(error.to_string()))?,
            headers,
        })
    }

    /// The same with one more header.
    #[must_use]
    pub(in crate::upstream::transport) fn with(
        &self,
        name: HeaderName,
        value: HeaderValue,
    ) -> Self {
        let mut more = self.clone();
        more.headers.insert(name, value);
        more
    }

    /// The same for another target at the address.
    #[must_use]
    pub(in crate::upstream::transport) fn at(&self, target: PathAndQuery) -> Self {
        Self {
            uri: target.into(),
            headers: self.headers.clone(),
        }
    }

    /// POST of one message. `extra` never replaces what the template has, so that a caller's headers cannot stand in
    /// for injected credentials; and no `Authorization` leaves that is not injected, because the client's own token
    /// is meant for the gateway alone.
    pub(super) fn post(
        &self,
        extra: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut headers = self.headers.clone();
        for (name, value) in extra {
            if *name != AUTHORIZATION && !self.headers.contains_key(name) && !FRAMING.contains(name)
            {
                headers.append(name, value.clone());
            }
        }
        self.request(Method::POST, headers, body)
    }

    /// GET of an event stream, from after `last_event_id` if given.
    pub(super) fn get(&self, last_event_id: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut headers = self.bodiless();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id {
            headers.insert(LAST_EVENT_ID, id.clone());
        }
        self.request(Method::GET, headers, Bytes::new())
    }

    /// DELETE of the session.
    pub(super) fn delete(&self) -> Request<Full<Bytes>> {
        self.request(Method::DELETE, self.bodiless(), Bytes::new())
    }

    fn bodiless(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_TYPE);
        headers
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

fn host(url: &Uri) -> io::Result<HeaderValue> {
    let authority = url
        .authority()
        .ok_or_else(|| invalid("URL has no host".to_owned()))?
        .as_str();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_credentials, host)| host);
    HeaderValue::from_str(host).map_err(|error| invalid(error.to_string()))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
