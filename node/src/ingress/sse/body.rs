//! The stream of one client, as the body of its response.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};

use crate::ingress::body::Silence;
use crate::ingress::duplex::Outbox;

/// Events in order, and comments while there are none. Dropping it tells the line that its client went away.
pub struct StreamBody {
    events: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    silence: Silence,
}

impl StreamBody {
    /// Begins with where the client has to POST, and goes on with what the line says.
    pub(super) fn new(endpoint: &str, outbox: Outbox) -> Self {
        let first = event("endpoint", endpoint.as_bytes());
        let messages = stream::unfold(outbox, |mut outbox| async move {
            let message = outbox.next().await?;
            Some((event("message", &message), outbox))
        });
        Self {
            events: Box::pin(stream::iter([first]).chain(messages)),
            silence: Silence::default(),
        }
    }

    pub(in crate::ingress) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.events.as_mut().poll_next(context) {
            Poll::Ready(event) => {
                self.silence.broken();
                Poll::Ready(event)
            }
            Poll::Pending => self.silence.poll(context).map(Some),
        }
    }
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamBody")
    }
}

/// One event. What a line says is on one line.
fn event(name: &str, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(name.len() + data.len() + 17);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(data);
    out.put_slice(b"\n\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_their_name() {
        assert_eq!(
            event("message", b"{}"),
            "event: message\ndata: {}\n\n".as_bytes()
        );
    }
}
