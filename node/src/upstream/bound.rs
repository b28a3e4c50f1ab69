//! A session at an upstream, bound to one of its endpoints, with everything that guards its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use lockgate_proto::jsonrpc::encode_str;
use lockgate_proto::mcp::{Era, Revision, method};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::config;
use crate::error::UpstreamError;
use crate::task::spawn_named;

use super::admission::Place;
use super::breaker::Gate;
use super::bridge::up;
use super::dispatch::{self, Trail};
use super::endpoint::Endpoint;
use super::handle::UpstreamHandle;
use super::link::{MessageStream, Outgoing, Reply, SessionInit, UpstreamSession};
use super::own_request;
use super::pause::Pause;
use super::retry::CallClass;
use super::session_key::SessionKey;
use super::shared::{Shared, bit};
use super::transport::http::Replay;

/// Longest time between a call's choice of a session and its beginning there.
const BEGIN_MAX: Duration = Duration::from_secs(1);

/// A session of the session era. Cheap to clone; all clones are the same session.
///
/// When its endpoint is dead and another is well, it is opened there anew, once per call, if nothing of the call was
/// sent: [`Self::generation`] then grows.
#[derive(Clone, Debug)]
pub struct BoundSession {
    number: u64,
    leg: Leg,
}

/// Which era the server speaks.
#[derive(Clone, Debug)]
enum Leg {
    /// The session's own: the server knows the session.
    Own(Arc<Inner>),
    /// The stateless era: the gateway stands in for the session.
    Bridged(up::Session),
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    init: SessionInit,
    key: SessionKey,
    link: ArcSwap<Link>,
    generation: AtomicU64,
    closed: AtomicBool,
    /// Taken by the one call that opens the session anew; the others wait for it.
    reopening: Mutex<()>,
}

/// A number that no session of this process had before.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Where the session lives.
#[derive(Debug)]
struct Link {
    session: UpstreamSession,
    endpoint: Arc<Endpoint>,
}

impl BoundSession {
    /// Opens a session at the endpoint that the balance chooses.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(super) async fn open(
        shared: Arc<Shared>,
        init: SessionInit,
        key: SessionKey,
    ) -> Result<Self, UpstreamError> {
        let number = next_number();
        if shared.published.load().eras.speaks_only(Era::Stateless) {
            let session = up::Session::open(shared, &init, key).await?;
            let leg = Leg::Bridged(session);
            return Ok(Self { number, leg });
        }
        shared.expect_era(Era::Session)?;
        let link = Link::open(&shared, &init, &key).await?;
        let leg = Leg::Own(Arc::new(Inner::new(shared, init, key, link)));
        Ok(Self { number, leg })
    }

    /// Over a session that is open already, at the only endpoint.
    #[cfg(test)]
    pub(super) fn over(
        shared: Arc<Shared>,
        init: SessionInit,
        key: SessionKey,
        session: UpstreamSession,
    ) -> Self {
        let endpoint = Arc::clone(&shared.endpoints[0]);
        let link = Link { session, endpoint };
        let leg = Leg::Own(Arc::new(Inner::new(shared, init, key, link)));
        let number = next_number();
        Self { number, leg }
    }

    /// Sends a request, and again where [`super::retry::decide`] finds it safe.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: &Outgoing, class: CallClass) -> Result<Reply, UpstreamError> {
        match &self.leg {
            Leg::Own(inner) => inner.call(out, class, None).await,
            Leg::Bridged(session) => {
                let bridged: BoxFuture<'_, _> = Box::pin(session.call(out.clone(), class));
                bridged.await
            }
        }
    }

    /// As [`Self::call`], for a call whose server may come to wait for somebody else before it replies: `pause` then
    /// stops its clock.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(super) async fn call_pausable(
        &self,
        out: &Outgoing,
        class: CallClass,
        pause: &Pause,
    ) -> Result<Reply, UpstreamError> {
        match &self.leg {
            Leg::Own(inner) => inner.call(out, class, Some(pause)).await,
            // A stateless server asks by its reply alone.
            Leg::Bridged(_) => self.call(out, class).await,
        }
    }

    /// Sends a notification, or the answer to a server request.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn send(&self, out: Outgoing) -> Result<(), UpstreamError> {
        match &self.leg {
            Leg::Own(inner) => inner.link.load_full().session.send(out).await,
            Leg::Bridged(session) => {
                session.send(&out.frame);
                Ok(())
            }
        }
    }

    /// Opens the stream of messages that belong to no call. `None` when the server offers none.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn listen(&self) -> Result<Option<MessageStream>, UpstreamError> {
        match &self.leg {
            Leg::Own(inner) => inner.link.load_full().session.listen().await,
            Leg::Bridged(session) => Ok(session.listen().map(MessageStream::Heard)),
        }
    }

    /// Settings of its server.
    pub fn settings(&self) -> &Arc<config::Server> {
        &self.shared().settings
    }

    /// Raw `InitializeResult` that opened it.
    pub fn initialize_result(&self) -> Arc<str> {
        match &self.leg {
            Leg::Own(inner) => inner.link.load().session.initialize_result(),
            Leg::Bridged(session) => session.initialize_result(),
        }
    }

    /// Revision that the server agreed to.
    pub fn revision(&self) -> Revision {
        match &self.leg {
            Leg::Own(inner) => inner.link.load().session.revision(),
            Leg::Bridged(session) => session.revision(),
        }
    }

    /// How often it was opened anew at another endpoint. Whoever listens has to listen again when this has grown.
    pub fn generation(&self) -> u64 {
        match &self.leg {
            Leg::Own(inner) => inner.generation.load(Ordering::Acquire),
            // It lives at no endpoint.
            Leg::Bridged(_) => 0,
        }
    }

    /// What its server's actor has found to be new so far: see [`Shared::renew`].
    pub(super) fn n_renewals(&self) -> u64 {
        self.shared().n_renewals()
    }

    /// Tells it from every other session of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether `other` is a clone of this very session.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// Whether it was opened through a predecessor of `handle`, which is on its way out, or in an era that the server
    /// does not speak any more.
    pub fn is_outlived_by(&self, handle: &UpstreamHandle) -> bool {
        let shared = self.shared();
        let is_replaced = shared.is_leaving() && !Arc::ptr_eq(shared, &handle.shared);
        is_replaced || self.is_of_lost_era()
    }

    /// Whether the server was found to speak only the other era since this was opened: it came back as another version.
    pub(super) fn is_of_lost_era(&self) -> bool {
        let eras = self.shared().published.load().eras;
        match &self.leg {
            Leg::Own(_) => eras.speaks_only(Era::Stateless),
            Leg::Bridged(_) => eras.speaks_only(Era::Session),
        }
    }

    /// Waits, for at most `limit`, until its server, which is on its way out, has no call in flight.
    pub async fn until_retired(&self, limit: Duration) {
        // For calls that hold the session already and are about to begin.
        sleep(BEGIN_MAX).await;
        // Calls that take longer are cut off.
        let _in_time = timeout(limit, self.shared().until_idle()).await;
    }

    /// Ends it. A second time does nothing.
    pub async fn close(&self) {
        match &self.leg {
            Leg::Own(inner) => {
                if !inner.closed.swap(true, Ordering::SeqCst) {
                    inner.link.load_full().session.close().await;
                }
            }
            Leg::Bridged(session) => session.close().await,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        match &self.leg {
            Leg::Own(inner) => &inner.shared,
            Leg::Bridged(session) => session.shared(),
        }
    }
}

impl Inner {
    fn new(shared: Arc<Shared>, init: SessionInit, key: SessionKey, link: Link) -> Self {
        Self {
            shared,
            init,
            key,
            link: ArcSwap::from_pointee(link),
            generation: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            reopening: Mutex::new(()),
        }
    }

    /// See [`BoundSession::call`] and [`BoundSession::call_pausable`].
    async fn call(
        &self,
        out: &Outgoing,
        class: CallClass,
        pause: Option<&Pause>,
    ) -> Result<Reply, UpstreamError> {
        let shared = &self.shared;
        let mut place = Place::take(shared)?;
        let mut trail = Trail::default();
        let mut moved = false;
        loop {
            let link = self.link.load_full();
            if !moved && self.should_move(&link, &trail) {
                moved = true;
                if let Err(refusal) = Box::pin(self.reopen(&link)).await {
                    return Err(trail.end(refusal));
                }
                continue;
            }
            let claimed = dispatch::admit_at(shared, &link.endpoint).await;
            let admission = match claimed {
                // The breaker opened only just now: the next turn moves the session.
                Err(_) if !moved && self.should_move(&link, &trail) => continue,
                Err(refusal) => return Err(trail.end(refusal)),
                Ok(admission) => admission,
            };
            let (replied, held) = match pause {
                None => {
                    let replied = link.session.call(out).await;
                    (replied, Some((admission, place)))
                }
                Some(pause) => {
                    let (server, held) = (&shared.settings.name, (admission, place));
                    Box::pin(pause.attempt(server, &link.session, out, held)).await
                }
            };
            // Without a hold, the server has had the call and has asked about it.
            let Some((admission, held_place)) = held else {
                return replied;
            };
            match replied {
                Ok(reply) => return dispatch::guard(out, reply, admission, held_place),
                Err(error) => {
                    place = held_place;
                    dispatch::settle_failure(shared, admission, &error);
                    trail
                        .note(shared, class, link.endpoint.index, error)
                        .await?;
                }
            }
        }
    }

    /// Whether the session's endpoint is dead, by this call's experience or by that of others, and another is well, or
    /// is the one that stays in service when all are ejected.
    fn should_move(&self, link: &Link, trail: &Trail) -> bool {
        let home = bit(link.endpoint.index);
        let open = matches!(link.endpoint.breaker.gate(), Gate::Open { .. });
        let dead = trail.tried() & home != 0 || !link.endpoint.is_healthy() || open;
        let left = home | trail.tried();
        dead && (self.shared.has_other(left) || open && self.shared.keeps_instead(home, left))
    }

    /// Opens the session at another endpoint, unless another call has done so since `seen`.
    async fn reopen(&self, seen: &Arc<Link>) -> Result<(), UpstreamError> {
        let inner = self;
        let _only_one = inner.reopening.lock().await;
        if !Arc::ptr_eq(&inner.link.load(), seen) {
            return Ok(());
        }
        let link = Link::open(&inner.shared, &inner.init, &inner.key).await?;
        let replay = seen.session.replay();
        restore(&link.session, &replay, inner.shared.settings.timeout).await?;
        let old = inner.link.swap(Arc::new(link));
        inner.generation.fetch_add(1, Ordering::AcqRel);
        if inner.closed.load(Ordering::SeqCst) {
            // Whoever closed it may have seen the old link only.
            inner.link.load_full().session.close().await;
        }
        // Ends by itself: transports bound the time that a farewell may take.
        let _farewell = spawn_named("close of a moved session", async move {
            old.session.close().await;
        });
        Ok(())
    }
}

impl Link {
    async fn open(
        shared: &Arc<Shared>,
        init: &SessionInit,
        key: &SessionKey,
    ) -> Result<Self, UpstreamError> {
        let attempt =
            |endpoint: Arc<Endpoint>| async move { endpoint.far.open(init.clone(), key).await };
        // `initialize` has no effect that a second one would double.
        let (session, admission) = dispatch::run(shared, CallClass::Repeatable, attempt).await?;
        let endpoint = Arc::clone(&admission.endpoint);
        admission.succeed();
        Ok(Self { session, endpoint })
    }
}

/// Tells a new session what the old one had told its server. What the new server refuses is lost with the old one.
async fn restore(
    session: &UpstreamSession,
    replay: &Replay,
    limit: Duration,
) -> Result<(), UpstreamError> {
    let level = replay.log_level.as_deref().map(|params| {
        // Raw params are an object; its members go into another.
        let members = params
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        own_request::frame(method::SET_LEVEL, members.unwrap_or_default(), Era::Session)
    });
    let subscriptions = replay.subscriptions.iter().map(|uri| {
        let members = format!(r#""uri":{}"#, encode_str(uri));
        own_request::frame(method::SUBSCRIBE, &members, Era::Session)
    });
    for frame in level.into_iter().chain(subscriptions) {
        let out = own_request::outgoing(frame, Era::Session, limit);
        let reply = session.call(&out).await?;
        if let Reply::Stream(mut stream) = reply {
            while stream.next().await?.is_some() {}
        }
    }
    Ok(())
}
