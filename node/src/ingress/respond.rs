//! Answers as HTTP responses.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use lockgate_proto::mcp::{Era, headers};

use crate::answer::Answer;
use crate::error::CallError;

use super::body::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Turns an answer into a response.
pub(super) fn answer(answer: Answer) -> Response<Body> {
    match answer {
        Answer::Accepted => plain(StatusCode::ACCEPTED, Body::Empty),
        Answer::Json {
            status,
            chunks,
            retry_after,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = plain(status, Body::Chunks(chunks));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, JSON);
            if let Some(seconds) = retry_after {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            if status == StatusCode::UNAUTHORIZED {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"lockgate\""),
                );
            }
            response
        }
        Answer::Events(events) => {
            let mut response = plain(StatusCode::OK, Body::events(events));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(
                CACHE_CONTROL,
                HeaderValue::from_static("no-cache, no-transform"),
            );
            headers.insert(
                HeaderName::from_static("x-accel-buffering"),
                HeaderValue::from_static("no"),
            );
            response
        }
    }
}

/// An error that belongs to no request of the client.
pub(super) fn error(error: &CallError, era: Era) -> Response<Body> {
    answer(Answer::error(None, error, era))
}

/// An error that belongs to the request that `text` was to be, where that is legible. No message was read from it.
pub(super) fn error_of(text: &[u8], error: &CallError, era: Era) -> Response<Body> {
    answer(Answer::refused(text, error, era))
}

/// 405 with the methods that are there.
pub(super) fn not_allowed(methods: &'static str) -> Response<Body> {
    let refusal = error(&CallError::MethodNotAllowed { methods }, Era::Session);
    allowing(refusal, methods)
}

/// Names the methods that are there, as 405 has to.
pub(super) fn allowing(mut response: Response<Body>, methods: &'static str) -> Response<Body> {
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Names the session that has just begun.
pub(super) fn with_session(
    mut response: Response<Body>,
    session_id: Option<String>,
) -> Response<Body> {
    if let Some(value) = session_id.and_then(|id| HeaderValue::try_from(id).ok()) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(headers::SESSION_ID), value);
    }
    response
}

/// A response with nothing but status and body.
pub(super) fn plain(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
