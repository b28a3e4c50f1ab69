//! Actor of one server. Holds no rules: it feeds the core, performs its effects in tasks and publishes what they found.
//!
//! When it fails its supervisor starts it again over the same shared state: what was published stays in force until
//! the new one has found out more, and no session notices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::mcp::Era;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::config::Transport;
use crate::error::UpstreamError;
use crate::task::spawn_named;

use super::catalog::Catalog;
use super::core::{Effect, Eras, Event, Machine, Phase, Settings, Timer};
use super::errand;
use super::far::Sign;
use super::jitter;
use super::own_session::OwnSession;
use super::shared::{Published, Shared, bit};

/// Longest wait of a server that ends for its own session, if that is being opened.
const OPENING_MAX: Duration = Duration::from_secs(2);

/// Everything that can happen to a server.
#[derive(Debug)]
pub(super) enum Message {
    Probed(Result<Eras, UpstreamError>),
    Fetched {
        era: Era,
        result: Box<Result<Catalog, UpstreamError>>,
    },
    ListChanged(Era),
    ListenEnded {
        era: Era,
        offered: bool,
        lasted: Duration,
    },
    Checked {
        endpoint: usize,
        result: Result<Sign, UpstreamError>,
    },
    Refused(usize),
    Wanted,
    /// The server answered as if it did not speak an era.
    ErasDoubted,
    TimerOver(Timer),
    /// A task of ours ended without a word (it panicked).
    Lost(Errand),
    #[cfg(test)]
    Crash,
}

/// What a task was sent out for. One of each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Errand {
    Probe,
    Fetch(Era),
    Listen(Era),
    Check(usize),
    Wait(Timer),
}

#[derive(Debug)]
pub(super) struct UpstreamActor;

#[derive(Debug)]
pub(super) struct ActorState {
    shared: Arc<Shared>,
    machine: Machine,
    published: Published,
    own: OwnSession,
    /// Its number, and what opened it when the catalog was fetched last.
    introduction: Option<(u64, Arc<str>)>,
    /// It had been opened again when its catalog came: the eras are to be looked at again.
    has_doubt: bool,
    /// Whether a check was told that the gateway is not let in.
    is_refused: bool,
    /// Whether the lists were asked for since checks are told so.
    has_asked: bool,
    /// What the log says of each endpoint.
    told_healthy: Box<[bool]>,
    /// Children that had ended by themselves when this was last looked at.
    crashes: u64,
    /// Ends with the actor.
    tasks: HashMap<Errand, AbortOnDropHandle<()>>,
}

impl Actor for UpstreamActor {
    type Msg = Message;
    type State = ActorState;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        shared: Arc<Shared>,
    ) -> Result<ActorState, ActorProcessingErr> {
        let published = Published::clone(&shared.published.load());
        let settings = Settings {
            era: shared.settings.era,
            endpoints: shared.endpoints.len(),
            check_interval: shared.settings.health.interval,
            probe_interval: shared.settings.probe_interval,
        };
        shared.actor.store(Some(Arc::new(me)));
        Ok(ActorState {
            machine: Machine::new(settings, published.eras),
            published,
            told_healthy: vec![true; shared.endpoints.len()].into(),
            crashes: shared.crashes(),
            shared,
            own: OwnSession::default(),
            introduction: None,
            has_doubt: false,
            is_refused: false,
            has_asked: false,
            tasks: HashMap::new(),
        })
    }

    async fn post_start(
        &self,
        me: ActorRef<Message>,
        state: &mut ActorState,
    ) -> Result<(), ActorProcessingErr> {
        state.feed(&me, Event::Started);
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut ActorState,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, Message::TimerOver(_)) && state.is_given_up() {
            return Ok(());
        }
        let event = state.take(message)?;
        state.feed(&me, event);
        if std::mem::take(&mut state.is_refused) {
            state.ask_for_lists(&me);
        }
        let is_round = matches!(
            event,
            Event::TimerOver {
                timer: Timer::Health,
                ..
            }
        );
        if is_round {
            let (reopened, restarted) = (state.was_reopened(), state.was_restarted());
            if reopened {
                state.shared.renew();
                state.feed(&me, Event::ListChanged(Era::Session));
            }
            if std::mem::take(&mut state.has_doubt) || reopened || restarted {
                // It may be another version, too.
                state.feed(&me, Event::ErasDoubted);
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<Message>,
        state: &mut ActorState,
    ) -> Result<(), ActorProcessingErr> {
        if state.own.get().is_none()
            && let Some(mut opening) = state.tasks.remove(&Errand::Fetch(Era::Session))
        {
            // Cut off in the middle, it would leave a session to the server that nobody knows.
            let _in_time = timeout(OPENING_MAX, &mut opening).await;
        }
        if let Some(own) = state.own.take() {
            // Bounded by the transport.
            own.close().await;
        }
        Ok(())
    }
}

impl ActorState {
    /// Keeps what a message brings, and says what it means.
    fn take(&mut self, message: Message) -> Result<Event, ActorProcessingErr> {
        Ok(match message {
            Message::Probed(Ok(eras)) => {
                self.published.eras_at = Some(Instant::now());
                Event::Probed(Some(eras))
            }
            Message::Probed(Err(error)) => {
                self.note(&error);
                // Silence decides nothing, but an answer that is none of MCP does.
                let is_verdict = matches!(error, UpstreamError::NoMcp { .. });
                if is_verdict {
                    self.published.eras_at = Some(Instant::now());
                }
                Event::Probed(is_verdict.then_some(Eras::NONE))
            }
            Message::Fetched { era, result } => self.take_catalog(era, *result),
            Message::ListChanged(era) => Event::ListChanged(era),
            Message::ListenEnded {
                era,
                offered,
                lasted,
            } => Event::ListenEnded {
                era,
                offered,
                lasted,
            },
            Message::Checked { endpoint, result } => {
                match &result {
                    Ok(Sign::Refused) => {
                        self.is_refused |= !std::mem::replace(&mut self.has_asked, true);
                    }
                    Ok(_) => self.has_asked = false,
                    Err(error) => self.note(error),
                }
                Event::Checked {
                    endpoint,
                    passed: result.is_ok(),
                }
            }
            Message::Refused(endpoint) => Event::Refused(endpoint),
            Message::Wanted => Event::Wanted,
            Message::ErasDoubted => Event::ErasDoubted,
            Message::TimerOver(timer) => Event::TimerOver {
                timer,
                silent: self.silent_endpoints(),
            },
            Message::Lost(errand) => errand.lost(),
            #[cfg(test)]
            Message::Crash => return Err("crashed by a test".into()),
        })
    }

    /// Whether it is down, and nobody comes any more who could use it. A call that is there still asks for it.
    fn is_given_up(&self) -> bool {
        self.published.phase == Phase::Down && self.shared.is_resting()
    }

    fn take_catalog(&mut self, era: Era, result: Result<Catalog, UpstreamError>) -> Event {
        match result {
            Ok(catalog) => {
                let (ttl, has_untold) = (catalog.ttl, catalog.has_untold());
                let catalog = self.shared.interner.intern(catalog);
                match era {
                    Era::Session => self.take_session_catalog(catalog),
                    Era::Stateless => self.published.stateless = Some(catalog),
                }
                Event::Fetched {
                    era,
                    done: true,
                    ttl,
                    has_untold,
                    shut_for: Duration::ZERO,
                }
            }
            Err(error) => {
                self.note(&error);
                Event::unfetched(era, self.shared.shut_for())
            }
        }
    }

    fn take_session_catalog(&mut self, catalog: Arc<Catalog>) {
        let before = self.introduction.take();
        self.introduction = self.own_introduction();
        let (then, now) = (before.as_ref(), self.introduction.as_ref());
        self.has_doubt |= is_reopened(then, now);
        let is_same_session = match (then, now) {
            (Some((_, then)), Some((_, now))) => Arc::ptr_eq(then, now),
            _ => false,
        };
        let known = self.published.session.as_ref();
        if !is_same_session || known.is_none_or(|known| !known.same_as(&catalog)) {
            self.shared.renew();
        }
        self.published.session = Some(catalog);
    }

    fn own_introduction(&self) -> Option<(u64, Arc<str>)> {
        let own = self.own.get()?;
        Some((own.number(), own.initialize_result()))
    }

    /// Some servers refuse a check, which has no session, and serve those who have one: the lists show which it is.
    fn ask_for_lists(&mut self, me: &ActorRef<Message>) {
        for era in [Era::Session, Era::Stateless] {
            if self.published.eras.speaks(era) == Some(true) {
                self.feed(me, Event::ListChanged(era));
            }
        }
    }

    fn feed(&mut self, me: &ActorRef<Message>, event: Event) {
        let mut effects = Vec::new();
        self.machine.on(event, Instant::now(), &mut effects);
        // Published first: whoever an effect wakes reads what it was woken for.
        self.publish();
        for effect in effects {
            self.perform(me, effect);
        }
        self.tell_health();
    }

    /// Logs which endpoints have come and gone. Of a server that is down that has been said, and what answers its checks
    /// is not the server.
    fn tell_health(&mut self) {
        if self.published.phase != Phase::Up {
            return;
        }
        for (endpoint, told) in self.shared.endpoints.iter().zip(&mut self.told_healthy) {
            let healthy = endpoint.is_healthy();
            if std::mem::replace(told, healthy) != healthy {
                let (server, endpoint) = (&self.shared.settings.name, &endpoint.label);
                info!(%server, %endpoint, healthy, "health of endpoint changed");
            }
        }
    }

    fn perform(&mut self, me: &ActorRef<Message>, effect: Effect) {
        let shared = Arc::clone(&self.shared);
        match effect {
            Effect::Probe => self.send_out(me, Errand::Probe, errand::probe(shared)),
            Effect::Fetch { era, anew } => {
                let own = self.own.clone();
                self.send_out(
                    me,
                    Errand::Fetch(era),
                    errand::fetch(shared, era, own, anew),
                );
            }
            Effect::Listen(era) => {
                let listen = errand::listen(shared, era, self.own.get(), me.clone());
                self.send_out(me, Errand::Listen(era), listen);
            }
            Effect::Check(endpoint) => {
                self.send_out(me, Errand::Check(endpoint), errand::check(shared, endpoint));
            }
            Effect::Arm(timer, after) => {
                let after = match timer {
                    // Servers that came up together are not all asked at the same moment for ever.
                    Timer::Reprobe => after.mul_f64(0.9 + 0.2 * jitter::unit()),
                    _ => after,
                };
                self.send_out(me, Errand::Wait(timer), errand::wait(timer, after));
            }
            Effect::Health { endpoint, healthy } => {
                let endpoint = &shared.endpoints[endpoint];
                endpoint.set_healthy(healthy);
                if healthy {
                    endpoint.breaker.check_passed();
                }
            }
            Effect::Announce => shared.news.send_modify(|n| *n = n.wrapping_add(1)),
        }
    }

    /// Sends a task out; what it says comes back as a message, even when it panics.
    fn send_out(
        &mut self,
        me: &ActorRef<Message>,
        errand: Errand,
        work: impl Future<Output = Message> + Send + 'static,
    ) {
        let me = me.clone();
        let work = AbortOnDropHandle::new(spawn_named("upstream errand", work));
        let task = spawn_named("upstream errand's answer", async move {
            let message = work.await.unwrap_or(Message::Lost(errand));
            // Fails only when the actor has ended, and then nobody wants it.
            let _ended = me.cast(message);
        });
        self.tasks.insert(errand, AbortOnDropHandle::new(task));
    }

    fn publish(&mut self) {
        let mut next = Published {
            phase: self.machine.phase(),
            settled: self.published.settled || self.machine.is_settled(),
            eras: self.machine.eras(),
            ..self.published.clone()
        };
        next.bridge(&self.shared.interner);
        let before = self.shared.published.load();
        if next.says_the_same(&before) {
            if !next.is_told_the_same(&before) {
                // The same error once more, or another flaw: that is for people, and nobody is woken for it.
                self.shared.published.store(Arc::new(next));
            }
            return;
        }
        if next.phase != before.phase {
            let server = &self.shared.settings.name;
            match next.phase {
                Phase::Probing => {}
                Phase::Up => info!(%server, eras = %next.eras, "server is up"),
                Phase::Down => {
                    let error = next.last_error.as_ref().map(|error| &*error.text);
                    warn!(%server, error, "server is down");
                }
            }
        }
        if next.phase == Phase::Up && before.phase == Phase::Up && next.eras != before.eras {
            let server = &self.shared.settings.name;
            info!(%server, eras = %next.eras, before = %before.eras, "server speaks other eras");
        }
        self.published = next.clone();
        self.shared.published.store(Arc::new(next));
        self.shared.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Whether the transport has opened the own session again since the catalog was fetched: the server was restarted
    /// while nobody looked, and may offer something else.
    fn was_reopened(&mut self) -> bool {
        let now = self.own_introduction();
        let is_reopened = is_reopened(self.introduction.as_ref(), now.as_ref());
        if is_reopened {
            self.introduction = now;
        }
        is_reopened
    }

    /// Whether a child ended by itself since this was last asked: the next may be of another version.
    fn was_restarted(&mut self) -> bool {
        let now = self.shared.crashes();
        std::mem::replace(&mut self.crashes, now) != now
    }

    fn note(&mut self, error: &UpstreamError) {
        self.published.last_error = Some(self.shared.reason_of(error));
    }

    /// Endpoints that no call has proved alive. Children are none: their end is noticed when it happens.
    fn silent_endpoints(&self) -> u64 {
        if matches!(self.shared.settings.transport, Transport::Stdio { .. }) {
            return 0;
        }
        let (now, interval) = (Instant::now(), self.shared.settings.health.interval);
        let endpoints = self.shared.endpoints.iter();
        endpoints
            .filter(|endpoint| endpoint.silent_for(now) >= interval)
            .fold(0, |set, endpoint| set | bit(endpoint.index))
    }
}

/// Whether the same session was opened by another introduction.
fn is_reopened(before: Option<&(u64, Arc<str>)>, now: Option<&(u64, Arc<str>)>) -> bool {
    match (before, now) {
        (Some((number, before)), Some((same, now))) => number == same && !Arc::ptr_eq(before, now),
        _ => false,
    }
}

impl Errand {
    /// The event that ends this errand when its task panicked.
    fn lost(self) -> Event {
        match self {
            Self::Probe => Event::Probed(None),
            Self::Fetch(era) => Event::unfetched(era, Duration::ZERO),
            Self::Listen(era) => Event::ListenEnded {
                era,
                offered: true,
                lasted: Duration::ZERO,
            },
            Self::Check(endpoint) => Event::Checked {
                endpoint,
                passed: false,
            },
            Self::Wait(timer) => Event::TimerOver { timer, silent: 0 },
        }
    }
}
