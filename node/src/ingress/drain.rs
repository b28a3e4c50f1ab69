//! How connections learn that the listener goes down.
//!
//! A connection is polled several times a request and hears this once in its life, so that to ask costs it a flag: it
//! is registered to be woken when it is first polled, and looks closer only when the flag is up.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_util::server::graceful::GracefulConnection;
use tokio_util::sync::CancellationToken;

/// Tells the connections of one listener. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Drain(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    has_begun: AtomicBool,
    /// Wakes; fires behind the flag.
    begun: CancellationToken,
}

impl Drain {
    /// Every connection ends with the request at hand.
    pub(super) fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Release);
        self.0.begun.cancel();
    }

    /// Runs `connection` to its end, which comes with the request at hand once the drain has begun. Must stay in the task
    /// that polls it first: that one is woken.
    pub(super) async fn watch<C: GracefulConnection>(self, connection: C) -> C::Output {
        let mut connection = pin!(connection);
        let mut begun = pin!(self.0.begun.cancelled());
        let (mut is_registered, mut is_told) = (false, false);
        poll_fn(|context| {
            if !is_told && (!is_registered || self.0.has_begun.load(Ordering::Acquire)) {
                is_registered = true;
                if begun.as_mut().poll(context).is_ready() {
                    is_told = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            connection.as_mut().poll(context)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use futures_util::poll;
    use http::{Request, Response};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// A connection of which nobody asks anything, and its client.
    fn idle() -> (impl GracefulConnection<Error = hyper::Error>, DuplexStream) {
        let (near, far) = duplex(1024);
        let service = service_fn(|_: Request<Incoming>| {
            ready(Ok::<_, Infallible>(Response::new(String::new())))
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(near), service);
        (connection, far)
    }

    #[tokio::test]
    async fn a_connection_at_rest_is_woken_and_ends() {
        let (drain, (connection, _far)) = (Drain::default(), idle());
        let mut watched = pin!(drain.clone().watch(connection));
        assert!(poll!(&mut watched).is_pending());
        assert!(poll!(&mut watched).is_pending());
        drain.begin();
        watched.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_comes_late_ends_at_once() {
        let (drain, (connection, _far)) = (Drain::default(), idle());
        drain.begin();
        drain.watch(connection).await.unwrap();
    }
}
