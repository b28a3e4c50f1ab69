//! The last look at an answer: what every stateless client may rely on, and the ids of its tasks.

use std::sync::Arc;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Kind, Limits, decode_str, find_path};
use lockgate_proto::mcp::{Revision, method};

use crate::error::{CallError, UpstreamError};
use crate::route::{self, Entry, Scope, TaskRef};
use crate::seal::Sealer;

use super::door::Ask;
use super::task_id::{TaskId, TooLong};
use super::validate::CAPABILITIES_KEY;

/// Name of the tasks extension.
const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Looks at the answers of one call.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) ask: Ask,
    pub(super) sealer: Arc<Sealer>,
}

impl Look {
    /// The task that the request names, if its caller has begun it and its server is in reach.
    pub(super) fn task(&self) -> Option<TaskRef> {
        if !is_about_task(&self.ask.frame) {
            return None;
        }
        let text = self.ask.frame.param_str(&["taskId"])?;
        let id = TaskId::open(&self.sealer, &self.ask.who.caller, self.ask.scope, &text)?;
        let server = self.ask.table.server(&id.server)?;
        let is_in_reach = self.ask.scope == Scope::All || self.ask.scope == Scope::Server(server);
        is_in_reach.then_some(TaskRef {
            server,
            tool: id.tool,
            own: Some(id.own),
        })
    }

    /// Refuses a request about a task that is not the caller's. Its server must not see the id: it takes the tasks of
    /// all callers for those of one, the gateway.
    pub(super) fn no_task(&self, entry: &Entry) -> CallError {
        if !has_tasks(entry) {
            return CallError::MethodNotFound {
                method: self.ask.frame.method().into_owned(),
            };
        }
        if !declares_tasks(&self.ask.frame) {
            return CallError::TasksUndeclared;
        }
        CallError::InvalidParams {
            what: "no such task".into(),
        }
    }

    /// The answer as the client reads it. Results say what they are ("absent from older servers: treat as complete",
    /// but clients need not); tasks have sealed ids.
    pub(super) fn at(&self, frame: Frame) -> Frame {
        if frame.kind() != Kind::Result {
            return frame;
        }
        let kind = frame.body_member(&["resultType"]);
        let called = self.ask.frame.method();
        let is_task = match kind.map(|kind| kind.of(frame.text())) {
            Some(r#""task""#) => *called == *method::TOOLS_CALL,
            Some(_) => *called == *method::TASKS_GET,
            None => {
                let typed = frame.with_body_member(r#""resultType":"complete""#);
                return match *called == *method::TASKS_GET {
                    true => self.sealed(typed),
                    false => typed,
                };
            }
        };
        if is_task { self.sealed(frame) } else { frame }
    }

    fn sealed(&self, frame: Frame) -> Frame {
        let Some(at) = frame.body_member(&["taskId"]) else {
            return frame;
        };
        if self.ask.frame.method() == method::TASKS_GET {
            return match self.ask.frame.param_str(&["taskId"]) {
                Some(known) => frame.with_string(at, &known),
                None => frame,
            };
        }
        let Some(own) = decode_str(at.of(frame.text())) else {
            return frame;
        };
        let ask = &self.ask;
        let none = |_: &str| None;
        let plan = route::plan(
            &ask.table,
            ask.scope,
            &ask.frame,
            Revision::V2026_07_28,
            &none,
        );
        // It was planned when it was sent.
        let Ok(plan) = plan else { return frame };
        let server = &ask.table.servers[plan.server].settings.name;
        let id = TaskId {
            server: server.to_string(),
            tool: plan.shown.into_owned(),
            own: own.into_owned(),
        };
        match id.seal(&self.sealer, &ask.who.caller, ask.scope) {
            Ok(sealed) => frame.with_string(at, &sealed),
            Err(TooLong) => unnamed(&frame, server),
        }
    }
}

/// The answer in place of a task that no client could name.
fn unnamed(frame: &Frame, server: &ServerName) -> Frame {
    let error = CallError::Upstream(UpstreamError::Garbage {
        server: server.clone(),
        what: "a task with too long an id".to_owned(),
    });
    let (id, error) = (frame.id().unwrap_or("null"), error.body());
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
    // JSON put together from JSON is JSON.
    Frame::parse(text.into(), &Limits::default()).unwrap_or_else(|_| frame.clone())
}

/// Whether a request names a task.
pub(super) fn is_about_task(frame: &Frame) -> bool {
    matches!(
        &*frame.method(),
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL
    )
}

/// Whether a server makes tasks for clients of this era.
pub(super) fn has_tasks(entry: &Entry) -> bool {
    let catalog = entry.catalog.as_deref();
    catalog.is_some_and(|catalog| {
        find_path(catalog.capabilities(), &["extensions", EXTENSION]).is_some()
    })
}

/// Whether the client can follow tasks.
pub(super) fn declares_tasks(frame: &Frame) -> bool {
    frame
        .param(&["_meta", CAPABILITIES_KEY, "extensions", EXTENSION])
        .is_some()
}
