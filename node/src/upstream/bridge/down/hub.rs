//! What a server says to an owned session beside its calls, and who hears it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::{code, method};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use crate::upstream::bridge::clock::{Clock, as_ms};

#[cfg(test)]
use crate::upstream::copy::through_bytes;

use super::abilities::{Abilities, Refusal};
use super::answer;
use super::inboxes::Inboxes;
use super::tasks::Following;

/// News that wait for a slow listener. One that misses some is told that everything may have changed.
const NEWS_MAX: usize = 256;

/// What listeners hear.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A notification.
    Told(Frame),
    /// Nobody listened for a while: anything may have changed.
    Gap,
}

/// The hearers of one session.
#[derive(Debug)]
pub(super) struct Hub {
    news: broadcast::Sender<News>,
    /// Whether the server has a stream of its own; `None` while nobody knows.
    offered: watch::Sender<Option<bool>>,
    following: AtomicBool,
    /// Counts what may have changed lists.
    changes: AtomicU64,
    /// What the client can be asked.
    abilities: Abilities,
    /// What time it is in the session.
    pub(super) clock: Clock,
    /// How long a question waits until it is known whose it is.
    hold_ms: u64,
    /// For the calls that run and may be asked about.
    inboxes: Mutex<Inboxes>,
    /// Of those who read there.
    wakers: Mutex<HashMap<u64, Arc<Notify>>>,
    /// Tells that calls and questions have come or gone.
    moved: Notify,
    /// Tasks that go on in the session.
    tasks: Mutex<Vec<Arc<Following>>>,
    /// Fires when the session is over.
    pub(super) ended: CancellationToken,
}

impl Hub {
    /// Of a client with these abilities; a question waits for `hold` at most until it is known whose it is.
    pub(super) fn new(abilities: Abilities, hold: Duration, clock: Clock) -> Self {
        Self {
            news: broadcast::Sender::new(NEWS_MAX),
            offered: watch::Sender::new(None),
            following: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            abilities,
            clock,
            hold_ms: as_ms(hold),
            inboxes: Mutex::default(),
            wakers: Mutex::default(),
            moved: Notify::new(),
            tasks: Mutex::default(),
            ended: CancellationToken::new(),
        }
    }

    /// Hears news from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Whether somebody follows the stream.
    pub(super) fn is_followed(&self) -> bool {
        self.following.load(Ordering::Acquire)
    }

    /// Whether the caller is the one who has to follow the stream.
    pub(super) fn begin_following(&self) -> bool {
        !self.following.swap(true, Ordering::AcqRel)
    }

    /// The server has a stream of its own, or has none.
    pub(super) fn set_offered(&self, offered: bool) {
        self.offered.send_replace(Some(offered));
    }

    /// Whether the server has a stream of its own, as soon as that is known.
    pub(super) async fn offered(&self) -> bool {
        let mut offered = self.offered.subscribe();
        let known = offered.wait_for(Option::is_some).await;
        // Fails when the session is gone.
        known.is_ok_and(|known| *known == Some(true))
    }

    /// How often lists may have changed.
    pub(super) fn n_changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Tells listeners.
    pub(super) fn tell(&self, news: News) {
        let is_update = match &news {
            News::Told(frame) => frame.method() == method::RESOURCE_UPDATED,
            News::Gap => false,
        };
        if !is_update {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        // Fails when nobody listens.
        let _unheard = self.news.send(news);
    }

    /// `wake` is told of what there is to read for the call.
    pub(super) fn open(&self, n: u64, wake: &Arc<Notify>) {
        self.wakers.lock().insert(n, Arc::clone(wake));
    }

    /// The call runs: what belongs to no stream may be about it.
    pub(super) fn enter(&self, n: u64, can_ask: bool) {
        let now_ms = self.clock.now_ms();
        let given = self.inboxes.lock().enter(n, can_ask, now_ms);
        self.wake(given);
        self.moved.notify_one();
    }

    /// The call has ended, or waits for its client.
    pub(super) fn leave(&self, n: u64) {
        let given = self.inboxes.lock().leave(n, self.clock.now_ms());
        self.wake(given);
        self.moved.notify_one();
    }

    /// The call, which has left, reads no more. Returns what it has not read.
    pub(super) fn close(&self, n: u64) -> Vec<Frame> {
        self.wakers.lock().remove(&n);
        self.inboxes.lock().close(n)
    }

    /// Next message for the call.
    pub(super) fn take(&self, n: u64) -> Option<Frame> {
        self.inboxes.lock().take(n)
    }

    fn wake(&self, calls: impl IntoIterator<Item = u64>) {
        for n in calls {
            if let Some(wake) = self.wakers.lock().get(&n) {
                wake.notify_one();
            }
        }
    }

    /// What the server is answered to questions that turn out to be nobody's.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn refusals(&self) -> Vec<Frame> {
        loop {
            let next = {
                let mut inboxes = self.inboxes.lock();
                let nobodys = inboxes.take_nobodys(self.clock.now_ms());
                if !nobodys.is_empty() {
                    return nobodys.iter().map(refuse_nobodys).collect();
                }
                inboxes.next_late()
            };
            // Keeps a wake that came in between: there is one reader.
            let moved = self.moved.notified();
            match next.and_then(|late| self.clock.at(late)) {
                // Either way the floor is looked at again.
                Some(late) => drop(timeout_at(late, moved).await),
                None => moved.await,
            }
        }
    }

    /// A task has begun.
    pub(super) fn begin_task(&self, task: &Arc<Following>) {
        self.tasks.lock().push(Arc::clone(task));
    }

    /// A task is forgotten.
    pub(super) fn end_task(&self, task: &Arc<Following>) {
        self.tasks.lock().retain(|other| !Arc::ptr_eq(other, task));
    }

    /// The task that a request of the server says it is about.
    pub(super) fn task_of(&self, frame: &Frame) -> Option<Arc<Following>> {
        if frame.kind() != Kind::Request {
            return None;
        }
        let tasks = self.tasks.lock();
        tasks.iter().find(|task| task.is_meant(frame)).cloned()
    }

    /// The server takes a question back: it may be a task's, wherever it says so.
    pub(super) fn take_back(&self, cancelled: &Frame) {
        let tasks = self.tasks.lock().clone();
        for task in tasks {
            // A task answers nothing to this.
            let _none = task.hear(cancelled);
        }
    }

    /// A message of the session's own stream. Returns what the server is answered at once.
    pub(super) fn hear(&self, frame: Frame) -> Option<Frame> {
        match frame.kind() {
            Kind::Request => self.hear_request(frame),
            Kind::Notification => {
                self.hear_notification(frame);
                None
            }
            Kind::Result | Kind::Error => None,
        }
    }

    fn hear_request(&self, frame: Frame) -> Option<Frame> {
        let id = frame.id().unwrap_or("null");
        if frame.method() == method::PING {
            return Some(answer::own(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#
            )));
        }
        if let Err(Refusal { code, message }) = self.abilities.admit(&frame) {
            return Some(answer::refusal(id, code, message, None));
        }
        if let Some(task) = self.task_of(&frame) {
            return task.hear(&frame);
        }
        let until_ms = self.clock.now_ms().saturating_add(self.hold_ms);
        let asked = self.inboxes.lock().ask(frame, until_ms);
        self.moved.notify_one();
        match asked {
            Ok(given) => {
                self.wake(given);
                None
            }
            Err(question) => Some(refuse_nobodys(&question)),
        }
    }

    fn hear_notification(&self, frame: Frame) {
        match &*frame.method() {
            method::TOOLS_CHANGED
            | method::PROMPTS_CHANGED
            | method::RESOURCES_CHANGED
            | method::RESOURCE_UPDATED => self.tell(News::Told(frame)),
            method::PROGRESS => {
                let told = self.inboxes.lock().tell_progress(frame);
                self.wake(told);
            }
            method::CANCELLED => {
                self.take_back(&frame);
                let told = self.inboxes.lock().withdraw(&frame);
                self.wake(told);
            }
            _ => {
                let told = self.inboxes.lock().tell_only(frame);
                self.wake(told);
            }
        }
    }
}

#[cfg(test)]
impl Hub {
    /// Messages that wait for the call.
    pub(super) fn n_unread(&self, n: u64) -> usize {
        self.inboxes.lock().n_unread(n)
    }

    /// Goes on with a copy of all that is data.
    pub(super) fn copy(&self) {
        let mut inboxes = self.inboxes.lock();
        *inboxes = through_bytes(&*inboxes);
    }
}

fn refuse_nobodys(question: &Frame) -> Frame {
    let id = question.id().unwrap_or("null");
    let message = "the request belongs to no call of a client";
    answer::refusal(id, code::METHOD_NOT_FOUND, message, None)
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;
    use tokio::time::Instant;

    use super::super::inbox::Inbox;
    use super::super::inboxes::INBOX_MAX;
    use super::*;

    fn frame(text: &str) -> Frame {
        let text = format!(r#"{{"jsonrpc":"2.0",{text}}}"#);
        Frame::parse(text.into(), &Limits::default()).unwrap()
    }

    const HOLD: Duration = Duration::from_secs(5);

    fn hub() -> Arc<Hub> {
        let abilities = Abilities::of(r#"{"elicitation":{},"roots":{}}"#);
        Arc::new(Hub::new(abilities, HOLD, Clock::set_to(0)))
    }

    const ELICIT: &str = r#""id":1,"method":"elicitation/create""#;

    #[test]
    fn a_question_goes_to_the_only_call_or_back() {
        let hub = hub();
        let ask = |text| hub.hear(frame(text));
        assert!(ask(ELICIT).unwrap().text().contains("-32601"));
        let a = Inbox::open(&hub, 1, true);
        assert!(ask(ELICIT).is_none());
        assert_eq!(a.len(), 1);
        let not_declared = ask(r#""id":1,"method":"sampling/createMessage""#);
        assert!(not_declared.unwrap().text().contains("-32601"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_of_several_calls_waits_for_the_last_one_but_not_for_ever() {
        let hub = hub();
        let (a, b) = (Inbox::open(&hub, 1, true), Inbox::open(&hub, 2, true));
        assert!(hub.hear(frame(ELICIT)).is_none());
        a.leave();
        assert_eq!((a.len(), b.len()), (0, 1));
        a.enter();
        assert!(hub.hear(frame(ELICIT)).is_none());
        let began = Instant::now();
        let refused = hub.refusals().await;
        assert_eq!(began.elapsed(), HOLD);
        assert_eq!((refused.len(), a.len(), b.len()), (1, 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_whose_calls_have_all_ended_is_refused_at_once() {
        let hub = hub();
        let _calls = [1, 2, 3].map(|n| Inbox::open(&hub, n, true));
        assert!(hub.hear(frame(ELICIT)).is_none());
        // Withdrawn by the server, there is nothing to refuse.
        let cancel = r#""method":"notifications/cancelled","params":{"requestId":1}"#;
        assert!(hub.hear(frame(cancel)).is_none());
        let began = Instant::now();
        let none = timeout_at(began + HOLD * 2, hub.refusals()).await;
        assert!(none.is_err(), "{none:?}");
    }

    #[test]
    fn an_inbox_that_nobody_reads_is_bounded() {
        let hub = hub();
        let inbox = Inbox::open(&hub, 1, true);
        for _ in 0..INBOX_MAX {
            assert!(hub.hear(frame(r#""id":1,"method":"roots/list""#)).is_none());
        }
        assert!(hub.hear(frame(r#""id":1,"method":"roots/list""#)).is_some());
        assert_eq!(inbox.len(), INBOX_MAX);
    }

    #[test]
    fn progress_finds_its_call_by_the_token() {
        let hub = hub();
        let (a, b) = (Inbox::open(&hub, 1, true), Inbox::open(&hub, 2, true));
        for token in ["2", "\"2\"", "3"] {
            let text = format!(
                r#""method":"notifications/progress","params":{{"progressToken":{token}}}"#
            );
            assert!(hub.hear(frame(&text)).is_none());
        }
        assert!(
            hub.hear(frame(r#""method":"notifications/message""#))
                .is_none()
        );
        assert_eq!((a.len(), b.len()), (0, 2));
    }

    #[test]
    fn news_go_to_listeners() {
        let hub = hub();
        let mut news = hub.subscribe();
        hub.hear(frame(r#""method":"notifications/tools/list_changed""#));
        assert!(matches!(news.try_recv(), Ok(News::Told(_))));
    }
}
