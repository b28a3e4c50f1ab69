//! A bridge as it is, over channels whose far ends are the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockgate_cluster::Keyring;
use lockgate_proto::id::Principal;
use lockgate_proto::mcp::Revision;
use tokio::sync::watch;

use super::super::Session;
use crate::config;
use crate::seal::Sealer;
use crate::upstream::breaker::BreakerHandle;
use crate::upstream::catalog::{Catalog, ServerInfo};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::far::Far;
use crate::upstream::link::SessionInit;
use crate::upstream::shared::{Published, Shared};
use crate::upstream::supervision::SupervisorHandle;
use crate::upstream::transport::channel::FarEnd;
use crate::upstream::{SessionKey, WaitingRoom, tests};

/// Those who call, each in a session of their own.
pub(super) const CALLERS: [&str; 2] = ["ann", "bob"];
/// Log levels that they may want.
pub(super) const LEVELS: [&str; 2] = ["debug", "error"];
/// How long a call waits for its client.
pub(super) const WAIT: Duration = Duration::from_secs(9);
/// How long the server may be silent: not as long as a client.
pub(super) const LIMIT: Duration = Duration::from_secs(7);
/// Rounds of questions in one call: so few that calls come to the end of them.
pub(super) const ROUNDS_MAX: u32 = 3;

/// How callers share the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Each has a channel to it. Otherwise the messages of all go over one.
    pub(super) are_apart: bool,
}

impl Setting {
    /// The channel of a caller.
    pub(super) fn lane(self, by: usize) -> usize {
        if self.are_apart { by } else { 0 }
    }

    /// One server, which has said what it is and is reached by nobody yet.
    pub(super) async fn server(self) -> Arc<Shared> {
        self.server_in(room(config::Bridge::default().waiting_max))
            .await
    }

    /// One whose sessions have their places in this room.
    pub(super) async fn server_in(self, room: Arc<WaitingRoom>) -> Arc<Shared> {
        // Names of actors are process-wide.
        static NODES: AtomicUsize = AtomicUsize::new(0);
        let node = format!("up-{}", NODES.fetch_add(1, Ordering::Relaxed));
        let supervisor = SupervisorHandle::spawn(&node).await.unwrap();
        let mut settings = tests::server("jira", &[]);
        settings.transport = config::Transport::Stdio {
            command: "none".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            scope: if self.are_apart {
                config::Scope::Principal
            } else {
                config::Scope::Shared
            },
        };
        settings.era = config::EraChoice::Stateless;
        settings.timeout = LIMIT;
        settings.in_flight_max = 64;
        // Channels that end are one thing, a server that nobody may call is another.
        settings.breaker.failures = 10_000;
        settings.breaker.minimum_calls = 10_000;
        let news = watch::Sender::new(0);
        let name = supervisor.name_for("breaker");
        let breaker = BreakerHandle::spawn(settings.breaker, name, "x", news.clone(), &supervisor);
        let breaker = breaker.await.unwrap();
        let far = Far::of(&settings, 1 << 20).unwrap().remove(0);
        let endpoint = Endpoint::new(0, "x".into(), 1, far, breaker);
        let shared = Shared::new(Arc::new(settings), vec![endpoint], news, Some(room));
        let published = Published {
            stateless: Some(Arc::new(introduced())),
            ..Published::clone(&shared.published.load())
        };
        shared.published.store(Arc::new(published));
        Arc::new(shared)
    }
}

/// Room for so many that wait.
pub(super) fn room(waiting_max: usize) -> Arc<WaitingRoom> {
    let limits = config::Bridge {
        wait: WAIT,
        rounds_session_max: ROUNDS_MAX,
        waiting_max,
        waiting_principal_max: waiting_max,
        ..config::Bridge::default()
    };
    let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
    Arc::new(WaitingRoom::new(Arc::new(sealer), limits, 0))
}

/// A server that has introduced itself and lists nothing.
fn introduced() -> Catalog {
    let capabilities = r#"{"tools":{},"logging":{},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    Catalog {
        server: ServerInfo {
            capabilities: Some(capabilities.into()),
            ..ServerInfo::default()
        },
        tools: Arc::default(),
        prompts: Arc::default(),
        resources: Arc::default(),
        templates: Arc::default(),
        skills: Arc::default(),
        ttl: None,
        public: true,
    }
}

/// The session of a caller on some node.
pub(super) fn key(by: usize, number: usize) -> SessionKey {
    SessionKey {
        session: format!("session {number}").into(),
        principal: Principal::new(CALLERS[by]),
        tenant: None,
    }
}

/// Gives the server a channel for the requests of a caller, in the place of one that it may have had; returns its far
/// end.
pub(super) async fn connect(shared: &Shared, by: usize) -> FarEnd {
    let (channel, far) = FarEnd::new(shared.settings.name.clone());
    let Far::Stdio { children, .. } = &shared.endpoints[0].far else {
        unreachable!("the server is a child");
    };
    children.adopt(&key(by, 0).owner(), &channel).await;
    far
}

/// A session that has heard nothing and asked nothing. `number` tells it from others.
pub(super) async fn session(shared: &Arc<Shared>, by: usize, number: usize) -> Session {
    let init = SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: r#"{"elicitation":{}}"#.into(),
        client_info: r#"{"name":"test","version":"1"}"#.into(),
        now_ms: 0,
    };
    let opened = Session::open(Arc::clone(shared), &init, key(by, number)).await;
    opened.unwrap()
}
