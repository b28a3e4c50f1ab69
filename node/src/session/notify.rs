//! What clients say without asking: notifications and answers to servers' requests.

use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Splice};
use lockgate_proto::mcp::{Era, method};
use tokio::time::Instant;

use crate::error::UpstreamError;
use crate::identity::Authenticated;
use crate::pipeline::Incoming;
use crate::route::Scope;
use crate::telemetry::trace::Context;
use crate::upstream::BoundSession;
use crate::upstream::link::{Outgoing, SEND_WAIT};

use super::directory::InUse;
use super::door::Inner;

impl Inner {
    /// Takes a notification of `who`.
    pub(super) async fn notified(
        self: &Arc<Self>,
        cell: &InUse,
        who: &Arc<Authenticated>,
        frame: Frame,
    ) {
        cell.touch(Instant::now());
        match &*frame.method() {
            // The far ends were told when they were opened.
            method::INITIALIZED => {}
            method::CANCELLED => {
                if let Some(span) = frame.param(&["requestId"]) {
                    let id = span.of(frame.text()).to_owned();
                    cell.cancel(&id, frame, Instant::now());
                }
            }
            method::PROGRESS => progress(cell, &frame).await,
            method::ROOTS_CHANGED => {
                for (_, session) in cell.bound() {
                    send(&session, frame.clone()).await;
                }
            }
            name if name.starts_with("notifications/") => {
                self.vendor_notified(cell, who, &frame).await;
            }
            // A request without an id: a lax server would run it, and nobody would see the answer.
            name => tracing::debug!(method = name, session = %cell.name, "not a notification"),
        }
    }

    /// What the specification does not know can be meant for one server only if there is only one. There it may do
    /// anything, so it passes policy and leaves its lines in the audit log as a call does.
    async fn vendor_notified(&self, cell: &InUse, who: &Arc<Authenticated>, frame: &Frame) {
        let bound = cell.bound();
        let [(server, session)] = bound.as_slice() else {
            return;
        };
        let table = self.pipeline.router.table(Era::Session);
        let Some(at) = table.server(server.as_str()) else {
            return;
        };
        let trace = Context::of_meta(frame);
        let incoming = Incoming {
            frame,
            table: &table,
            scope: Scope::Server(at),
            revision: session.revision(),
            who,
            session: Some(&cell.name),
            trace: trace.as_ref(),
            params: &[],
            cancel: None,
        };
        match self.pipeline.notification(&incoming, &table.servers[at]) {
            Ok(trail) => match deliver(session, frame.clone()).await {
                Ok(()) => trail.succeeded(),
                Err(error) => trail.failed(&error.into()),
            },
            Err(error) => tracing::debug!(%error, session = %cell.name, "notification refused"),
        }
    }

    /// Takes the client's answer to a server's request.
    pub(super) async fn answered(&self, cell: &InUse, frame: &Frame) {
        cell.touch(Instant::now());
        let asked = frame.id().and_then(|id| cell.answer(id));
        let Some(asked) = asked else {
            tracing::debug!(session = %cell.name, "answer to a request that is not open");
            return;
        };
        send_to(cell, asked.far, frame.with_id(&asked.server_id)).await;
    }
}

/// Tells a server how far its request has come, under the token that it gave.
async fn progress(cell: &InUse, frame: &Frame) {
    let Some(span) = frame.param(&["progressToken"]) else {
        return;
    };
    let told = {
        let state = cell.state.lock();
        let found = state.progress_for(span.of(frame.text()));
        found.map(|(far, token)| (far, token.to_owned()))
    };
    let Some((far, token)) = told else { return };
    let mut splice = Splice::new(frame.text());
    splice.replace(span, token);
    if let Ok(frame) = Frame::edited(splice) {
        send_to(cell, far, frame).await;
    }
}

/// Sends to the very session that a request came on: a server that was replaced meanwhile waits there.
async fn send_to(cell: &InUse, far: u64, frame: Frame) {
    match cell.far(far) {
        Some(session) => send(&session, frame).await,
        None => tracing::debug!(session = %cell.name, "who asked has gone"),
    }
}

async fn send(session: &BoundSession, frame: Frame) {
    let _logged = deliver(session, frame).await;
}

async fn deliver(session: &BoundSession, frame: Frame) -> Result<(), UpstreamError> {
    let sent = session.send(Outgoing::plain(frame, SEND_WAIT)).await;
    sent.inspect_err(|error| tracing::debug!(%error, "message to a server was not delivered"))
}
