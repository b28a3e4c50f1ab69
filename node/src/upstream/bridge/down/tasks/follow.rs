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

    /// The task as it is now: what moves with its session.
    #[cfg(test)]
    pub(super) fn task(&self) -> Task {
        self.asking.lock().task.clone()
    }

    /// Takes the place of questions that were asked on another node. Returns what the server is told when there is none.
    #[cfg(test)]
    pub(super) fn take_seat(&self) -> Vec<Frame> {
        let mut asking = self.asking.lock();
        match self.seat(&mut asking) {
            Ok(()) => Vec::new(),
            Err(why) => asking.task.refuse_asked(why.as_str()),
        }
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

#[cfg(test)]
mod tests {
    use lockgate_cluster::Keyring;
    use lockgate_proto::jsonrpc::Limits;

    use super::super::super::abilities::Abilities;
    use super::super::super::call::Allowance;
    use super::*;
    use crate::config;
    use crate::seal::Sealer;

    const ANN: Digest = [1; 32];
    const BOB: Digest = [2; 32];

    /// A room with two places in all, and one for each caller.
    fn room() -> Arc<WaitingRoom> {
        let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
        let limits = config::Bridge {
            waiting_max: 2,
            waiting_principal_max: 1,
            ..config::Bridge::default()
        };
        Arc::new(WaitingRoom::new(Arc::new(sealer), limits, 0))
    }

    fn task(caller: Digest, room: Option<&Arc<WaitingRoom>>) -> Arc<Following> {
        let abilities = Abilities::of(r#"{"elicitation":{}}"#);
        let allowance = Allowance::from(&config::Bridge::default());
        let task = Task::new("s".to_owned(), abilities, allowance);
        Following::new(task, caller, room.cloned())
    }

    /// The server asks; gives the code of its refusal.
    fn ask(following: &Following, id: u64) -> Option<String> {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"message":"m"}}}}"#
        );
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        let refusal = following.hear(&frame)?;
        let code = refusal.body_member(&["code"]).unwrap();
        Some(code.of(refusal.text()).to_owned())
    }

    fn n_taken(room: &WaitingRoom) -> usize {
        room.usage().calls
    }

    #[test]
    fn what_a_task_asks_takes_one_place_until_all_is_answered() {
        let room = room();
        let ann = task(ANN, Some(&room));
        assert_eq!(n_taken(&room), 0);
        assert_eq!((ask(&ann, 1), ask(&ann, 2)), (None, None));
        let both = room.usage();
        assert_eq!(both.calls, 1);
        ann.on_responses(r#"{"ask-1":{"action":"accept"}}"#)
            .unwrap();
        let one = room.usage();
        assert_eq!(one.calls, 1);
        assert!(one.bytes < both.bytes, "{one:?} {both:?}");
        ann.on_responses(r#"{"ask-2":{"action":"decline"}}"#)
            .unwrap();
        assert_eq!((n_taken(&room), room.usage().bytes), (0, 0));
    }

    #[test]
    fn a_question_without_a_place_is_refused_and_takes_nobody_elses() {
        let room = room();
        let [first, second] = [(); 2].map(|()| task(ANN, Some(&room)));
        let bob = task(BOB, Some(&room));
        assert_eq!(ask(&first, 1), None);
        assert_eq!(ask(&second, 1).as_deref(), Some("-32603"));
        assert_eq!(ask(&bob, 1), None);
        assert_eq!((n_taken(&room), room.usage().refused), (2, 1));
        // What was refused was never asked.
        assert!(
            second
                .on_responses(r#"{"ask-1":{"action":"accept"}}"#)
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            first
                .on_responses(r#"{"ask-1":{"action":"accept"}}"#)
                .unwrap()
                .len(),
            1
        );
        assert_eq!(ask(&second, 2), None);
    }

    #[test]
    fn a_place_comes_back_however_its_question_ends() {
        let room = room();
        let taken_back = task(ANN, Some(&room));
        assert_eq!(ask(&taken_back, 1), None);
        let cancelled =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        let cancelled = Frame::parse(cancelled.into(), &Limits::default()).unwrap();
        assert!(taken_back.hear(&cancelled).is_none());
        assert_eq!(n_taken(&room), 0);

        let given_up = task(ANN, Some(&room));
        assert_eq!(ask(&given_up, 1), None);
        assert_eq!(given_up.give_up().len(), 1);
        assert_eq!(n_taken(&room), 0);

        let forgotten = task(ANN, Some(&room));
        assert_eq!(ask(&forgotten, 1), None);
        drop(forgotten);
        assert_eq!(n_taken(&room), 0);
    }

    #[test]
    fn where_nobody_can_wait_nothing_is_asked() {
        assert_eq!(ask(&task(ANN, None), 1).as_deref(), Some("-32603"));
    }
}
