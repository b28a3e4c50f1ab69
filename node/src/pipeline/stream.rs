//! Messages of a call on their way back to its client.

use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::method;

use crate::error::{CallError, UpstreamError};
use crate::policy::Access;
use crate::route::{self, Entry, Scope};
use crate::trail::Trail;
use crate::upstream::link::MessageStream;

use super::rights::Rights;
use super::{Admitted, Incoming};

/// A call whose server sends messages before the answer.
#[derive(Debug)]
pub struct CallStream {
    messages: MessageStream,
    view: View,
    trail: Option<Trail>,
    rights: Rights,
    _admitted: Admitted,
}

impl CallStream {
    pub(super) fn new(
        messages: MessageStream,
        view: View,
        trail: Trail,
        rights: Rights,
        admitted: Admitted,
    ) -> Self {
        Self {
            messages,
            view,
            trail: Some(trail),
            rights,
            _admitted: admitted,
        }
    }

    /// Next message; the last one is the answer. `None` when the server ended the stream without an answer.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`]; and when the caller lost the right to the call. The call has ended then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Frame>, CallError> {
        let next = tokio::select! {
            biased;
            // First: a server that never stops talking must not outlast the caller's rights.
            error = self.rights.lost(), if self.trail.is_some() => return Err(self.fail(error)),
            next = self.messages.next() => next,
        };
        match next {
            Ok(Some(frame)) if matches!(frame.kind(), Kind::Result | Kind::Error) => {
                let shown = match self.view.lens().answer(&frame) {
                    Ok(shown) => shown,
                    Err(error) => return Err(self.fail(error)),
                };
                if let Some(trail) = self.trail.take() {
                    // A call that is given up here is told all the same; only its answer does not come.
                    trail.answered(&frame).await?;
                }
                Ok(Some(shown.unwrap_or(frame)))
            }
            Ok(Some(frame)) => {
                if let Some(trail) = self
                    .trail
                    .as_mut()
                    .filter(|_| frame.kind() == Kind::Request)
                {
                    trail.asked();
                }
                match self.view.lens().message(&frame) {
                    Ok(shown) => Ok(Some(shown.unwrap_or(frame))),
                    Err(error) => Err(self.fail(error)),
                }
            }
            Ok(None) if self.trail.is_none() => Ok(None),
            Ok(None) => {
                let broken = UpstreamError::Broken {
                    server: self.entry().settings.name.clone(),
                    what: "the stream ended without an answer".to_owned(),
                };
                Err(self.fail(broken.into()))
            }
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// Whether the answer has passed.
    pub fn is_answered(&self) -> bool {
        self.trail.is_none()
    }

    /// Server that runs the call.
    pub fn entry(&self) -> &Entry {
        &self.view.entry
    }

    /// Ends the call because its client gave it up.
    pub fn cancelled(&mut self) {
        if let Some(trail) = self.trail.take() {
            trail.failed(&CallError::Cancelled);
        }
    }

    fn fail(&mut self, error: CallError) -> CallError {
        if let Some(trail) = self.trail.take() {
            if let CallError::Upstream(error) = &error {
                self.entry().handle.call_failed(error);
            }
            trail.failed(&error);
        }
        error
    }
}

/// How one call's answers look to its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lens<'a> {
    entry: &'a Entry,
    scope: Scope,
    method: &'a str,
    access: &'a Access,
}

/// A [`Lens`] for as long as a stream lasts.
#[derive(Debug)]
pub(super) struct View {
    entry: Entry,
    scope: Scope,
    method: Box<str>,
    access: Arc<Access>,
}

impl View {
    pub(super) fn new(incoming: &Incoming<'_>, entry: &Entry) -> Self {
        Self {
            entry: entry.clone(),
            scope: incoming.scope,
            method: incoming.frame.method().into(),
            access: Arc::clone(&incoming.who.access),
        }
    }

    fn lens(&self) -> Lens<'_> {
        Lens {
            entry: &self.entry,
            scope: self.scope,
            method: &self.method,
            access: &self.access,
        }
    }
}

impl<'a> Lens<'a> {
    /// `method` is that of the request.
    pub(super) fn new(incoming: &Incoming<'a>, method: &'a str, entry: &'a Entry) -> Self {
        Self {
            entry,
            scope: incoming.scope,
            method,
            access: &incoming.who.access,
        }
    }

    /// The answer, cut to what the caller may use: on a merged endpoint with URIs as they are listed there, on a
    /// server's own with our revisions. `None` when it is so already.
    ///
    /// # Errors
    ///
    /// [`CallError::Unwritable`]: it must not be shown as it is, and cannot be changed.
    pub(super) fn answer(&self, frame: &Frame) -> Result<Option<Frame>, CallError> {
        match self.scope {
            Scope::All => route::merged(self.entry, self.method, self.access, frame),
            Scope::Server(_) if *self.method == *method::DISCOVER => route::own_versions(frame),
            Scope::Server(_) => route::permitted(self.entry, self.method, self.access, frame),
        }
    }

    fn message(&self, frame: &Frame) -> Result<Option<Frame>, CallError> {
        match self.scope {
            Scope::All => route::prefix_notification(&self.entry.settings, frame),
            Scope::Server(_) => Ok(None),
        }
    }
}
