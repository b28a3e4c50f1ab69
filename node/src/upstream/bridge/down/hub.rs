//! What a server says to an owned session beside its calls, and who hears it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::{code, method};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::call::is_number;

/// News that wait for a slow listener. One that misses some is told that everything may have changed.
const NEWS_MAX: usize = 256;
/// Messages that wait for one call.
const INBOX_MAX: usize = 64;

/// What listeners hear.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A notification.
    Told(Frame),
    /// Nobody listened for a while: anything may have changed.
    Gap,
}

/// Messages for one running call that came on the session's own stream.
#[derive(Debug)]
pub(super) struct Inbox {
    n: u64,
    frames: Mutex<VecDeque<Frame>>,
    wake: Notify,
}

impl Inbox {
    /// Of the call under number `n`.
    pub(super) fn new(n: u64) -> Arc<Self> {
        Arc::new(Self {
            n,
            frames: Mutex::default(),
            wake: Notify::new(),
        })
    }

    fn put(&self, frame: Frame) -> bool {
        let mut frames = self.frames.lock();
        if frames.len() >= INBOX_MAX {
            return false;
        }
        frames.push_back(frame);
        drop(frames);
        self.wake.notify_one();
        true
    }

    /// Next message.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next(&self) -> Frame {
        loop {
            let next = self.frames.lock().pop_front();
            if let Some(frame) = next {
                return frame;
            }
            // Keeps a wake that came in between: there is one reader.
            self.wake.notified().await;
        }
    }
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
    /// Calls that run and may be asked about.
    running: Mutex<Vec<Arc<Inbox>>>,
    /// Fires when the session is over.
    pub(super) ended: CancellationToken,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            news: broadcast::Sender::new(NEWS_MAX),
            offered: watch::Sender::new(None),
            following: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            running: Mutex::default(),
            ended: CancellationToken::new(),
        }
    }
}

impl Hub {
    /// Hears news from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
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

    /// The call runs: what belongs to no stream may be about it.
    pub(super) fn enter(&self, inbox: &Arc<Inbox>) {
        self.running.lock().push(Arc::clone(inbox));
    }

    /// The call has ended, or waits for its client.
    pub(super) fn leave(&self, inbox: &Arc<Inbox>) {
        self.running
            .lock()
            .retain(|other| !Arc::ptr_eq(other, inbox));
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
        let id = frame.id().unwrap_or("null").to_owned();
        if frame.method() == method::PING {
            return Some(answer::own(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#
            )));
        }
        if self.only_call().is_some_and(|inbox| inbox.put(frame)) {
            return None;
        }
        let message = "the request belongs to no call of a client";
        Some(answer::refusal(&id, code::METHOD_NOT_FOUND, message, None))
    }

    fn hear_notification(&self, frame: Frame) {
        match &*frame.method() {
            method::TOOLS_CHANGED
            | method::PROMPTS_CHANGED
            | method::RESOURCES_CHANGED
            | method::RESOURCE_UPDATED => self.tell(News::Told(frame)),
            method::PROGRESS => {
                let token = frame.param(&["progressToken"]);
                let token = token.map_or("", |span| span.of(frame.text()));
                let running = self.running.lock();
                let call = running.iter().find(|inbox| is_number(token, inbox.n));
                // A slow reader misses some of its progress.
                let _full = call.is_some_and(|inbox| inbox.put(frame));
            }
            method::CANCELLED => {
                for inbox in self.running.lock().iter() {
                    let _full = inbox.put(frame.clone());
                }
            }
            // Nothing says whose it is, unless one call runs alone.
            _ => {
                let _unheard = self.only_call().is_some_and(|inbox| inbox.put(frame));
            }
        }
    }

    fn only_call(&self) -> Option<Arc<Inbox>> {
        match &**self.running.lock() {
            [only] => Some(Arc::clone(only)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    fn frame(text: &str) -> Frame {
        let text = format!(r#"{{"jsonrpc":"2.0",{text}}}"#);
        Frame::parse(text.into(), &Limits::default()).unwrap()
    }

    fn waiting(inbox: &Inbox) -> usize {
        inbox.frames.lock().len()
    }

    #[test]
    fn a_question_goes_to_the_only_call_or_back() {
        let hub = Hub::default();
        let ask = || hub.hear(frame(r#""id":1,"method":"elicitation/create""#));
        assert!(ask().is_some());
        let (a, b) = (Inbox::new(1), Inbox::new(2));
        hub.enter(&a);
        assert!(ask().is_none());
        assert_eq!(waiting(&a), 1);
        hub.enter(&b);
        assert!(ask().unwrap().text().contains("-32601"));
        hub.leave(&a);
        assert!(ask().is_none());
        assert_eq!((waiting(&a), waiting(&b)), (1, 1));
    }

    #[test]
    fn an_inbox_that_nobody_reads_is_bounded() {
        let hub = Hub::default();
        let inbox = Inbox::new(1);
        hub.enter(&inbox);
        for _ in 0..INBOX_MAX {
            assert!(hub.hear(frame(r#""id":1,"method":"roots/list""#)).is_none());
        }
        assert!(hub.hear(frame(r#""id":1,"method":"roots/list""#)).is_some());
        assert_eq!(waiting(&inbox), INBOX_MAX);
    }

    #[test]
    fn progress_finds_its_call_by_the_token() {
        let hub = Hub::default();
        let (a, b) = (Inbox::new(1), Inbox::new(2));
        hub.enter(&a);
        hub.enter(&b);
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
        assert_eq!((waiting(&a), waiting(&b)), (0, 2));
    }

    #[test]
    fn news_go_to_listeners() {
        let hub = Hub::default();
        let mut news = hub.subscribe();
        hub.hear(frame(r#""method":"notifications/tools/list_changed""#));
        assert!(matches!(news.try_recv(), Ok(News::Told(_))));
    }
}
