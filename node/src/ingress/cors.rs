//! What a browser has to be told before a page of a listed origin may ask, and read what it is answered (Fetch standard,
//! section "CORS protocol"). Pages of other origins are told nothing.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, VARY,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use super::body::Body;
use super::respond;

/// What a page reads beside the few headers that it may read anyway.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("mcp-session-id, mcp-protocol-version, retry-after, www-authenticate");
/// Seconds for which a browser need not ask again; none keeps it for longer than two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// Answers differ by it: caches must not give one page what was meant for another.
const VARIES: HeaderValue = HeaderValue::from_static("origin");

/// Whether a browser asks what a page may do.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets a page use `methods`, with whatever headers it wants: they say nothing but what other clients may say, too, and
/// those of a tool's arguments (`Mcp-Param-*`) have any names.
pub(super) fn preflight(head: &Parts, methods: &'static str) -> Response<Body> {
    let mut response = respond::plain(StatusCode::NO_CONTENT, Body::Empty);
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static(methods);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(wanted) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Lets a page of `origin` read `response`.
pub(super) fn open(response: &mut Response<Body>, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// Says that pages are not all answered alike. Where one may read, also what another is answered, and who is no page.
pub(super) fn vary(response: &mut Response<Body>) {
    response.headers_mut().append(VARY, VARIES);
}
