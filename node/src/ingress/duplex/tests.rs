//! Lines of a gateway without servers, in paused time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use lockgate_cluster::Cluster;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{End, Line, Outbox, Peer};
use crate::config::{self, Options};
use crate::identity::{Identities, Identity};
use crate::ingress::service::Gateway;
use crate::pipeline::Pipeline;
use crate::seal::Sealer;
use crate::{session, stateless};

const CONFIG: &str = r#"
data_dir: data
identity: { anonymous: [all] }
roles: { all: { allow: ["*"] } }
servers: {}
"#;
pub(in crate::ingress) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// A gateway without servers.
pub(in crate::ingress) struct Node {
    pub(in crate::ingress) gateway: Arc<Gateway>,
    _dir: TempDir,
}

impl Node {
    pub(in crate::ingress) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("lockgate.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let options = Options {
            unsafe_no_auth: false,
            env: Arc::new(|_| None),
        };
        let loaded = config::load(&file, &options).unwrap();
        let clock = || std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let cluster = Cluster::open(&dir.path().join("data"), clock).unwrap();
        let identity = Identity::new(&loaded.config.registry, &cluster.view()).unwrap();
        let identities = Arc::new(Identities::new(identity));
        let pipeline = Pipeline::in_dir(dir.path(), clock, Arc::clone(&identities));
        let pipeline = Arc::new(pipeline);
        let sealer = Arc::new(Sealer::new(cluster.view().keyring()).unwrap());
        let (limits, lives) = (loaded.config.node.limits, loaded.config.node.session);
        let closing = CancellationToken::new();
        let gateway = Gateway {
            serving: lockgate_cluster::Serving::default(),
            identities,
            sessions: session::Door::new(
                Arc::clone(&pipeline),
                Arc::clone(&sealer),
                limits,
                lives,
                || 1_000,
            ),
            stateless: stateless::Door::new(Arc::clone(&pipeline), sealer, closing.clone()),
            audit: Arc::clone(&pipeline.audit),
            metrics: Arc::clone(&pipeline.metrics),
            limits,
            closing,
            grace: Duration::from_secs(60),
        };
        Self {
            gateway: Arc::new(gateway),
            _dir: dir,
        }
    }

    pub(in crate::ingress) fn line(&self) -> (Arc<Line>, Outbox) {
        let identity = self.gateway.identities.load();
        let peer = Peer {
            who: identity.authenticate(&HeaderMap::new()).unwrap(),
            route: "/ws".to_owned(),
            server: None,
        };
        Line::open(Arc::clone(&self.gateway), peer)
    }

    pub(in crate::ingress) fn sessions(&self) -> usize {
        self.gateway.sessions.counts().0
    }
}

fn ping(id: usize) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).into()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_left_after_half_a_minute() {
    let node = Node::start();
    let (line, _outbox) = node.line();
    let begun = Instant::now();
    let talk = async {
        line.take_own(INITIALIZE.into()).await.unwrap();
        for id in 2.. {
            line.take_own(ping(id)).await.unwrap();
        }
        End::Gone
    };
    assert_eq!(line.live(talk).await, End::Stalled);
    let lasted = begun.elapsed().as_secs();
    assert!((30..40).contains(&lasted), "{lasted} s");
    assert_eq!(node.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_left() {
    let node = Node::start();
    let (line, _outbox) = node.line();
    let limit = Duration::from_secs(15);
    assert_eq!(line.live(line.mute_for(limit)).await, End::Silent);
    let (line, mut outbox) = node.line();
    line.take_own(ping(1)).await.unwrap();
    assert!(outbox.next().await.is_some());
    let hour = Duration::from_secs(3600);
    let alive = tokio::time::timeout(hour, line.live(line.mute_for(limit))).await;
    assert!(alive.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_dropped_ends_the_session() {
    let node = Node::start();
    let (line, mut outbox) = node.line();
    line.take_own(INITIALIZE.into()).await.unwrap();
    assert!(outbox.next().await.is_some());
    assert_eq!(node.sessions(), 1);
    drop(outbox);
    assert_eq!(line.live(std::future::pending()).await, End::Gone);
    assert_eq!(node.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_refuses_what_is_new() {
    let node = Node::start();
    let (line, mut outbox) = node.line();
    line.take_own(INITIALIZE.into()).await.unwrap();
    node.gateway.closing.cancel();
    assert_eq!(line.live(std::future::pending()).await, End::Shutdown);
    line.take_own(ping(2)).await.unwrap();
    assert!(
        outbox
            .next()
            .await
            .unwrap()
            .starts_with(br#"{"jsonrpc":"2.0","id":1,"result""#)
    );
    let refusal = outbox.next().await.unwrap();
    assert!(
        memchr::memmem::find(&refusal, b"-31503").is_some(),
        "{refusal:?}"
    );
    assert_eq!(outbox.next().await, None);
}
