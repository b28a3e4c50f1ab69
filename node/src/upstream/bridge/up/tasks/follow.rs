//! A task followed to its end: asked about again and again, and its questions put to the client.

use lockgate_proto::jsonrpc::{Frame, Kind, members};
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::UpstreamError;
use crate::upstream::bridge::tasks::declares;
use crate::upstream::bridge::up::answer::{self as reading, Answered, Asked};
use crate::upstream::bridge::up::profile::META_KEYS;
use crate::upstream::bridge::up::request;
use crate::upstream::bridge::up::stream::{Leg, UpStream};

use super::answer::{self, Status};

/// Which task, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Followed {
    id: String,
    /// The call that became it.
    asked: Asked,
    /// Whether the client knows of it; if not, it waits for the answer to its call.
    is_known: bool,
    last: Option<Status>,
}

impl Followed {
    /// With a client that asks for its result.
    pub(super) fn openly(id: String, asked: Asked) -> Self {
        Self {
            id,
            asked,
            is_known: true,
            last: None,
        }
    }
}

impl UpStream {
    /// The server cannot answer this call but by a task: it may make one now.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Unwritable`].
    pub(in super::super) fn allow_task(&mut self, refusal: Frame) -> Result<(), UpstreamError> {
        let capabilities = self.sent.param(&["_meta", META_KEYS[1]]);
        if capabilities.is_none_or(|at| declares(at.of(self.sent.text()))) {
            // It has been told so.
            self.finish(refusal);
            return Ok(());
        }
        let session = &self.call.session;
        let frame = request::with_meta(&self.sent, &session.metas().tasks)
            .map_err(|source| session.unwritable(source))?;
        self.sent = frame.clone();
        self.leg = Leg::Sending(self.call.sending(frame));
        Ok(())
    }

    /// The server has made a task of a call whose client knows nothing of tasks.
    pub(in super::super) fn follow_hidden(&mut self, created: &Frame) -> Result<(), UpstreamError> {
        let Some(id) = answer::task_id(created) else {
            return Err(self.garbage("a task without an id"));
        };
        let session = &self.call.session;
        let tool = self.call.first.frame.param_str(&["name"]);
        let tool = tool.unwrap_or_default();
        if session.state().tasks.begin(&id, &tool).is_err() {
            return Err(self.garbage("a task with too long an id"));
        }
        self.followed = Some(Followed {
            id,
            asked: self.call.asked.clone(),
            is_known: false,
            last: None,
        });
        // What was asked before the task began belongs to the call.
        self.begin_anew();
        self.wait(created.body().unwrap_or_default());
        Ok(())
    }

    fn wait(&mut self, task: &str) {
        self.leg = Leg::Waiting(Instant::now() + answer::poll_after(task));
    }

    /// Asks for the state of the task.
    pub(in super::super) fn poll(&mut self) {
        let Some(followed) = &self.followed else {
            self.leg = Leg::Done;
            return;
        };
        let asking = self.call.session.about(method::TASKS_GET, &followed.id);
        self.sent = asking.frame.clone();
        self.leg = Leg::Sending(self.call.sending_out(asking));
    }

    /// An answer of the server about the task.
    pub(in super::super) fn on_followed(&mut self, frame: &Frame) -> Result<(), UpstreamError> {
        let Some(followed) = &mut self.followed else {
            return Ok(());
        };
        let session = &self.call.session;
        if self.sent.method() == method::TASKS_UPDATE {
            if frame.kind() == Kind::Result {
                let given = self.sent.param(&["inputResponses"]);
                let given = given.map_or("{}", |at| at.of(self.sent.text()));
                let keys = members(given).map(|member| member.key.into_owned());
                session.state().tasks.note_answered(&followed.id, keys);
            }
            self.poll();
            return Ok(());
        }
        let task = frame.body().unwrap_or_default();
        if frame.kind() == Kind::Error {
            self.finish_followed(frame.clone());
            return Ok(());
        }
        let Some(status) = Status::of(task) else {
            return Err(self.garbage("a task without a state"));
        };
        let before = followed.last.replace(status);
        if followed.is_known && before.is_some_and(|before| before != status) {
            self.queue.extend(answer::told(task));
        }
        match status {
            Status::Working => self.wait(task),
            Status::InputRequired => self.put_questions(task),
            Status::Completed | Status::Failed | Status::Cancelled => self.end_followed(task)?,
        }
        Ok(())
    }

    fn put_questions(&mut self, task: &str) {
        let Some(followed) = &self.followed else {
            return;
        };
        let session = &self.call.session;
        let tie = followed.is_known.then_some(&*followed.id);
        let is_answered = |key: &str| session.state().tasks.is_answered(&followed.id, key);
        let Some(wanted) = answer::questions(task, tie, is_answered) else {
            self.wait(task);
            return;
        };
        let update = session.about(method::TASKS_UPDATE, &followed.id);
        self.queue
            .extend(session.wanted(self.serial, &wanted, &update.frame));
        self.leg = Leg::Asking;
    }

    fn end_followed(&mut self, task: &str) -> Result<(), UpstreamError> {
        let Some(followed) = &self.followed else {
            return Ok(());
        };
        let id = self.call.id();
        let Some(ended) = answer::ended(id, task) else {
            return Err(self.garbage("a task that has ended without its result"));
        };
        let answered = reading::translate(&followed.asked, ended);
        let frame = match answered {
            Answered::Done(frame) | Answered::NeedsTask(frame) => frame,
            Answered::Misfit { .. }
            | Answered::Garbage(_)
            | Answered::Wants(_)
            | Answered::Task(_) => {
                return Err(self.garbage("a task with a result that is none"));
            }
        };
        self.finish_followed(frame);
        Ok(())
    }

    fn finish_followed(&mut self, frame: Frame) {
        if let Some(followed) = self.followed.take() {
            if followed.is_known {
                self.finish(answer::tied(frame, &followed.id));
                return;
            }
            self.call.session.state().tasks.forget(&followed.id);
        }
        self.finish(frame);
    }

    /// A task that the client never knew of ends with its interest.
    pub(in super::super) fn leave_followed(&mut self) {
        if let Some(followed) = self.followed.take().filter(|followed| !followed.is_known) {
            let session = &self.call.session;
            session.state().tasks.forget(&followed.id);
            session.abandon(followed.id);
        }
    }
}
