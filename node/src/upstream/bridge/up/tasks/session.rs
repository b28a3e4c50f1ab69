//! A session's requests about tasks.

use std::time::{Duration, UNIX_EPOCH};

use lockgate_proto::jsonrpc::{Frame, Kind, Span, Splice, encode_str};
use lockgate_proto::mcp::{Revision, code, method};
use serde::{Deserialize, Serialize};

use crate::error::UpstreamError;
use crate::stamp::Stamp;
use crate::task::spawn_named;
use crate::upstream::bridge::tasks::to_session;
use crate::upstream::bridge::up::answer::{Answered, Asked, message_of};
use crate::upstream::bridge::up::request;
use crate::upstream::bridge::up::session::Session;
use crate::upstream::bridge::up::stream::{Call, UpStream};
use crate::upstream::link::{Outgoing, Reply};
use crate::upstream::retry::CallClass;

use super::Followed;
use super::answer::{self, Status};
use super::state::{Given, Phase};

/// A client's wish that its call become a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Wish {
    /// How long it wants the result to be kept.
    ttl_ms: Option<u64>,
}

/// What the session knows of a task.
enum Known {
    /// Its server knows more. Name of its tool.
    Open(String),
    /// A raw `Task`, for ever.
    Cancelled(String),
    /// Raw `Task` and result.
    Held(String, String),
}

impl Session {
    /// Whether this client can have tasks at this server.
    pub(in super::super) fn has_tasks(&self) -> bool {
        self.revision() >= Revision::V2025_11_25 && self.may_be_tasks()
    }

    /// The wish of a call, if its client has one and may.
    pub(in super::super) fn wish(&self, frame: &Frame) -> Option<Wish> {
        if frame.method() != method::TOOLS_CALL {
            return None;
        }
        let wish = frame.param(&["task"])?;
        if !wish.of(frame.text()).starts_with('{') || !self.has_tasks() {
            return None;
        }
        let ttl = frame.param(&["task", "ttl"]);
        let ttl_ms = ttl.and_then(|ttl| ttl.of(frame.text()).parse().ok());
        Some(Wish { ttl_ms })
    }

    /// What a client that wished for a task gets for an answer: a task in any case ("Receivers that accept a
    /// task-augmented request MUST return a `CreateTaskResult`").
    pub(in super::super) fn settled(&self, call: &Call, answered: Answered) -> Answered {
        let Some(wish) = call.asked.wish else {
            return answered;
        };
        let id = call.first.frame.id().unwrap_or("null");
        let tool = call.first.frame.param_str(&["name"]).unwrap_or_default();
        let created = match &answered {
            Answered::Task(frame) => {
                let Some(task) = answer::task_id(frame) else {
                    return Answered::Garbage("a task without an id".to_owned());
                };
                if self.state().tasks.begin(&task, &tool).is_err() {
                    return Answered::Garbage("a task with too long an id".to_owned());
                }
                let meta = frame.body_member(&["_meta"]);
                let body = to_session(frame.body().unwrap_or_default());
                answer::created(id, &body, meta.map(|at| at.of(frame.text())))
            }
            Answered::Done(frame) if frame.kind() == Kind::Result => {
                let at = self.stamp();
                let given = Given {
                    server: self.shared().settings.name.as_str(),
                    tool: &tool,
                    result: frame.body().unwrap_or("{}"),
                    ttl_ms: wish.ttl_ms,
                    at: &at,
                };
                match self.hold(&given) {
                    Ok(task) => answer::created(id, &task, None),
                    Err(why) => answer::refusal(id, code::INTERNAL_ERROR, why),
                }
            }
            _ => return answered,
        };
        created.map_or(answered, Answered::Done)
    }

    /// Holds an answer as a finished task; gives the raw `Task`.
    ///
    /// # Errors
    ///
    /// Says why it cannot be held. The tool has run all the same, and whoever called it must know.
    fn hold(&self, given: &Given<'_>) -> Result<String, &'static str> {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let held = state.tasks.hold(given, now_ms);
        let (id, task) =
            held.map_err(|_| "the tool has run, but its result is too large to be held")?;
        if self.weigh(&state.tasks).is_err() {
            state.tasks.forget(&id);
            return Err("the tool has run, but there is no room to hold its result");
        }
        Ok(task)
    }

    /// Now, as tasks have it.
    fn stamp(&self) -> String {
        let since = Duration::from_millis(self.now_ms());
        Stamp::new().at(UNIX_EPOCH + since).to_owned()
    }

    /// Answers a request about a task of this session.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(in super::super) async fn task_call(
        &self,
        out: Outgoing,
        class: CallClass,
    ) -> Result<Reply, UpstreamError> {
        let called = out.frame.method().into_owned();
        let id = out.frame.id().unwrap_or("null").to_owned();
        let known_method = matches!(
            &*called,
            method::TASKS_GET | method::TASKS_RESULT | method::TASKS_CANCEL
        );
        if !known_method {
            let message = format!("no method `{called}`");
            return Ok(single(answer::refusal(
                &id,
                code::METHOD_NOT_FOUND,
                &message,
            )));
        }
        let Some(task) = out.frame.param_str(&["taskId"]).map(String::from) else {
            let message = "`params.taskId` must be a string";
            return Ok(single(answer::refusal(&id, code::INVALID_PARAMS, message)));
        };
        let Some(known) = self.known(&task) else {
            return Ok(single(answer::unknown(&id)));
        };
        match (&*called, known) {
            (method::TASKS_RESULT, Known::Open(tool)) => self.follow(out, class, task, &tool),
            (method::TASKS_GET, Known::Open(_)) => {
                let state = self.ask(&out, class, method::TASKS_GET, &task).await?;
                Ok(single(told(&id, &state)))
            }
            (_, Known::Open(_)) => Ok(single(self.cancel(&out, class, &task).await?)),
            (method::TASKS_GET, Known::Cancelled(state) | Known::Held(state, _)) => {
                Ok(single(answer::state(&id, &state)))
            }
            (method::TASKS_RESULT, Known::Held(_, result)) => {
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
                Ok(single(
                    message_of(answer).map(|frame| answer::tied(frame, &task)),
                ))
            }
            (method::TASKS_RESULT, Known::Cancelled(_)) => {
                let message = "the task was cancelled";
                Ok(single(answer::refusal(&id, code::INTERNAL_ERROR, message)))
            }
            (_, Known::Cancelled(_) | Known::Held(..)) => Ok(single(ended_already(&id))),
        }
    }

    fn known(&self, task: &str) -> Option<Known> {
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.tasks.expire(now_ms);
        // Since the last time answers may have gone, and ids have come, which are few bytes.
        let _fits = self.weigh(&state.tasks);
        let known = state.tasks.get(task, now_ms)?;
        Some(match &known.phase {
            Phase::Open => Known::Open(known.tool.clone()),
            Phase::Cancelled(told) => Known::Cancelled(told.clone()),
            Phase::Held(held) => Known::Held(held.finished(task), held.result.clone()),
        })
    }

    /// Cancels a task that its server knows. The extension answers nothing, and may go on.
    async fn cancel(
        &self,
        out: &Outgoing,
        class: CallClass,
        task: &str,
    ) -> Result<Option<Frame>, UpstreamError> {
        let id = out.frame.id().unwrap_or("null");
        let state = self.ask(out, class, method::TASKS_GET, task).await?;
        let body = state.body().unwrap_or_default();
        if state.kind() == Kind::Error {
            return Ok(Some(state.with_id(id)));
        }
        if Status::of(body).is_some_and(Status::is_terminal) {
            return Ok(ended_already(id));
        }
        let cancelled = self.ask(out, class, method::TASKS_CANCEL, task).await?;
        if cancelled.kind() == Kind::Error {
            return Ok(Some(cancelled.with_id(id)));
        }
        let before = to_session(body);
        let mut splice = Splice::new(&before);
        let whole = Span::new(0, before.len());
        splice.set_member(whole, "status", r#""cancelled""#);
        splice.set_member(whole, "lastUpdatedAt", &encode_str(&self.stamp()));
        let told = String::from_utf8_lossy(&splice.finish()).into_owned();
        let answer = answer::state(id, &told);
        let mut state = self.state();
        state.tasks.cancel(task, told);
        if self.weigh(&state.tasks).is_err() {
            // As of a state that is too large for the session: the server is asked no more, either.
            state.tasks.forget(task);
        }
        drop(state);
        Ok(answer)
    }

    /// One question to the server about a task; gives its answer, with an id of ours.
    async fn ask(
        &self,
        out: &Outgoing,
        class: CallClass,
        called: &'static str,
        task: &str,
    ) -> Result<Frame, UpstreamError> {
        let mut asking = self.about(called, task);
        asking.headers.extend(out.headers.iter().cloned());
        let reply = self.dispatch(asking, class).await?;
        match reply {
            Reply::Single { frame, .. } => Ok(frame),
            Reply::Stream(mut stream) => stream.answer(&self.shared().settings.name).await,
        }
    }

    /// A request about a task, as the server wants it.
    pub(in super::super) fn about(&self, called: &'static str, task: &str) -> Outgoing {
        let metas = self.metas();
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"task","method":"{called}","params":{{"taskId":{},"_meta":{{{}}}}}}}"#,
            encode_str(task),
            metas.tasks.joined,
        );
        // Cannot fail: valid JSON was put together to valid JSON, and what the client declared stands one level deeper than
        // in its `initialize`, which ends levels before the widest limits (`limits.depth_max`).
        let frame = message_of(text).expect("own requests are messages");
        let headers = request::routing_headers(&frame, None);
        Outgoing {
            frame,
            headers,
            timeout: self.shared().settings.timeout,
        }
    }

    /// Waits for the end of a task, with its client.
    fn follow(
        &self,
        out: Outgoing,
        class: CallClass,
        task: String,
        tool: &str,
    ) -> Result<Reply, UpstreamError> {
        let asked = self.asked(method::TOOLS_CALL, Some(tool));
        let call = Call {
            session: self.clone(),
            asked: self.asked(method::TASKS_RESULT, None),
            first: out,
            class,
        };
        Ok(UpStream::following(call, Followed::openly(task, asked)))
    }

    /// What has to be known of a call to read its answer.
    pub(in super::super) fn asked(&self, called: &str, tool: Option<&str>) -> Asked {
        let published = self.shared().published.load();
        let catalog = published.catalog(lockgate_proto::mcp::Era::Stateless);
        let item = tool.and_then(|name| catalog?.tools.get(name));
        Asked {
            method: called.into(),
            tool: item.map(|item| item.raw.clone()),
            may_be_tasks: self.may_be_tasks(),
            wish: None,
            revision: self.revision(),
        }
    }

    /// A task that nobody follows any more.
    pub(in super::super) fn abandon(&self, task: String) {
        let session = self.clone();
        if tokio::runtime::Handle::try_current().is_ok() {
            // Ends when the server has answered, within its timeout.
            drop(spawn_named("cancel of a followed task", async move {
                let cancel = session.about(method::TASKS_CANCEL, &task);
                let _server_gone = session.dispatch(cancel, CallClass::Effect).await;
            }));
        }
    }
}

fn single(frame: Option<Frame>) -> Reply {
    // Cannot fail: all of them are put together from JSON that was read before.
    let frame = frame.expect("own answers are messages");
    Reply::Single { status: 200, frame }
}

/// Answer to `tasks/get`.
fn told(id: &str, state: &Frame) -> Option<Frame> {
    if state.kind() == Kind::Error {
        return Some(state.with_id(id));
    }
    answer::state(id, &to_session(state.body().unwrap_or("{}")))
}

/// "Attempt to cancel a task already in a terminal status: `-32602`".
fn ended_already(id: &str) -> Option<Frame> {
    answer::refusal(id, code::INVALID_PARAMS, "the task has ended already")
}
