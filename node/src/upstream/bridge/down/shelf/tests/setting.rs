//! A bridge as it is, over channels whose far ends are the test's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockgate_cluster::Keyring;
use lockgate_proto::mcp::Revision;
use tokio::sync::watch;

use super::client::{self, Caller};
use super::peer::Peer;
use super::reached::Reached;
use crate::config;
use crate::seal::Sealer;
use crate::task::spawn_named;
use crate::upstream::breaker::BreakerHandle;
use crate::upstream::bridge::down::key::Key;
use crate::upstream::bridge::down::owned::{Manner, Owned};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::far::Far;
use crate::upstream::link::{SessionInit, UpstreamSession};
use crate::upstream::shared::Shared;
use crate::upstream::supervision::SupervisorHandle;
use crate::upstream::transport::channel::{Channel, FarEnd};
use crate::upstream::{BoundSession, SessionKey, WaitingRoom, tests};

/// How long a call waits for its client.
pub(super) const WAIT: Duration = Duration::from_secs(9);
/// How long the server may be silent: not as long as a client.
pub(super) const LIMIT: Duration = Duration::from_secs(7);
/// Longer than a call gathers questions.
pub(super) const QUIET: Duration = Duration::from_millis(30);
/// What clients declare; what the second declares has a session of its own.
pub(super) const CAPABILITIES: [&str; 2] = [
    r#"{"elicitation":{},"roots":{}}"#,
    r#"{"elicitation":{"x":{}},"roots":{}}"#,
];
/// Sessions that a caller's two calls may need, where they take turns: a call that waits for its client keeps one.
const LANES: u8 = 3;

/// Which sessions a caller's two calls have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Each has its own.
    OwnSessions,
    /// They share them, and take turns there.
    InTurns,
    /// They share one at once. What the server asks while one call runs comes with that call, otherwise beside both;
    /// after the first such question calls take turns.
    AtOnce,
    /// The same, but that all it asks comes beside the calls.
    AtOnceApart,
}

impl Sharing {
    /// Whether what the server asks names no call.
    pub(super) fn asks_apart(self) -> bool {
        matches!(self, Self::AtOnce | Self::AtOnceApart)
    }

    /// Whether calls take turns in the session of this lane from its beginning.
    pub(super) fn takes_turns(self, lane: u8) -> bool {
        match self {
            Self::OwnSessions => false,
            Self::InTurns => true,
            Self::AtOnce | Self::AtOnceApart => lane > 0,
        }
    }
}

/// How calls differ and share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// All callers and sides send the same request.
    pub(super) are_alike: bool,
    /// Which sessions a caller's calls have.
    pub(super) sharing: Sharing,
    /// There is not room for all of them to wait.
    pub(super) is_crowded: bool,
}

impl Setting {
    /// Lanes that a side may use, and the capabilities that it declares.
    pub(super) fn lane_of(self, side: usize) -> (u8, usize) {
        match self.sharing {
            Sharing::OwnSessions => (1, side),
            _ => (LANES, 0),
        }
    }

    fn limits(self) -> config::Bridge {
        let wide = config::Bridge {
            wait: WAIT,
            rounds_max: 6,
            ..config::Bridge::default()
        };
        if !self.is_crowded {
            return wide;
        }
        config::Bridge {
            waiting_max: 2,
            waiting_principal_max: 1,
            ..wide
        }
    }

    /// One server, which has no session yet.
    pub(super) async fn server(self) -> Arc<Shared> {
        // Names of actors are process-wide.
        static NODES: AtomicUsize = AtomicUsize::new(0);
        let node = format!("shelf-{}", NODES.fetch_add(1, Ordering::Relaxed));
        let supervisor = SupervisorHandle::spawn(&node).await.unwrap();
        let nowhere = "http://127.0.0.1:1/mcp".parse().unwrap();
        let mut settings = tests::server("jira", &[nowhere]);
        settings.era = config::EraChoice::Session;
        settings.in_flight_max = 64;
        settings.timeout = LIMIT;
        // Sessions that are gone are one thing, a server that nobody may call is another.
        settings.breaker.failures = 10_000;
        settings.breaker.minimum_calls = 10_000;
        let news = watch::Sender::new(0);
        let name = supervisor.name_for("breaker");
        let breaker = BreakerHandle::spawn(settings.breaker, name, "x", news.clone(), &supervisor);
        let breaker = breaker.await.unwrap();
        let far = Far::of(&settings, 1 << 20).unwrap().remove(0);
        let endpoint = Endpoint::new(0, "x".into(), 1, far, breaker);
        let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
        let room = WaitingRoom::new(Arc::new(sealer), self.limits(), 0);
        let (settings, room) = (Arc::new(settings), Some(Arc::new(room)));
        let shared = Arc::new(Shared::new(settings, vec![endpoint], news, room));
        shared.down.begin_for(&shared);
        shared
    }

    /// The sessions of one caller.
    pub(super) async fn sessions(
        self,
        shared: &Arc<Shared>,
        by: usize,
        reached: &Reached,
    ) -> Vec<(Arc<Owned>, Peer)> {
        let caller = Caller::new(by);
        let mut sessions = Vec::new();
        let sides = 0..2;
        let sets: BTreeSet<_> = sides.map(|side| self.lane_of(side)).collect();
        for (lanes, capabilities) in sets {
            let spelling = shared.down.registry.spelling(CAPABILITIES[capabilities]);
            let key = Key::new(&caller.owner(), spelling);
            for lane in 0..lanes {
                let (channel, far) = FarEnd::new(shared.settings.name.clone());
                let peer = Peer::new(far, by, (self.sharing, lane), reached.clone());
                let far = (channel, peer);
                sessions.push(self.session(shared, key.in_lane(lane), lane, far).await);
            }
        }
        sessions
    }

    async fn session(
        self,
        shared: &Arc<Shared>,
        key: Key,
        lane: u8,
        (channel, mut peer): (Channel, Peer),
    ) -> (Arc<Owned>, Peer) {
        let init = SessionInit {
            revision: Revision::SESSION_LATEST,
            capabilities: Arc::clone(&key.capabilities),
            client_info: r#"{"name":"test","version":"1"}"#.into(),
            now_ms: 0,
        };
        let (opened, ()) = tokio::join!(channel.open(init.clone()), peer.shake_hands());
        let session = UpstreamSession::Channel(opened.unwrap());
        if self.sharing == Sharing::AtOnceApart {
            blur(&session);
        }
        let session_key = SessionKey {
            session: shared.down.registry.name(),
            principal: key.owner().principal.clone(),
            tenant: key.owner().tenant.cloned(),
        };
        let bound = BoundSession::over(Arc::clone(shared), init, session_key, session);
        let manner = Manner {
            in_turns: self.sharing.takes_turns(lane),
            asks_apart: self.sharing.asks_apart(),
            has_asked_apart: Arc::clone(&shared.down.registry.has_asked_apart),
        };
        let owned = Arc::new(Owned::new(
            key.clone(),
            bound,
            manner,
            shared.down.shelf.clock(),
        ));
        if self.sharing.asks_apart() {
            owned.follow();
            assert!(owned.hub.offered().await);
        }
        let (slot, _) = shared.down.registry.slot(&key).unwrap();
        slot.cell.set(Arc::clone(&owned)).unwrap();
        (owned, peer)
    }
}

/// Begins two calls that never end: no question can come with its call then, as if it were the only one.
fn blur(session: &UpstreamSession) {
    for id in 0..2 {
        let session = session.clone();
        // Ends with its server, or with the test.
        drop(spawn_named("a call that never ends", async move {
            session.call(&client::endless(id)).await
        }));
    }
}
