//! Messages of one response, whichever kind it is.

use std::time::Duration;

use lockgate_proto::jsonrpc::Frame;

use super::call_stream::CallStream;
use super::listen_stream::ListenStream;
use crate::error::UpstreamError;
use crate::upstream::link::Heard;

/// Messages of an SSE body.
#[derive(Debug)]
pub struct HttpStream(Kind);

#[derive(Debug)]
enum Kind {
    Call(CallStream),
    Listen(ListenStream),
}

impl HttpStream {
    pub(super) fn call(stream: CallStream) -> Self {
        Self(Kind::Call(stream))
    }

    pub(super) fn listen(stream: ListenStream) -> Self {
        Self(Kind::Listen(stream))
    }

    /// The silence that ends a call is so long from now on.
    pub fn limit_silence(&mut self, limit: Duration) {
        if let Kind::Call(stream) = &mut self.0 {
            stream.limit_silence(limit);
        }
    }

    /// The silence that ends a call is counted from now on.
    pub fn restart_silence(&mut self) {
        if let Kind::Call(stream) = &mut self.0 {
            stream.restart_silence();
        }
    }

    /// See [`crate::upstream::link::MessageStream::next`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        match &mut self.0 {
            Kind::Call(stream) => stream.next().await,
            Kind::Listen(stream) => loop {
                match stream.next().await? {
                    Some(Heard::Message(frame)) => return Ok(Some(frame)),
                    Some(Heard::Gap) => {}
                    None => return Ok(None),
                }
            },
        }
    }

    /// See [`crate::upstream::link::MessageStream::hear`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn hear(&mut self) -> Result<Option<Heard>, UpstreamError> {
        match &mut self.0 {
            // A call that misses something fails.
            Kind::Call(stream) => Ok(stream.next().await?.map(Heard::Message)),
            Kind::Listen(stream) => stream.next().await,
        }
    }
}
