//! Writes one event stream to a bare connection: HTTP/1.1 head, chunks, end. Small, because every listening client
//! holds one of these for hours.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::Body;

/// A client has nothing to say while it listens; one that talks all the same is heard for so many bytes.
const HEARD_MAX: usize = 64 << 10;

/// Writes `response`, whose body is events, dated `now`, and closes. Ends early when the client goes away.
///
/// # Errors
///
/// Fails when the connection breaks.
pub(super) async fn write<S>(
    mut stream: S,
    response: Box<Response<Body>>,
    now: SystemTime,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = head(&response, now);
    let Body::Events(mut events) = response.into_body() else {
        return Ok(());
    };
    stream.write_all(&head).await?;
    drop(head);
    let mut heard = 0;
    loop {
        stream.flush().await?;
        let mut bytes = [0; 16];
        let chunk = tokio::select! {
            biased;
            event = poll_fn(|context| events.poll(context)) => event.map(|event| chunk(&event)),
            n = stream.read(&mut bytes) => {
                let n = n?;
                heard += n;
                if n == 0 || heard > HEARD_MAX {
                    return Ok(());
                }
                continue;
            }
        };
        match chunk {
            Some(chunk) => stream.write_all(&chunk).await?,
            None => break,
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

/// The connection ends with the stream, as it has left the HTTP library.
fn head(response: &Response<Body>, now: SystemTime) -> BytesMut {
    let mut head = BytesMut::with_capacity(512);
    let date = httpdate::HttpDate::from(now);
    // Writing to a buffer that grows cannot fail.
    let _infallible = write!(
        head,
        "HTTP/1.1 {}\r\nconnection: close\r\ntransfer-encoding: chunked\r\ndate: {date}\r\n",
        response.status()
    );
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// RFC 9112, section 7.1.
fn chunk(data: &Bytes) -> Bytes {
    let mut chunk = BytesMut::with_capacity(data.len() + 20);
    // As above.
    let _infallible = write!(chunk, "{:x}\r\n", data.len());
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk.freeze()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::answer::{Event, Events};
    use crate::ingress::respond;
    use crate::task::spawn_named;

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    fn event(data: &'static str) -> Event {
        Event {
            id: None,
            retry_ms: None,
            data: Bytes::from_static(data.as_bytes()),
        }
    }

    fn response(
        events: impl futures_util::Stream<Item = Event> + Send + 'static,
    ) -> Box<Response<Body>> {
        let events = Events(Box::pin(events));
        Box::new(respond::answer(crate::answer::Answer::Events(events)))
    }

    #[tokio::test]
    async fn head_chunks_and_end_are_written_as_the_rfc_says() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let events = futures_util::stream::iter([event("1"), event("2")]);
        write(near, response(events), EPOCH).await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains("\r\ncontent-type: text/event-stream"),
            "{head}"
        );
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        let sizes: Vec<&str> = body.split("\r\n").step_by(2).collect();
        assert_eq!(sizes.last(), Some(&""), "{body}");
        assert!(body.ends_with("\r\n0\r\n\r\n"), "{body}");
        let first = usize::from_str_radix(sizes[0], 16).unwrap();
        let data = &body[sizes[0].len() + 2..][..first];
        assert!(data.contains("data: 1"), "{data}");
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_stream() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let writing = write(near, response(futures_util::stream::pending()), EPOCH);
        drop(far);
        // Either the end is read or a write fails; what counts is that it returns.
        let _ended = writing.await;
    }

    #[tokio::test]
    async fn what_a_listening_client_says_is_read_and_left() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let events = futures_util::stream::pending().boxed();
        let writing = spawn_named("writer", write(near, response(events), EPOCH));
        far.write_all(&[b'x'; HEARD_MAX + 1]).await.unwrap();
        writing.await.unwrap().unwrap();
    }
}
