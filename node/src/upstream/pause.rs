//! A call whose server comes to wait for somebody else before its reply has begun: it asked beside the call, on a
//! stream of its own.

use std::future::Future;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::error::UpstreamError;

use super::admission::{Admission, Place};
use super::link::{Outgoing, Reply, UpstreamSession};

/// Limit of the transport for a call whose clock can be stopped here; transports have but one that runs on.
const TRANSPORT_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a call holds at its server until it gets a reply.
pub(super) type Held = (Admission, Place);

/// The clock and the permits of one call, shared with whoever may stop the one and give back the others.
#[derive(Debug)]
pub(super) struct Pause {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// While an attempt is under way.
    held: Option<Held>,
    /// The server's silence is counted from here.
    since: Instant,
    has_begun: bool,
    /// Whether an attempt holds nothing from its beginning.
    is_unmeasured: bool,
}

impl Pause {
    /// The server is silent from now on.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                held: None,
                since: Instant::now(),
                has_begun: false,
                is_unmeasured: false,
            }),
        }
    }

    /// Of a request that waits for somebody else from its beginning. It holds nothing, and says nothing about its
    /// server, whatever becomes of it.
    pub(super) fn from_the_beginning() -> Self {
        let pause = Self::new();
        {
            let mut state = pause.state.lock();
            state.is_unmeasured = true;
            state.has_begun = true;
        }
        pause
    }

    /// The call is sent from now on.
    pub(super) fn begin(&self) {
        self.state.lock().has_begun = true;
    }

    /// Whether it may have been sent.
    pub(super) fn has_begun(&self) -> bool {
        self.state.lock().has_begun
    }

    /// Gives the permits back before the reply: the server has done its part, and waits for somebody else.
    pub(super) fn settle_early(&self) {
        let held = self.state.lock().held.take();
        if let Some((admission, _place)) = held {
            admission.succeed();
        }
    }

    /// The server's silence begins now: until now it was somebody else who was waited for. Whoever waits for the reply
    /// is to be polled only after this.
    pub(super) fn restart_silence(&self) {
        self.state.lock().since = Instant::now();
    }

    /// Sends `out` by `session`, and gives back what the attempt held. That is `None` when it was given back before:
    /// the server has had the call then, and it must not be sent again.
    pub(super) async fn attempt(
        &self,
        server: &ServerName,
        session: &UpstreamSession,
        out: &Outgoing,
        held: Held,
    ) -> (Result<Reply, UpstreamError>, Option<Held>) {
        {
            let mut state = self.state.lock();
            state.held = (!state.is_unmeasured).then_some(held);
            state.since = Instant::now();
        }
        let limit = out.timeout;
        let unlimited = Outgoing {
            timeout: TRANSPORT_LIMIT,
            ..out.clone()
        };
        let mut replied = self.within(limit, server, session.call(&unlimited)).await;
        if let Ok(Reply::Stream(stream)) = &mut replied {
            stream.limit_silence(limit);
        }
        (replied, self.state.lock().held.take())
    }

    /// Bounds the silence, from whenever it began last.
    async fn within<T>(
        &self,
        limit: Duration,
        server: &ServerName,
        reply: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let mut reply = std::pin::pin!(reply);
        loop {
            let until = self.state.lock().since + limit;
            if let Ok(replied) = timeout_at(until, reply.as_mut()).await {
                return replied;
            }
            if self.state.lock().since + limit <= Instant::now() {
                return Err(UpstreamError::Timeout {
                    server: server.clone(),
                    limit,
                });
            }
        }
    }
}
