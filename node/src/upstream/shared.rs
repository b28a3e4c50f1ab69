//! What calls, the actor and its successor after a crash have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use lockgate_proto::mcp::Era;
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config;
use crate::error::UpstreamError;

use super::actor::Message;
use super::admission::{Admission, Calls};
use super::balance;
use super::breaker::{Cause, Gate, Rejected};
use super::bridge::{self, WaitingRoom};
use super::catalog::{Catalog, Interner};
use super::core::{Eras, Phase};
use super::endpoint::Endpoint;
use super::errand;
use super::failures::FailedCalls;
use super::far::Far;
use super::retry::Budget;

/// Longest wait for an actor to close its own session at the server.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// What a server offers to clients of the era that it does not speak.
#[derive(Clone, Debug)]
pub(super) struct Bridged {
    /// Era of the clients.
    pub(super) era: Era,
    /// What the server says in its own era.
    pub(super) from: Arc<Catalog>,
    /// The same, translated.
    pub(super) catalog: Arc<Catalog>,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastError {
    /// With its causes.
    pub(super) text: Arc<str>,
    pub(super) at: Instant,
}

impl LastError {
    /// Of an error that has just happened.
    pub(super) fn now(error: &UpstreamError) -> Self {
        Self {
            text: errand::describe(error).into(),
            at: Instant::now(),
        }
    }

    /// Its age.
    pub(super) fn secs_ago(&self) -> u64 {
        self.at.elapsed().as_secs()
    }
}

/// What the actor publishes.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) phase: Phase,
    pub(super) settled: bool,
    pub(super) eras: Eras,
    /// When the eras were found out.
    pub(super) eras_at: Option<Instant>,
    pub(super) session: Option<Arc<Catalog>>,
    pub(super) stateless: Option<Arc<Catalog>>,
    /// For the era that the server does not speak.
    pub(super) bridged: Option<Bridged>,
    pub(super) last_error: Option<LastError>,
}

impl Published {
    pub(super) fn catalog(&self, era: Era) -> Option<&Arc<Catalog>> {
        match era {
            Era::Session => self.session.as_ref(),
            Era::Stateless => self.stateless.as_ref(),
        }
    }

    /// What clients of `era` are shown, be it by translation.
    pub(super) fn shown(&self, era: Era) -> Option<&Arc<Catalog>> {
        match &self.bridged {
            Some(bridged) if bridged.era == era => Some(&bridged.catalog),
            _ => self.catalog(era),
        }
    }

    /// Brings the translation up to date, when the server is known to speak one era only.
    pub(super) fn bridge(&mut self, interner: &Interner) {
        let (era, from) = match (self.eras.session, self.eras.stateless) {
            (Some(true), Some(false)) => (Era::Stateless, &self.session),
            (Some(false), Some(true)) => (Era::Session, &self.stateless),
            _ => {
                self.bridged = None;
                return;
            }
        };
        let Some(from) = from else {
            self.bridged = None;
            return;
        };
        let is_current = self
            .bridged
            .as_ref()
            .is_some_and(|known| known.era == era && Arc::ptr_eq(&known.from, from));
        if !is_current {
            self.bridged = Some(Bridged {
                era,
                from: Arc::clone(from),
                catalog: interner.intern(bridge::catalog(era, from)),
            });
        }
    }

    /// Whether what they tell people alone is the same, too: when an error was met, and what is wrong with entries of lists.
    pub(super) fn is_told_the_same(&self, other: &Self) -> bool {
        self.last_error == other.last_error && self.flaws().eq(other.flaws())
    }

    fn flaws(&self) -> impl Iterator<Item = &str> {
        let shown = [Era::Session, Era::Stateless].map(|era| self.shown(era));
        shown
            .into_iter()
            .flatten()
            .flat_map(|catalog| catalog.flaws())
    }

    /// Whether a reader could not tell the two apart, but by when the same error came last, and by words about flaws.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let error = |one: &Self| one.last_error.as_ref().map(|error| Arc::clone(&error.text));
        let same_catalog = |era| match (self.shown(era), other.shown(era)) {
            (Some(a), Some(b)) => a.same_as(b),
            (None, None) => true,
            _ => false,
        };
        self.phase == other.phase
            && self.settled == other.settled
            && self.eras == other.eras
            && self.eras_at == other.eras_at
            && error(self) == error(other)
            && same_catalog(Era::Session)
            && same_catalog(Era::Stateless)
    }
}

/// One server.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Arc<config::Server>,
    pub(super) endpoints: Box<[Arc<Endpoint>]>,
    pub(super) calls: Calls,
    pub(super) failed_calls: FailedCalls,
    pub(super) budget: Arc<Budget>,
    pub(super) interner: Interner,
    /// What sessions hear of a server that speaks the stateless era only.
    pub(super) listens: bridge::up::Listens,
    /// For stateless clients, where the server is of the session era.
    pub(super) down: bridge::Down,
    pub(super) published: ArcSwap<Published>,
    /// Counts what was published.
    pub(super) changes: watch::Sender<u64>,
    /// See [`Self::renew`].
    renewals: AtomicU64,
    /// Counts verdicts on whether somebody is there, and changes of breakers.
    pub(super) news: watch::Sender<u64>,
    pub(super) actor: ArcSwapOption<ActorRef<Message>>,
    draining: AtomicBool,
    leaving: AtomicBool,
    resting: AtomicBool,
    /// Notified when the last call has ended of one that leaves or drains.
    idle: tokio::sync::Notify,
}

/// Longest list of endpoints that needs no allocation to choose from.
type Views = smallvec::SmallVec<[balance::View; 8]>;

impl Shared {
    /// `news` is bumped by the breakers of `endpoints`, too. In `room` the calls of stateless clients wait that a
    /// session-era server asks something.
    pub(super) fn new(
        settings: Arc<config::Server>,
        endpoints: Vec<Endpoint>,
        news: watch::Sender<u64>,
        room: Option<Arc<WaitingRoom>>,
    ) -> Self {
        let published = Published {
            phase: Phase::Probing,
            settled: false,
            eras: Eras::decreed(settings.era),
            eras_at: None,
            session: None,
            stateless: None,
            bridged: None,
            last_error: None,
        };
        Self {
            settings,
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            calls: Calls::default(),
            failed_calls: FailedCalls::default(),
            budget: Arc::default(),
            interner: Interner::default(),
            listens: bridge::up::Listens::default(),
            down: bridge::Down::new(room),
            published: ArcSwap::from_pointee(published),
            changes: watch::Sender::new(0),
            renewals: AtomicU64::new(0),
            news,
            actor: ArcSwapOption::empty(),
            draining: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            idle: tokio::sync::Notify::new(),
        }
    }

    /// Claims an endpoint for one attempt; `tried` has a bit for each that has failed this call already.
    pub(super) fn admit(&self, tried: u64) -> Result<Admission, Rejected> {
        let mut tried = tried;
        // Each failed claim marks an endpoint, so this ends.
        for _ in 0..=self.endpoints.len() {
            let Some(choice) = self.choose(tried) else {
                break;
            };
            let endpoint = &self.endpoints[choice.index];
            let permit = if choice.bypass {
                Ok(endpoint.breaker.bypass())
            } else {
                endpoint.breaker.claim()
            };
            match permit {
                Ok(permit) => return Ok(Admission::new(Arc::clone(endpoint), permit)),
                Err(_taken_meanwhile) => tried |= bit(choice.index),
            }
        }
        Err(self.rejection())
    }

    /// Whether a call that failed at all of `tried` has somewhere else to go at once.
    pub(super) fn has_other(&self, tried: u64) -> bool {
        self.endpoints.iter().any(|endpoint| {
            tried & bit(endpoint.index) == 0
                && endpoint.is_healthy()
                && !matches!(endpoint.breaker.gate(), Gate::Open { .. })
        })
    }

    /// Whether no endpoint gave a good sign last.
    pub(super) fn nobody_is_there(&self) -> bool {
        !self.endpoints.iter().any(|endpoint| endpoint.is_healthy())
    }

    /// A bit for each endpoint that stays in service in spite of its breaker: no more may be ejected.
    pub(super) fn kept(&self) -> u64 {
        let ejected_max = self.settings.breaker.max_ejection_percent;
        let kept = balance::kept(&self.views(0), ejected_max);
        kept.into_iter().map(bit).fold(0, |all, one| all | one)
    }

    /// Whether, of the endpoints that are ejected, `home` does not stay in service and one does that is not `left`.
    pub(super) fn keeps_instead(&self, home: u64, left: u64) -> bool {
        let kept = self.kept();
        kept & home == 0 && kept & !left != 0
    }

    /// Claims `endpoint`, where a session is.
    pub(super) fn admit_at(&self, endpoint: &Arc<Endpoint>) -> Result<Admission, Rejected> {
        let permit = match endpoint.breaker.claim() {
            Err(_) if self.kept() & bit(endpoint.index) != 0 => endpoint.breaker.bypass(),
            claimed => claimed?,
        };
        Ok(Admission::new(Arc::clone(endpoint), permit))
    }

    fn views(&self, tried: u64) -> Views {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.view(tried & bit(endpoint.index) != 0))
            .collect()
    }

    fn choose(&self, tried: u64) -> Option<balance::Choice> {
        let views = self.views(tried);
        let balance = match &self.settings.transport {
            config::Transport::Http { balance, .. } => *balance,
            config::Transport::Stdio { .. } => config::Balance::Failover,
        };
        let ejected_max = self.settings.breaker.max_ejection_percent;
        balance::choose(balance, self.calls.ticket(), &views, ejected_max)
    }

    /// The kindest of the endpoints' rejections.
    fn rejection(&self) -> Rejected {
        let gates = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.breaker.gate());
        let rejections = gates.map(|gate| match gate {
            Gate::Closed | Gate::HalfOpen { .. } => (Duration::ZERO, true),
            Gate::Open { retry_after, cause } => (retry_after, cause == Cause::Silent),
        });
        let (retry_after, may_recover) = rejections
            .fold((Duration::MAX, false), |kindest, next| {
                (kindest.0.min(next.0), kindest.1 || next.1)
            });
        Rejected {
            retry_after,
            may_recover,
        }
    }

    /// How long every breaker refuses every call, whatever a health check finds. Zero when a call may pass.
    pub(super) fn shut_for(&self) -> Duration {
        let rejected = self.rejection();
        if rejected.may_recover || self.kept() != 0 {
            return Duration::ZERO;
        }
        rejected.retry_after
    }

    /// What people are told of `error`. A breaker that refuses says nothing of why it does: that is the failure which it
    /// counted last.
    pub(super) fn reason_of(&self, error: &UpstreamError) -> LastError {
        let failures = self.endpoints.iter().filter_map(|one| one.last_failure());
        failures
            .filter(|_| matches!(error, UpstreamError::BreakerOpen { .. }))
            .max_by_key(|failure| failure.at)
            .unwrap_or_else(|| LastError::now(error))
    }

    /// Tells the actor, if there is one just now.
    pub(super) fn cast(&self, message: Message) {
        if let Some(actor) = &*self.actor.load() {
            // Fails only between a crash and the restart, which finds out everything anew.
            let _stopped = actor.cast(message);
        }
    }

    /// A successor has come: sessions move there with their next call. Calls that are on their way here still pass.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether a successor has come, or the server drains.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Nobody comes any more: while it is down it is looked for only when a call that is there wants it.
    pub(super) fn rest(&self) {
        self.resting.store(true, Ordering::Release);
    }

    /// Whether nobody comes any more.
    pub(super) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Acquire) || self.is_leaving()
    }

    /// Refuses new calls from now on.
    pub(super) fn drain(&self) {
        self.leave();
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The last call in flight has ended.
    pub(super) fn on_idle(&self) {
        if self.is_leaving() {
            self.idle.notify_waiters();
        }
    }

    /// Waits for the end of the last call in flight. Only for a server that leaves or drains.
    pub(super) async fn until_idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.idle.notified());
            // Registered before the look, so that the last call cannot end in between unseen.
            notified.as_mut().enable();
            if self.calls.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Waits until no call is in flight, and none waits for its client. Only for a server that leaves or drains.
    pub(super) async fn until_unused(&self) {
        loop {
            self.until_idle().await;
            self.down.until_none_waits().await;
            if self.calls.in_flight() == 0 {
                return;
            }
        }
    }

    /// Error for a server that has nowhere to be reached.
    pub(super) fn nowhere(&self) -> UpstreamError {
        UpstreamError::Unreachable {
            server: self.settings.name.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        }
    }

    /// Refuses an era that the server is known not to speak: it would be misunderstood, and a child would be spoilt.
    pub(super) fn expect_era(&self, era: Era) -> Result<(), UpstreamError> {
        if self.published.load().eras.speaks(era) == Some(false) {
            return Err(UpstreamError::NoEra {
                server: self.settings.name.clone(),
                era,
            });
        }
        Ok(())
    }

    /// The gateway has found in its own session that the server's lists changed, or that the server was restarted. What is
    /// known from other sessions may be true no more.
    pub(super) fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that was found.
    pub(super) fn n_renewals(&self) -> u64 {
        self.renewals.load(Ordering::Acquire)
    }

    /// Whether clients of `era` are served by translation: only where the server is known not to speak it.
    pub(super) fn is_bridged(&self, era: Era) -> bool {
        self.published.load().eras.speaks(era) == Some(false)
    }

    /// Error for a call that was refused by every breaker.
    pub(super) fn breaker_open(&self, rejected: Rejected) -> UpstreamError {
        UpstreamError::BreakerOpen {
            server: self.settings.name.clone(),
            retry_after: rejected.retry_after,
        }
    }

    /// Children so far that ended without being asked to.
    pub(super) fn crashes(&self) -> u64 {
        let fars = self.endpoints.iter().map(|endpoint| &endpoint.far);
        fars.map(Far::crashes).sum()
    }

    /// Live child processes.
    pub(super) fn children(&self) -> usize {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.far.children())
            .sum()
    }

    /// Ends actors, children and connections, for good.
    pub(super) async fn end(&self) {
        self.drain();
        self.down.end().await;
        if let Some(actor) = self.actor.swap(None) {
            // Waited for: its own session at the server must be closed before the connections are, and before a
            // process that shuts down is gone. One that has died has nothing to say.
            let _stopped = actor.stop_and_wait(None, Some(FAREWELL_MAX)).await;
        }
        for endpoint in &self.endpoints {
            endpoint.breaker.stop();
            endpoint.far.end().await;
        }
    }

    /// How long a call waits for a server to come back.
    pub(super) fn patience(&self) -> Duration {
        match &self.settings.transport {
            config::Transport::Http {
                connect_timeout, ..
            } => *connect_timeout,
            config::Transport::Stdio { .. } => self.settings.timeout,
        }
    }
}

/// Bit of an endpoint in a set of them; those beyond the 63rd share the last.
pub(super) fn bit(index: usize) -> u64 {
    1 << index.min(63)
}
