//! The questions of one task, wherever its server asks them: on the stream of `tasks/result`, on the session's own, or
//! on that of another call.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, encode_str};
use lockgate_proto::mcp::method;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::task::spawn_named;
use crate::upstream::CallClass;
use crate::upstream::guarded::GuardedStream;
use crate::upstream::link::{Outgoing, Reply, SEND_WAIT};
use crate::upstream::pause::Pause;

use super::super::answer;
use super::super::asked::WrongShape;
use super::super::digest::Digest;
use super::super::owned::Owned;
use super::super::room::{NoRoom, Seat, WaitingRoom};
use super::task::{Step, Task};

/// Longest wait for the first question of a task that wants input. A client that is told of none asks again.
const QUESTION_WAIT: Duration = Duration::from_secs(1);
/// A server that asks several things at once does so within this. Source: as of a call.
const GATHER_WAIT: Duration = Duration::from_millis(20);

/// A task, and whoever listens for its questions.
#[derive(Debug)]
pub(in super::super) struct Following {
    asking: Mutex<Asking>,
    news: Notify,
    /// Whose the questions are.
    caller: Digest,
    /// Where they have their place. Without one, nothing can be asked.
    room: Option<Arc<WaitingRoom>>,
    /// Reads `tasks/result`.
    reader: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// A task, and the place of what it asks.
#[derive(Debug)]
struct Asking {
    task: Task,
    seat: Option<Seat>,
}

impl Following {
    pub(super) fn new(task: Task, caller: Digest, room: Option<Arc<WaitingRoom>>) -> Arc<Self> {
        Arc::new(Self {
            asking: Mutex::new(Asking { task, seat: None }),
            caller,
            room,
            news: Notify::new(),
            reader: Mutex::default(),
        })
    }

    /// Id that the server gave it.
    pub(super) fn server_id(&self) -> String {
        self.asking.lock().task.server_id.clone()
    }

    /// Whether a message is about this task.
    pub(in super::super) fn is_meant(&self, frame: &Frame) -> bool {
        self.asking.lock().task.is_meant(frame)
    }

    /// A message about this task. Returns what the server is answered at once.
    pub(in super::super) fn hear(&self, frame: &Frame) -> Option<Frame> {
        let mut asking = self.asking.lock();
        let step = asking.task.on_message(frame);
        match step {
            Step::Send(frame) => Some(frame),
            Step::News => {
                if let Err(why) = self.seat(&mut asking) {
                    // Only a question makes it more than before.
                    return asking.task.refuse_newest(why.as_str());
                }
                self.news.notify_one();
                None
            }
            Step::Over | Step::Drop => None,
        }
    }

    /// Makes the place of the open questions as large as they are.
    fn seat(&self, asking: &mut Asking) -> Result<(), NoRoom> {
        let bytes = asking.task.asked_bytes();
        if !asking.task.is_asking() {
            asking.seat = None;
            return Ok(());
        }
        if let Some(seat) = &mut asking.seat {
            return seat.resize(bytes);
        }
        let room = self.room.as_ref().ok_or(NoRoom::Node)?;
        asking.seat = Some(room.seat(self.caller, bytes)?);
        Ok(())
    }

    fn is_asking(&self) -> bool {
        self.asking.lock().task.is_asking()
    }

    /// Raw `inputRequests` of a task that wants input; `None` when its server has asked nothing so far.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn questions(self: &Arc<Self>, owned: &Arc<Owned>) -> Option<String> {
        self.read(owned);
        let mut until = Instant::now() + QUESTION_WAIT;
        let mut is_gathering = false;
        if self.is_asking() {
            return Some(self.asking.lock().task.questions());
        }
        while timeout_at(until, self.news.notified()).await.is_ok() {
            if !is_gathering && self.is_asking() {
                is_gathering = true;
                until = Instant::now() + GATHER_WAIT;
            }
        }
        let asking = self.asking.lock();
        let is_asking = asking.task.is_asking();
        is_asking.then(|| asking.task.questions())
    }

    /// Opens the stream of the task's result, where its questions come, if nobody reads it.
    fn read(self: &Arc<Self>, owned: &Arc<Owned>) {
        let mut reader = self.reader.lock();
        if reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            return;
        }
        let (following, owned) = (Arc::downgrade(self), Arc::downgrade(owned));
        // As long as a client may take: a server that is silent for longer is asked again.
        let wait = self.room.as_ref().map(|room| room.wait());
        let (server_id, patience) = (self.server_id(), wait.unwrap_or(SEND_WAIT));
        // Ends with the task, or with whoever may ask for it.
        let task = spawn_named("questions of a task", async move {
            let Some(session) = owned.upgrade() else {
                return;
            };
            let (n, at) = (session.number(), session.session.clone());
            drop(session);
            let out = Outgoing::plain(asking(n, &server_id), patience);
            // It is the task that is waited for, and then its client: no call in flight, and its end is no measure of
            // the server.
            let pause = Pause::from_the_beginning();
            let replied = at.call_pausable(&out, CallClass::Effect, &pause).await;
            let Ok(Reply::Stream(stream)) = replied else {
                return;
            };
            let Some(mut stream) = GuardedStream::of(stream) else {
                return;
            };
            while let Ok(Some(frame)) = stream.next().await {
                if matches!(frame.kind(), Kind::Result | Kind::Error) {
                    return;
                }
                let (Some(following), Some(owned)) = (following.upgrade(), owned.upgrade()) else {
                    return;
                };
                if let Some(reply) = following.hear(&frame) {
                    let _server_gone = owned.send(reply).await;
                }
            }
        });
        *reader = Some(AbortOnDropHandle::new(task));
    }

    /// The client answers.
    ///
    /// # Errors
    ///
    /// See [`Task::on_responses`].
    pub(super) fn on_responses(&self, responses: &str) -> Result<Vec<Frame>, WrongShape> {
        let mut asking = self.asking.lock();
        let answers = asking.task.on_responses(responses)?;
        // There is always room for less.
        let _fits = self.seat(&mut asking);
        Ok(answers)
    }

    /// Nobody will answer. Returns what the server is told.
    pub(super) fn give_up(&self) -> Vec<Frame> {
        self.stop();
        let mut asking = self.asking.lock();
        asking.seat = None;
        asking.task.refuse_asked("the client cancelled the task")
    }

    /// Listens no longer.
    pub(super) fn stop(&self) {
        self.reader.lock().take();
    }
}

/// The request for the result of a task.
pub(super) fn asking(n: u64, server_id: &str) -> Frame {
    let (called, id) = (method::TASKS_RESULT, encode_str(server_id));
    answer::own(&format!(
        r#"{{"jsonrpc":"2.0","id":{n},"method":"{called}","params":{{"taskId":{id}}}}}"#
    ))
}
