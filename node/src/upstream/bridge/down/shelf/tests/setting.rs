//! A bridge as it is, over channels whose far ends are the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockgate_cluster::Keyring;
use lockgate_proto::mcp::Revision;
use tokio::sync::watch;

use super::super::super::owned::{Key, Manner, Owned};
use super::client::Caller;
use super::peer::Peer;
use crate::config;
use crate::seal::Sealer;
use crate::upstream::breaker::BreakerHandle;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::far::Far;
use crate::upstream::link::{SessionInit, UpstreamSession};
use crate::upstream::shared::Shared;
use crate::upstream::supervision::SupervisorHandle;
use crate::upstream::transport::channel::FarEnd;
use crate::upstream::{BoundSession, SessionKey, WaitingRoom, tests};

/// How long a call waits for its client.
pub(super) const WAIT: Duration = Duration::from_secs(9);
/// How long the server may be silent: not as long as a client.
pub(super) const LIMIT: Duration = Duration::from_secs(7);
/// What clients declare; what the second declares has a session of its own.
pub(super) const CAPABILITIES: [&str; 2] = [r#"{"elicitation":{}}"#, r#"{"elicitation":{"x":{}}}"#];
/// Sessions that a caller's two calls may need, where they take turns: a call that waits for its client keeps one.
const LANES: u8 = 3;

/// How calls differ and share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// All callers and sides send the same request.
    pub(super) are_alike: bool,
    /// Calls of a caller share sessions, and take turns there. Otherwise each side has a session.
    pub(super) in_turns: bool,
    /// There is not room for all of them to wait.
    pub(super) is_crowded: bool,
}

impl Setting {
    /// Lanes that a side may use, and the capabilities that it declares.
    pub(super) fn lane_of(self, side: usize) -> (u8, usize) {
        if self.in_turns { (LANES, 0) } else { (1, side) }
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
        let room = WaitingRoom::new(Arc::new(sealer), self.limits());
        let (settings, room) = (Arc::new(settings), Some(Arc::new(room)));
        let shared = Arc::new(Shared::new(settings, vec![endpoint], news, room));
        shared.down.begin_for(&shared);
        shared
    }

    /// The sessions of one caller.
    pub(super) async fn sessions(self, shared: &Arc<Shared>, by: usize) -> Vec<(Arc<Owned>, Peer)> {
        let caller = Caller::new(by);
        let mut sessions = Vec::new();
        let n_sets = if self.in_turns { 1 } else { 2 };
        for capabilities in &CAPABILITIES[..n_sets] {
            let spelling = shared.down.registry.spelling(capabilities);
            let key = Key::new(&caller.owner(), spelling);
            for lane in 0..self.lane_of(0).0 {
                sessions.push(self.session(shared, by, key.in_lane(lane)).await);
            }
        }
        sessions
    }

    async fn session(self, shared: &Arc<Shared>, by: usize, key: Key) -> (Arc<Owned>, Peer) {
        let (channel, far) = FarEnd::new(shared.settings.name.clone());
        let mut peer = Peer::new(far, by, self.in_turns);
        let init = SessionInit {
            revision: Revision::SESSION_LATEST,
            capabilities: Arc::clone(&key.capabilities),
            client_info: r#"{"name":"test","version":"1"}"#.into(),
            now_ms: 0,
        };
        let (opened, ()) = tokio::join!(channel.open(init.clone()), peer.shake_hands());
        let session = UpstreamSession::Channel(opened.unwrap());
        let session_key = SessionKey {
            session: shared.down.registry.name(),
            principal: key.owner().principal.clone(),
            tenant: key.owner().tenant.cloned(),
        };
        let bound = BoundSession::over(Arc::clone(shared), init, session_key, session);
        let manner = Manner {
            in_turns: self.in_turns,
            ..Manner::default()
        };
        let owned = Arc::new(Owned::new(key.clone(), bound, manner));
        let (slot, _) = shared.down.registry.slot(&key).unwrap();
        slot.cell.set(Arc::clone(&owned)).unwrap();
        (owned, peer)
    }
}
