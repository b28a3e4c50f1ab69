//! Where a running call hears its server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lockgate_proto::jsonrpc::Frame;
use parking_lot::Mutex;

use crate::error::UpstreamError;
use crate::upstream::guarded::GuardedStream;
use crate::upstream::link::{Outgoing, Reply};
use crate::upstream::pause::Pause;
use crate::upstream::{BoundSession, CallClass};

use super::shelf::Line;

type Replying = Pin<Box<dyn Future<Output = Result<Reply, UpstreamError>> + Send>>;

/// The reply of a call, as far as it has come.
pub(super) enum Source {
    /// Not answered yet. The lock is never taken: it makes the future shareable.
    Replying(Mutex<Replying>, Arc<Pause>),
    /// A stream.
    Stream(Box<GuardedStream>),
    /// Answered.
    Over,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replying(..) => "Replying",
            Self::Stream(_) => "Stream",
            Self::Over => "Over",
        })
    }
}

impl Source {
    /// Of the reply to `out`, which is sent by `session` when this is first read.
    pub(super) fn replying(session: BoundSession, out: Outgoing, class: CallClass) -> Self {
        let pause = Arc::new(Pause::new());
        let clock = Arc::clone(&pause);
        let reply = async move {
            clock.begin();
            session.call_pausable(&out, class, &clock).await
        };
        Self::Replying(Mutex::new(Box::pin(reply)), pause)
    }

    /// Whether the call has not been sent yet.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Self::Replying(_, pause) if !pause.has_begun())
    }

    /// See [`GuardedStream::settle_early`].
    pub(super) fn settle_early(&mut self) {
        match self {
            Self::Replying(_, pause) => pause.settle_early(),
            Self::Stream(stream) => stream.settle_early(),
            Self::Over => {}
        }
    }

    /// See [`GuardedStream::restart_silence`].
    pub(super) fn restart_silence(&mut self) {
        match self {
            Self::Replying(_, pause) => pause.restart_silence(),
            Self::Stream(stream) => stream.restart_silence(),
            Self::Over => {}
        }
    }

    async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        loop {
            match self {
                Self::Stream(stream) => return stream.next().await,
                Self::Over => return Ok(None),
                Self::Replying(reply, _) => {
                    let reply = reply.get_mut().await;
                    match reply {
                        Ok(Reply::Single { frame, .. }) => {
                            *self = Self::Over;
                            return Ok(Some(frame));
                        }
                        Ok(Reply::Stream(stream)) => {
                            *self = GuardedStream::of(stream).map_or(Self::Over, Self::Stream);
                        }
                        Err(error) => {
                            *self = Self::Over;
                            return Err(error);
                        }
                    }
                }
            }
        }
    }
}

impl Line {
    /// Next message of the server that belongs to the call.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        let Some(inbox) = &self.hold.inbox else {
            return self.source.next().await;
        };
        tokio::select! {
            biased;
            frame = inbox.next() => Ok(Some(frame)),
            next = self.source.next() => next,
        }
    }
}
