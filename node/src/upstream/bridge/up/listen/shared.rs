//! The streams of one server: one for all who want to hear the same for the same principal.

use std::sync::{Arc, Weak};
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, Span, Splice, members};
use lockgate_proto::mcp::{Era, method};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::link::{MessageStream, Reply};
use crate::upstream::retry::CallClass;
use crate::upstream::session_key::SessionKey;
use crate::upstream::shared::Shared;
use crate::upstream::{dispatch, own_request};

use super::super::answer::message_of;
use super::ACKNOWLEDGE_WAIT;
use super::filter::Filter;
use super::mailbox::Mailbox;

/// Longest silence of a stream; then it is opened again, which finds out a dead peer.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// First wait before a stream that ended is opened again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest such wait. A stream that lasted longer begins with the first wait again.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Key under which the server says which stream a notification belongs to.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The streams of one server, those that somebody follows.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Listens(Mutex<Vec<Weak<Listen>>>);

/// How far a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Opening,
    /// Raw filter that the server honours.
    Open(Arc<str>),
    /// The server does not offer it.
    Refused,
}

/// One stream. It ends with the last session that follows it.
#[derive(Debug)]
pub(super) struct Listen {
    /// Of the session that wanted it first; its owner is everybody's here.
    key: SessionKey,
    filter: Arc<Filter>,
    members: Arc<Members>,
    standing: watch::Receiver<Standing>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Members(Mutex<Vec<Weak<Mailbox>>>);

impl Members {
    fn post(&self, frame: &Frame) {
        self.0.lock().retain(|member| {
            let mailbox = member.upgrade();
            if let Some(mailbox) = &mailbox {
                mailbox.post(frame);
            }
            mailbox.is_some()
        });
    }
}

/// A session's part in a stream.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) listen: Arc<Listen>,
    mailbox: Arc<Mailbox>,
}

/// Leaving is how the others learn nothing and this one hears nothing any more.
impl Drop for Membership {
    fn drop(&mut self) {
        let own = Arc::downgrade(&self.mailbox);
        let mut members = self.listen.members.0.lock();
        if let Some(at) = members.iter().position(|member| member.ptr_eq(&own)) {
            members.swap_remove(at);
        }
    }
}

impl Listens {
    /// Takes part in the stream of that filter; opens it if nobody follows it yet.
    pub(super) fn join(
        &self,
        shared: &Arc<Shared>,
        key: &SessionKey,
        filter: Filter,
        mailbox: &Arc<Mailbox>,
    ) -> Membership {
        let mut open = self.0.lock();
        open.retain(|listen| listen.strong_count() > 0);
        let mut known = open.iter().filter_map(Weak::upgrade);
        let listen = known
            .find(|listen| listen.key.owner() == key.owner() && *listen.filter == filter)
            .unwrap_or_else(|| {
                let listen = Arc::new(Listen::open(shared, key, filter));
                open.push(Arc::downgrade(&listen));
                listen
            });
        drop(open);
        listen.members.0.lock().push(Arc::downgrade(mailbox));
        Membership {
            listen,
            mailbox: Arc::clone(mailbox),
        }
    }
}

impl Listen {
    fn open(shared: &Arc<Shared>, key: &SessionKey, filter: Filter) -> Self {
        let (standing, seen) = watch::channel(Standing::Opening);
        let (filter, members) = (Arc::new(filter), Arc::<Members>::default());
        let follower = Follower {
            shared: Arc::clone(shared),
            key: key.clone(),
            filter: Arc::clone(&filter),
            members: Arc::clone(&members),
            standing,
        };
        Self {
            key: key.clone(),
            filter,
            members,
            standing: seen,
            _task: AbortOnDropHandle::new(spawn_named("shared listen", follower.follow())),
        }
    }

    /// Waits until the server has taken it or refused it.
    pub(super) async fn settled(&self) -> Option<Standing> {
        let mut standing = self.standing.clone();
        let settled = standing.wait_for(|standing| *standing != Standing::Opening);
        let settled = timeout(ACKNOWLEDGE_WAIT, settled).await.ok()?.ok()?;
        Some(settled.clone())
    }
}

/// Keeps one stream open.
struct Follower {
    shared: Arc<Shared>,
    key: SessionKey,
    filter: Arc<Filter>,
    members: Arc<Members>,
    standing: watch::Sender<Standing>,
}

/// How a stream ended.
enum End {
    /// Another one may be had.
    Lost,
    /// The server does not offer it.
    Refused,
}

impl Follower {
    /// Ends when the server refuses, or when the last session has gone.
    async fn follow(self) {
        let mut wait = RETRY_MIN;
        loop {
            let began = Instant::now();
            let end = match self.open().await {
                Ok(Some(stream)) => self.read(stream).await,
                Ok(None) => End::Refused,
                Err(error) => {
                    debug!(server = %self.shared.settings.name, %error, "listen failed");
                    End::Lost
                }
            };
            let was_open = matches!(*self.standing.borrow(), Standing::Open(_));
            // Refused once it was open, it is a passing fault of the server.
            if matches!(end, End::Refused) && !was_open {
                self.standing.send_replace(Standing::Refused);
                return;
            }
            if began.elapsed() >= RETRY_MAX {
                wait = RETRY_MIN;
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn open(&self) -> Result<Option<MessageStream>, UpstreamError> {
        let frame = own_request::frame(method::LISTEN, &self.filter.request, Era::Stateless);
        let out = own_request::outgoing(frame, Era::Stateless, SILENCE_MAX);
        let owner = self.key.owner();
        let reply =
            dispatch::call_native(&self.shared, &out, CallClass::Repeatable, &owner).await?;
        Ok(match reply {
            Reply::Stream(stream) => Some(stream),
            Reply::Single { .. } => None,
        })
    }

    async fn read(&self, mut stream: MessageStream) -> End {
        loop {
            let frame = match stream.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return End::Lost,
                Err(error) => {
                    debug!(server = %self.shared.settings.name, %error, "listen broke");
                    return End::Lost;
                }
            };
            match frame.kind() {
                Kind::Notification if frame.method() == method::LISTEN_ACKNOWLEDGED => {
                    self.on_acknowledged(&frame);
                }
                Kind::Notification => self.members.post(&without_subscription(frame)),
                Kind::Error => return End::Refused,
                Kind::Result => return End::Lost,
                // From 2026-07-28 on servers send none.
                Kind::Request => {}
            }
        }
    }

    fn on_acknowledged(&self, frame: &Frame) {
        let honoured = frame
            .param(&["notifications"])
            .map_or("{}", |span| span.of(frame.text()));
        let before = self
            .standing
            .send_replace(Standing::Open(Arc::from(honoured)));
        if matches!(before, Standing::Open(_)) {
            // Nothing is replayed: whatever was wanted may have changed.
            for text in &self.filter.missed {
                if let Some(frame) = message_of(text.clone()) {
                    self.members.post(&frame);
                }
            }
        }
    }
}

/// The notification without the name of the stream that it came on.
fn without_subscription(frame: Frame) -> Frame {
    let Some(meta) = frame.param(&["_meta"]) else {
        return frame;
    };
    let text = frame.text();
    let is_alone = members(meta.of(text)).all(|member| member.key == SUBSCRIPTION);
    let mut splice = Splice::new(text);
    match (is_alone, frame.params_span()) {
        (true, Some(params)) if members(params.of(text)).nth(1).is_none() => {
            splice.remove_member(Span::new(0, text.len()), "params");
        }
        (true, Some(params)) => {
            splice.remove_member(params, "_meta");
        }
        _ => {
            splice.remove_member(meta, SUBSCRIPTION);
        }
    }
    // Cannot fail: members were taken out of an object. Unedited it would name our own stream, which tells nothing.
    Frame::edited(splice).unwrap_or(frame)
}
