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
use crate::upstream::link::{Outgoing, Reply};

use super::super::answer;
use super::super::asked::WrongShape;
use super::super::owned::Owned;
use super::task::{Step, Task};

/// Longest wait for the first question of a task that wants input. A client that is told of none asks again.
const QUESTION_WAIT: Duration = Duration::from_secs(1);
/// A server that asks several things at once does so within this. Source: as of a call.
const GATHER_WAIT: Duration = Duration::from_millis(20);

/// A task, and whoever listens for its questions.
#[derive(Debug)]
pub(in super::super) struct Following {
    task: Mutex<Task>,
    news: Notify,
    /// How long its server may be silent while its questions are read.
    patience: Duration,
    /// Reads `tasks/result`.
    reader: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Following {
    pub(super) fn new(task: Task, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            task: Mutex::new(task),
            patience,
            news: Notify::new(),
            reader: Mutex::default(),
        })
    }

    /// Id that the server gave it.
    pub(super) fn server_id(&self) -> String {
        self.task.lock().server_id.clone()
    }

    /// Whether a message is about this task.
    pub(in super::super) fn is_meant(&self, frame: &Frame) -> bool {
        self.task.lock().is_meant(frame)
    }

    /// A message about this task. Returns what the server is answered at once.
    pub(in super::super) fn hear(&self, frame: &Frame) -> Option<Frame> {
        let step = self.task.lock().on_message(frame);
        match step {
            Step::Send(frame) => Some(frame),
            Step::News => {
                self.news.notify_one();
                None
            }
            Step::Over | Step::Drop => None,
        }
    }

    /// Raw `inputRequests` of a task that wants input; `None` when its server has asked nothing so far.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn questions(self: &Arc<Self>, owned: &Arc<Owned>) -> Option<String> {
        self.read(owned);
        let mut until = Instant::now() + QUESTION_WAIT;
        let mut is_gathering = self.task.lock().is_asking();
        if is_gathering {
            return Some(self.task.lock().questions());
        }
        while timeout_at(until, self.news.notified()).await.is_ok() {
            if !is_gathering && self.task.lock().is_asking() {
                is_gathering = true;
                until = Instant::now() + GATHER_WAIT;
            }
        }
        let task = self.task.lock();
        task.is_asking().then(|| task.questions())
    }

    /// Opens the stream of the task's result, where its questions come, if nobody reads it.
    fn read(self: &Arc<Self>, owned: &Arc<Owned>) {
        let mut reader = self.reader.lock();
        if reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            return;
        }
        let (following, owned) = (Arc::downgrade(self), Arc::downgrade(owned));
        let (server_id, patience) = (self.server_id(), self.patience);
        // Ends with the task, or with whoever may ask for it.
        let task = spawn_named("questions of a task", async move {
            let Some(session) = owned.upgrade() else {
                return;
            };
            let (n, at) = (session.number(), session.session.clone());
            drop(session);
            let out = Outgoing::plain(
                asking(n, &server_id),
                // The client's patience: a server that is silent for longer is asked again.
                patience,
            );
            let Ok(Reply::Stream(stream)) = at.call(out, CallClass::Effect).await else {
                return;
            };
            let Some(mut stream) = GuardedStream::of(stream) else {
                return;
            };
            // A stream that waits for somebody else is no call in flight.
            stream.settle_early();
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
        self.task.lock().on_responses(responses)
    }

    /// Nobody will answer. Returns what the server is told.
    pub(super) fn give_up(&self) -> Vec<Frame> {
        self.stop();
        self.task
            .lock()
            .refuse_asked("the client cancelled the task")
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
