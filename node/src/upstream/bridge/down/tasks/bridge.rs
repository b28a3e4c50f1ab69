//! A stateless client's requests about tasks.

use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind, decode_str, encode_str, find, find_path};
use lockgate_proto::mcp::{Era, code, method};

use crate::error::UpstreamError;
use crate::upstream::bridge::tasks::{EXTENSION, Support, declares, offers_tools, support};
use crate::upstream::link::Reply;
use crate::upstream::shared::Shared;

use super::super::answer::{self as reading, Question};
use super::super::bridge::{Ask, Bridge, refused};
use super::super::call::Call;
use super::super::digest;
use super::super::hold::Hold;
use super::super::owned::Owned;
use super::super::turn::{Envelope, Turn};
use super::answer::{self, Detail, Status};
use super::desk::{Desk, Kept};
use super::places::{Place, TASKS_OWNER_MAX};
use super::task::Task;

/// Whether a call becomes a task.
#[derive(Debug)]
pub(in super::super) enum Manner {
    /// It is answered when it is done.
    Call,
    /// It becomes one, for which there is a place.
    Task(Place),
    /// It cannot be called otherwise, and its client cannot follow it.
    Unfollowed,
}

impl Bridge {
    /// How a request is sent: "the server decides on a per-request basis whether to materialize a task", and to the
    /// client that is the gateway. Where both can, it does: the result outlives the connection.
    ///
    /// # Errors
    ///
    /// `AtLimit` where it must become a task and there is no place for another.
    pub(in super::super) fn manner(
        &self,
        shared: &Shared,
        ask: &Ask<'_>,
    ) -> Result<Manner, UpstreamError> {
        let frame = &ask.out.frame;
        if frame.method() != method::TOOLS_CALL {
            return Ok(Manner::Call);
        }
        let follows = declares(ask.envelope.capabilities);
        let place = || self.desk.reserve(&digest::of_owner(ask.owner));
        match (supported(shared, frame), follows) {
            (Support::Forbidden, _) | (Support::Optional, false) => Ok(Manner::Call),
            (Support::Optional, true) => Ok(place().map_or(Manner::Call, Manner::Task)),
            (Support::Required, false) => Ok(Manner::Unfollowed),
            (Support::Required, true) => match place() {
                Some(place) => Ok(Manner::Task(place)),
                None => Err(UpstreamError::AtLimit {
                    server: shared.settings.name.clone(),
                    limit: TASKS_OWNER_MAX,
                    what: "tasks of this caller",
                }),
            },
        }
    }

    /// The answer to a call that was to become a task; `None` where the server has not made one.
    pub(in super::super) fn created(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        hold: &mut Hold,
        frame: &Frame,
    ) -> Option<(u16, Frame)> {
        if frame.kind() != Kind::Result {
            return None;
        }
        let result = frame.body()?;
        let raw = find(result, "task").map(|at| at.of(result))?;
        let at = find(raw, "taskId")?;
        let server_id = decode_str(at.of(raw))?.into_owned();
        // Every call that is sent as a task holds one.
        let place = *hold.place.take()?;
        let owned = &hold.owned;
        let allowance = self.shelf.allowance;
        let task = Task::new(server_id, call.turn.abilities, allowance);
        let kept = self.desk.keep(owned, task, place);
        self.keep_swept(shared);
        let created = answer::with(&answer::created(result, raw, &kept.id));
        Some(told(&call.turn, owned, &created))
    }

    /// Answers a request about a task.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(in super::super) async fn task_call(
        &self,
        ask: &Ask<'_>,
        turn: Turn,
    ) -> Result<Reply, UpstreamError> {
        let called = ask.out.frame.method();
        let id = &*turn.id;
        let named = ask.out.frame.param_str(&["taskId"]).unwrap_or_default();
        // A server that was replaced keeps its tasks until they have ended.
        let keeper = self.keeper_of_task(&ask.shared.settings.name, &named);
        let shared = keeper.as_ref().unwrap_or(ask.shared);
        let desk = &shared.down.desk;
        if keeper.is_none() && !offers(shared) {
            return Ok(refused(404, id, code::METHOD_NOT_FOUND, "Method not found"));
        }
        if !declares(ask.envelope.capabilities) {
            return Ok(undeclared(id));
        }
        let owner = digest::of_owner(ask.owner);
        let Some(kept) = desk.find(&named, &owner) else {
            return Ok(refused(400, id, code::INVALID_PARAMS, "no such task"));
        };
        let done = match &*called {
            method::TASKS_UPDATE => update(&kept, &ask.envelope).await,
            method::TASKS_CANCEL => cancel(&kept).await,
            _ => state(desk, &kept).await,
        };
        if let Err(UpstreamError::SessionLost { .. }) = &done {
            desk.forget_session(&kept.owned);
            shared.down.forget(&kept.owned);
        }
        let (status, frame) = told(&turn, &kept.owned, &done?);
        Ok(Reply::Single { status, frame })
    }
}

/// The call of a tool that is nothing but tasks, for a client that cannot follow one: "the server MUST return an error
/// with the code `-32021`".
pub(in super::super) fn undeclared(id: &str) -> Reply {
    let data = format!(r#"{{"requiredCapabilities":{{"extensions":{{"{EXTENSION}":{{}}}}}}}}"#);
    let message = "the client did not declare the tasks extension";
    Reply::Single {
        status: 400,
        frame: reading::refusal(id, code::MISSING_CAPABILITY, message, Some(&data)),
    }
}

/// Whether the server runs tools as tasks.
fn offers(shared: &Shared) -> bool {
    let published = shared.published.load();
    let catalog = published.catalog(Era::Session);
    catalog.is_some_and(|catalog| offers_tools(catalog.capabilities()))
}

/// What the called tool says about tasks, as the server lists it to everybody.
fn supported(shared: &Shared, frame: &Frame) -> Support {
    let published = shared.published.load();
    let Some(catalog) = published.catalog(Era::Session) else {
        return Support::Forbidden;
    };
    let name = frame.param_str(&["name"]);
    let tool = name.and_then(|name| catalog.tools.get(&name));
    match tool.filter(|_| offers_tools(catalog.capabilities())) {
        Some(tool) => support(std::str::from_utf8(&tool.raw).unwrap_or_default()),
        None => Support::Forbidden,
    }
}

/// An answer of ours, or of the server, for the client.
fn told(turn: &Turn, owned: &Owned, frame: &Frame) -> (u16, Frame) {
    let question = Question {
        method: method::TASKS_GET,
        uri: None,
        turn,
    };
    reading::translate(question, frame, owned.server_info.as_deref())
}

/// The state of a task, with what belongs to it.
async fn state(desk: &Desk, kept: &Kept) -> Result<Frame, UpstreamError> {
    let answer = about(kept, method::TASKS_GET).await?;
    if answer.kind() == Kind::Error {
        if error_code(&answer) == Some(code::INVALID_PARAMS) {
            // Its server knows it no more.
            desk.note_told(kept);
        }
        return Ok(answer);
    }
    let task = answer.body().unwrap_or("{}");
    let (questions, ended);
    let detail = match Status::of(task) {
        Status::Working => Detail::Only("working"),
        Status::Cancelled => {
            desk.note_told(kept);
            Detail::Only("cancelled")
        }
        Status::InputRequired => {
            questions = kept.following.questions(&kept.owned).await;
            // Until the server has asked, there is nothing that the client could do.
            match &questions {
                Some(questions) => Detail::Questions(questions),
                None => Detail::Only("working"),
            }
        }
        Status::Ended => {
            ended = about(kept, method::TASKS_RESULT).await?;
            kept.following.stop();
            desk.note_told(kept);
            Detail::Answer(&ended)
        }
    };
    Ok(answer::with(&answer::state(task, &kept.id, detail)))
}

/// Passes the client's answers on. "On success, the server MUST acknowledge the request with an empty result."
async fn update(kept: &Kept, envelope: &Envelope<'_>) -> Result<Frame, UpstreamError> {
    let responses = envelope.responses.unwrap_or("{}");
    let answers = match kept.following.on_responses(responses) {
        Ok(answers) => answers,
        Err(wrong) => {
            let message = format!(
                "`inputResponses[\"{}\"]` must be {}",
                wrong.key, wrong.wants
            );
            let code = code::INVALID_PARAMS;
            return Ok(reading::refusal("0", code, &message, None));
        }
    };
    for answer in answers {
        kept.owned.send(answer).await?;
    }
    Ok(answer::with("{}"))
}

/// Cancels a task, as far as its server lets it be: "it is only obligated to acknowledge the request".
async fn cancel(kept: &Kept) -> Result<Frame, UpstreamError> {
    let answer = about(kept, method::TASKS_CANCEL).await?;
    match error_code(&answer) {
        // It has ended already, or cannot be cancelled.
        None | Some(code::INVALID_PARAMS | code::METHOD_NOT_FOUND) => {}
        Some(_) => return Ok(answer),
    }
    for refusal in kept.following.give_up() {
        let _server_gone = kept.owned.send(refusal).await;
    }
    Ok(answer::with("{}"))
}

fn error_code(answer: &Frame) -> Option<i32> {
    let error = answer.body().filter(|_| answer.kind() == Kind::Error)?;
    find_path(error, &["code"])?.of(error).parse().ok()
}

/// One question to the server about a task; gives its answer.
async fn about(kept: &Kept, called: &str) -> Result<Frame, UpstreamError> {
    let params = format!(
        r#"{{"taskId":{}}}"#,
        encode_str(&kept.following.server_id())
    );
    kept.owned.request(called, &params).await
}
