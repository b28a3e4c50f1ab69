//! Reads the body of a request within its bounds.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Largest body, in bytes; the settings of one server have at most 64 KiB.
const BYTES_MAX: usize = 256 << 10;
/// Longest time for a body to arrive.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Reads the whole body.
pub(super) async fn read<B>(body: B) -> Result<Bytes, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collect = Limited::new(body, BYTES_MAX).collect();
    match tokio::time::timeout(TIME_MAX, collect).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body has more than {BYTES_MAX} bytes"),
            "",
        )),
        Ok(Err(_cut)) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "body_cut_off",
            "the body was cut off",
            "send it again",
        )),
        Err(_elapsed) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "the body came too slowly",
            "send it again",
        )),
    }
}

/// Reads a body as JSON. Its content type is not looked at: whoever may come in is no web page.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let remedy = "compare the body with /openapi.json";
        if error.is_data() {
            ApiError::invalid(
                "invalid_body",
                format!("the body does not fit: {error}"),
                remedy,
            )
        } else {
            let message = format!("the body is not JSON: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message, remedy)
        }
    })
}
