//! Answers of the admin plane.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use super::error::ApiError;

/// Description of this API.
const OPENAPI: &str = include_str!("openapi.json");

/// Answer as it leaves.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer with a body of the given type.
pub(super) fn plain(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A key is shown once, and states are of the moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    answer
}

/// An answer in JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => plain(status, "application/json", body),
        // Own types with text keys: this cannot fail, and if it does it must not pass for an answer.
        Err(error) => {
            tracing::error!(%error, "answer cannot be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "")
        }
    }
}

/// 200 with JSON.
pub(super) fn ok<T: Serialize>(value: &T) -> Answer {
    json(StatusCode::OK, value)
}

/// What the API is.
pub(super) fn openapi() -> Answer {
    plain(StatusCode::OK, "application/json", OPENAPI)
}

/// 204.
pub(super) fn done() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// A refusal.
pub(super) fn refused(error: &ApiError) -> Answer {
    let body = json!({
        "error": { "code": error.code, "message": error.message, "remedy": error.remedy }
    });
    let mut answer = json(error.status, &body);
    if error.status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"lockgate admin\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    answer
}

/// 405 with the methods that the path has.
pub(super) fn not_allowed(allow: &str) -> Answer {
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take the method",
        format!("use {allow}"),
    );
    let mut answer = refused(&error);
    if let Ok(allow) = HeaderValue::from_str(allow) {
        answer.headers_mut().insert(ALLOW, allow);
    }
    answer
}
