//! Reads a request body within its bounds.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use lockgate_proto::jsonrpc::ParseError;

use crate::error::CallError;
use crate::task::within;

/// Reads the whole body: at most `bytes_max` bytes, within `timeout`. A body in one piece is not copied.
///
/// # Errors
///
/// Fails when the body is too large, too slow or cut off.
pub(super) async fn read(
    body: Incoming,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, CallError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(ParseError::TooLarge {
            bytes: announced,
            max: bytes_max,
        }
        .into());
    }
    let reading = pin!(collect(body, bytes_max, announced));
    within(timeout, reading).await.unwrap_or_else(|| {
        Err(CallError::InvalidRequest {
            what: "the request body came too slowly".into(),
        })
    })
}

async fn collect(
    mut body: Incoming,
    bytes_max: usize,
    announced: usize,
) -> Result<Bytes, CallError> {
    let cut = |_| CallError::InvalidRequest {
        what: "the request body was cut off".into(),
    };
    let Some(first) = next(&mut body).await.map_err(cut)? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() {
        return checked(first, bytes_max);
    }
    let Some(second) = next(&mut body).await.map_err(cut)? else {
        return checked(first, bytes_max);
    };
    let mut whole = BytesMut::with_capacity(announced.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while whole.len() <= bytes_max
        && let Some(chunk) = next(&mut body).await.map_err(cut)?
    {
        whole.extend_from_slice(&chunk);
    }
    checked(whole.freeze(), bytes_max)
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        // Trailers carry nothing for us.
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn checked(bytes: Bytes, bytes_max: usize) -> Result<Bytes, CallError> {
    if bytes.len() > bytes_max {
        return Err(ParseError::TooLarge {
            bytes: bytes.len(),
            max: bytes_max,
        }
        .into());
    }
    Ok(bytes)
}
