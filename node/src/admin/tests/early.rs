//! The admin plane before the node is put together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use lockgate_cluster::{Latency, RaftRole, RaftStatus, Seat};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::admin::{Early, Service};

fn status(leader: Option<u64>) -> RaftStatus {
    let seat = |id: u64, votes| Seat {
        id,
        name: format!("n{id}"),
        address: "127.0.0.1:1".to_owned(),
        votes,
        matched: None,
        is_silent: false,
    };
    RaftStatus {
        id: 2,
        role: RaftRole::Follower,
        term: 7,
        leader,
        last_log: 9,
        committed: 8,
        applied: 8,
        snapshot: 0,
        snapshot_bytes: 0,
        purged: 0,
        seats: vec![seat(1, true), seat(2, true), seat(3, false)],
        append: Latency::default(),
        sync: Latency::default(),
        entries_written: 0,
        clock_behind: Duration::ZERO,
    }
}

async fn ask(service: &Service, peer: &str, path: &str) -> (u16, Value) {
    let request = Request::builder().uri(path).header("host", "127.0.0.1");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = service.answer(peer.parse().unwrap(), request).await;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    (head.status.as_u16(), body)
}

#[tokio::test]
async fn it_says_what_the_node_waits_for() {
    let (near, far) = ("127.0.0.1:5", "10.0.0.9:5");
    let early = Early::default();
    let service = Service::new(Some(SecretString::from("s3cret")), early.clone());
    let ready = json!({ "status": "starting", "cluster": { "lease": false, "voters": [] } });
    assert_eq!(ask(&service, near, "/readyz").await, (503, ready));
    let (code, refused) = ask(&service, near, "/api/v1/cluster/health").await;
    assert_eq!((code, &refused["error"]["code"]), (503, &json!("starting")));

    early.has_engine(Arc::new(|| status(None)));
    let cluster = json!({ "lease": false, "voters": ["n1", "n2"] });
    let ready = json!({ "status": "no_quorum", "cluster": cluster });
    assert_eq!(ask(&service, near, "/readyz").await, (503, ready));
    let (code, health) = ask(&service, near, "/api/v1/cluster/health").await;
    assert_eq!((code, &health["healthy"]), (200, &json!(false)));
    assert_eq!(
        [&health["node"], &health["leader"], &health["voters"]],
        [&json!("n2"), &json!(null), &json!(2)]
    );
    let (code, refused) = ask(&service, near, "/api/v1/keys").await;
    assert_eq!((code, &refused["error"]["code"]), (503, &json!("starting")));
    let remedy = "start the others; /readyz names the voters";
    assert_eq!(refused["error"]["remedy"], remedy);
    assert_eq!(ask(&service, near, "/nowhere").await.0, 404);

    // From elsewhere without the token: whether it lives and is ready, and no more.
    let bare = json!({ "status": "no_quorum" });
    assert_eq!(ask(&service, far, "/readyz").await, (503, bare));
    assert_eq!(ask(&service, far, "/healthz").await.0, 200);
    assert_eq!(ask(&service, far, "/api/v1/cluster/health").await.0, 401);
}

#[tokio::test]
async fn with_a_leader_it_only_starts() {
    let early = Early::default();
    early.has_engine(Arc::new(|| status(Some(1))));
    let service = Service::new(None, early);
    let (_, ready) = ask(&service, "127.0.0.1:5", "/readyz").await;
    assert_eq!(ready["status"], "starting");
}
