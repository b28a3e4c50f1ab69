//! The life of sessions that have no servers, step by step.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use lockgate_cluster::Cluster;
use tempfile::TempDir;
use tokio::time::Instant;

use super::actor::REVIVALS_MAX;
use super::cell::Cell;
use super::{Door, Request};
use crate::config::{self, Options};
use crate::identity::{Authenticated, Identities, Identity};
use crate::pipeline::Pipeline;
use crate::seal::Sealer;

const CONFIG: &str = r#"
data_dir: data
identity: { anonymous: [all] }
roles: { all: { allow: ["*"] } }
servers: {}
"#;
const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

struct Node {
    door: Door,
    who: Arc<Authenticated>,
    _dir: TempDir,
}

impl Node {
    fn start() -> Self {
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
        let who = identities.load().authenticate(&HeaderMap::new());
        let pipeline = Arc::new(Pipeline::in_dir(dir.path(), clock, identities));
        let sealer = Arc::new(Sealer::new(cluster.view().keyring()).unwrap());
        let node = &loaded.config.node;
        Self {
            door: Door::new(pipeline, sealer, node.limits, node.session, || 1_000),
            who: who.unwrap(),
            _dir: dir,
        }
    }

    /// Opens a session.
    async fn open(&self) -> Arc<Cell> {
        let request = Request {
            who: Arc::clone(&self.who),
            route: "/mcp",
            server: None,
            session_id: None,
            version: None,
            trace: None,
            seen: None,
        };
        let answer = self
            .door
            .post(&request, Bytes::from_static(INITIALIZE))
            .await;
        assert!(answer.session_id.is_some());
        self.door.inner.directory.cells().pop().unwrap()
    }

    async fn actors_are(&self, n: usize) {
        let settled = async {
            while self.door.inner.actors.load(Ordering::Relaxed) != n {
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, settled).await.unwrap();
    }

    fn passivate(&self, cell: &Arc<Cell>) -> bool {
        self.door.inner.directory.passivate(cell, Instant::now())
    }
}

#[tokio::test]
async fn events_after_a_sleep_have_ids_of_their_own() {
    let node = Node::start();
    let cell = node.open().await;
    let before = cell.get_stream().attach(None).unwrap().priming().id;
    assert!(node.passivate(&cell));
    let awake = node.door.inner.find(&cell.key).unwrap();
    let after = awake.get_stream().attach(None).unwrap().priming().id;
    assert_ne!(before, after);
}

#[tokio::test]
async fn an_answer_that_nobody_took_keeps_its_session_awake() {
    let node = Node::start();
    let cell = node.open().await;
    let log = cell.new_stream();
    log.push(Bytes::from_static(b"{}")).await;
    log.end(Instant::now());
    assert!(!node.passivate(&cell));
    let mut reader = log.attach(None).unwrap();
    while reader.next().await.is_some() {}
    drop(reader);
    assert!(node.passivate(&cell));
}

#[tokio::test]
async fn a_cell_that_sleeps_cannot_be_held() {
    let node = Node::start();
    let cell = node.open().await;
    let directory = &node.door.inner.directory;
    let held = directory.hold(&cell).unwrap();
    assert!(!node.passivate(&cell));
    drop(held);
    assert!(node.passivate(&cell));
    assert!(directory.hold(&cell).is_none());
    let _awake = node.door.inner.find(&cell.key).unwrap();
    assert!(directory.hold(&cell).is_none());
}

#[tokio::test]
async fn a_session_that_is_taken_out_has_ended_at_once() {
    let node = Node::start();
    let cell = node.open().await;
    node.door.inner.directory.remove(&cell.key).unwrap();
    assert!(cell.ended.is_cancelled());
}

#[tokio::test]
async fn a_dead_actor_is_replaced_a_few_times_and_then_its_session_ends() {
    let node = Node::start();
    let cell = node.open().await;
    node.actors_are(1).await;
    for _ in 0..REVIVALS_MAX {
        cell.actor.kill();
        node.actors_are(0).await;
        node.door.sweep();
        node.actors_are(1).await;
        assert!(!cell.ended.is_cancelled());
    }
    cell.actor.kill();
    node.actors_are(0).await;
    node.door.sweep();
    assert!(cell.ended.is_cancelled());
    assert_eq!(node.door.counts(), (0, 0, 0));
}
