//! One node of a run: the replicated truth of the product with its network, disk and certificates, and registers over
//! HTTP before it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lockgate_cluster::{
    Begin, Cluster, Command, Expected, NetworkOptions, NodesCommand, Options, ProposeError,
    RaftRole, Refusal, RegisterWrite, Reply, TlsFiles,
};
use lockgate_proto::id::{NodeId, NodeName};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};

use crate::cli::ServeMember;
use crate::report::print;

/// What the path of a register begins with.
pub(crate) const REGISTERS: &str = "/api/v1/registers/";
/// How the node stands.
pub(crate) const STATUS: &str = "/status";
/// Has the node write a snapshot.
pub(crate) const SNAPSHOT: &str = "/snapshot";
/// What the path to hand the leadership over begins with; the number of a member follows.
pub(crate) const LEADER: &str = "/leader/";
/// What the path of a member begins with.
pub(crate) const MEMBERS: &str = "/members/";
/// Query of a read that may be stale.
pub(crate) const LOCAL: &str = "consistency=local";

#[expect(
    clippy::disallowed_methods,
    reason = "the clock of the node under test is the real one"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Serves until the process is killed.
pub(crate) async fn serve(options: &ServeMember) -> anyhow::Result<()> {
    let start = start_options(options)?;
    // It reads and writes files, and waits until there is a leader.
    let cluster = spawn_blocking(move || Cluster::start(start)).await??;
    let listener = TcpListener::bind(options.api).await.context("listen")?;
    print("ready\n");
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let cluster = cluster.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(cluster.clone(), request));
            // A client that goes away is no fault of ours.
            let _closed = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn start_options(options: &ServeMember) -> anyhow::Result<Options> {
    let peers = options.peers.iter().map(|peer| {
        let (name, address) = peer.split_once('=').context("`--peer` is name=address")?;
        Ok((name.to_owned(), address.to_owned()))
    });
    let file = |name: String| options.certs.join(name);
    let network = NetworkOptions {
        listen: options.listen.to_string(),
        advertise: String::new(),
        peers: peers.collect::<anyhow::Result<BTreeMap<_, _>>>()?,
        tls: TlsFiles {
            ca: file("ca.pem".to_owned()),
            cert: file(format!("{}.pem", options.name)),
            key: file(format!("{}.key", options.name)),
        },
        ca_key: Some(file("ca.key".to_owned())),
        begin: match options.found {
            true => Begin::Found,
            false => Begin::Join { token: None },
        },
    };
    let mut start = Options::alone(&options.dir, now);
    start.node = NodeName::from(options.name.as_str());
    start.network = Some(network);
    Ok(start)
}

async fn answer(
    cluster: Cluster,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let (status, body) = match (path.strip_prefix(REGISTERS), head.method) {
        (Some(key), Method::GET) => {
            let is_local = head.uri.query() == Some(LOCAL);
            read(&cluster, key, is_local).await
        }
        (Some(key), Method::PUT) => {
            let body = body.collect().await?.to_bytes();
            write(&cluster, key, &serde_json::from_slice(&body)?).await?
        }
        (None, Method::GET) if path == STATUS => (StatusCode::OK, standing(&cluster)),
        (None, method) => operate(&cluster, &method, path).await,
        _ => (StatusCode::NOT_FOUND, Value::Null),
    };
    let body = Full::new(body.to_string().into());
    Ok(Response::builder().status(status).body(body)?)
}

/// What an operator asks for.
async fn operate(cluster: &Cluster, method: &Method, path: &str) -> (StatusCode, Value) {
    let number = |prefix| path.strip_prefix(prefix)?.parse::<u64>().ok();
    let done = if *method == Method::POST && path == SNAPSHOT {
        let asked = cluster.write_snapshot().await;
        asked.map_err(|error| error.to_string())
    } else if let (&Method::POST, Some(to)) = (method, number(LEADER)) {
        let handed_over = cluster.transfer_leader(to).await;
        handed_over.map_err(|error| error.to_string())
    } else if let (&Method::DELETE, Some(id)) = (method, number(MEMBERS)) {
        let remove = NodesCommand::Remove {
            node: NodeId(id),
            lost: true,
        };
        let removed = cluster.propose(Command::Nodes(remove)).await;
        removed.map(drop).map_err(|error| error.to_string())
    } else {
        return (StatusCode::NOT_FOUND, Value::Null);
    };
    match done {
        Ok(()) => (StatusCode::OK, Value::Null),
        Err(error) => (StatusCode::CONFLICT, json!({"error": error})),
    }
}

async fn read(cluster: &Cluster, key: &str, is_local: bool) -> (StatusCode, Value) {
    let view = match is_local {
        true => Ok(cluster.view()),
        false => cluster.read().await,
    };
    match view {
        Ok(view) => match view.registers().get(key) {
            Some(register) => {
                let value = String::from_utf8_lossy(&register.value);
                let found = json!({"value": value, "revision": register.revision});
                (StatusCode::OK, found)
            }
            None => (StatusCode::NOT_FOUND, Value::Null),
        },
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// `{"value": "new", "expected": "old"}`: `null` expects that there is none, no `expected` expects nothing.
async fn write(cluster: &Cluster, key: &str, asked: &Value) -> anyhow::Result<(StatusCode, Value)> {
    let text = |value: &Value| value.as_str().map(|text| Bytes::from(text.to_owned()));
    let expected = match asked.get("expected") {
        None => Expected::Any,
        Some(Value::Null) => Expected::Absent,
        Some(old) => Expected::Value(text(old).context("`expected` is no text")?),
    };
    let write = RegisterWrite {
        key: key.to_owned(),
        expected,
        value: Some(text(&asked["value"]).context("`value` is no text")?),
    };
    Ok(match cluster.propose(write.into()).await {
        Ok(Reply::Written { revision }) => (StatusCode::OK, json!({"revision": revision})),
        Ok(other) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            json!(format!("{other:?}")),
        ),
        Err(error) => refused(status_of(&error), &error),
    })
}

/// 503: nothing was changed. 504: that is not known.
fn status_of(error: &ProposeError) -> StatusCode {
    match error {
        ProposeError::Refused(Refusal::StaleRegister { .. }) => StatusCode::CONFLICT,
        ProposeError::NoLeader | ProposeError::Closed => StatusCode::SERVICE_UNAVAILABLE,
        ProposeError::Refused(_) | ProposeError::Invalid(_) => StatusCode::BAD_REQUEST,
        // Whatever else there may be: nobody said that nothing was changed.
        _ => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn refused(status: StatusCode, error: &dyn std::error::Error) -> (StatusCode, Value) {
    (status, json!({"error": error.to_string()}))
}

fn standing(cluster: &Cluster) -> Value {
    let status = cluster.raft_status();
    let view = cluster.view();
    let hashes = view.state_hashes().map(|at| {
        let hash: String = at.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        (at.index.to_string(), json!(hash))
    });
    json!({
        "id": status.id,
        "leads": status.role == RaftRole::Leader,
        "term": status.term,
        "applied": status.applied,
        "snapshot": status.snapshot,
        "purged": status.purged,
        "voters": status.seats.iter().filter(|seat| seat.votes).count(),
        "hashes": hashes.collect::<serde_json::Map<_, _>>(),
    })
}
