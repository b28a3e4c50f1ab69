//! Where a running call hears its server.

use std::future::Future;
use std::pin::Pin;

use lockgate_proto::jsonrpc::Frame;
use parking_lot::Mutex;

use crate::error::UpstreamError;
use crate::upstream::guarded::GuardedStream;
use crate::upstream::link::Reply;

use super::shelf::Line;

type Replying = Pin<Box<dyn Future<Output = Result<Reply, UpstreamError>> + Send>>;

/// The reply of a call, as far as it has come.
pub(super) enum Source {
    /// Not answered yet. The lock is never taken: it makes the future shareable.
    Replying(Mutex<Replying>),
    /// A stream.
    Stream(Box<GuardedStream>),
    /// Answered.
    Over,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replying(_) => "Replying",
            Self::Stream(_) => "Stream",
            Self::Over => "Over",
        })
    }
}

impl Source {
    /// Of a reply that is still to come.
    pub(super) fn replying(
        reply: impl Future<Output = Result<Reply, UpstreamError>> + Send + 'static,
    ) -> Self {
        Self::Replying(Mutex::new(Box::pin(reply)))
    }

    /// See [`GuardedStream::settle_early`].
    pub(super) fn settle_early(&mut self) {
        if let Self::Stream(stream) = self {
            stream.settle_early();
        }
    }

    /// See [`GuardedStream::restart_silence`].
    pub(super) fn restart_silence(&mut self) {
        if let Self::Stream(stream) = self {
            stream.restart_silence();
        }
    }

    async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        loop {
            match self {
                Self::Stream(stream) => return stream.next().await,
                Self::Over => return Ok(None),
                Self::Replying(reply) => {
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
