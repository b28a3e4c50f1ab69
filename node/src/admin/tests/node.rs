//! A node to administrate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use lockgate_cluster::Cluster;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Early, Parts, Readiness, Service};
use crate::audit::Audit;
use crate::config::{self, Options, Reloader};
use crate::identity::{Authenticated, Identities, Identity};
use crate::pipeline::Pipeline;
use crate::policy::Quotas;
use crate::seal::Sealer;
use crate::session::Door;
use crate::telemetry::{Metrics, Tracer};
use crate::upstream::Upstreams;

pub(super) const CONFIG: &str = r#"
listen: 127.0.0.1:0
data_dir: data
identity:
  api_keys:
    - { id: of-file, key_env: FILE_KEY, principal: ci-bot, tenant: acme, roles: [engineer] }
servers:
  down:
    url: http://127.0.0.1:9/mcp
    headers: { Authorization: "Bearer literal-secret" }
roles:
  engineer: { allow: ["*"] }
tenants:
  acme: { servers: [down] }
"#;

/// Everything that lives behind the admin plane.
pub(super) struct Node {
    pub(super) service: Service,
    pub(super) parts: Parts,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) dir: TempDir,
    /// Makes the next application fail.
    pub(super) broken: Arc<AtomicBool>,
    pub(super) n_applied: Arc<AtomicUsize>,
    reloader: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.reloader.abort();
    }
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn clock_ms() -> u64 {
    1_800_000_000_000
}

fn options() -> Options {
    let env = |name: &str| (name == "FILE_KEY").then(|| "lg_of-the-file".to_owned());
    Options {
        unsafe_no_auth: false,
        env: Arc::new(env),
    }
}

impl Node {
    /// With `token` from elsewhere.
    pub(super) async fn start(token: Option<&str>) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("lockgate.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let loaded = config::load(&file, &options()).unwrap();
        let (reloader, reload) = Reloader::new(&file, options(), loaded.clone(), clock, |_| None);
        let registry = Arc::new(ArcSwap::from_pointee(loaded.config.registry.clone()));
        let cluster = Cluster::open(&dir.path().join("data"), clock).unwrap();
        let audit = config::Audit::File(dir.path().join("audit.jsonl"));
        let audit = Arc::new(Audit::open(&audit, "n1", 1, clock).unwrap());
        let identity = Identity::new(&loaded.config.registry, &cluster.view()).unwrap();
        let pipeline = Arc::new(Pipeline::new(
            Arc::new(Identities::new(identity)),
            Arc::new(Quotas::none()),
            audit,
            Arc::new(Metrics::new()),
            Tracer::off(),
            16,
        ));
        // Actors have names of their own in a process, and tests share one.
        let name = dir.path().display().to_string();
        let upstreams = Upstreams::new(&name, 1 << 20, None).await.unwrap();
        upstreams.apply(&registry.load().servers).await.unwrap();
        let sealer = Arc::new(Sealer::new(cluster.view().keyring()).unwrap());
        let node = &loaded.config.node;
        let sessions = Door::new(
            Arc::clone(&pipeline),
            sealer,
            node.limits,
            node.session,
            clock_ms,
        );
        let (readiness, seen) = watch::channel(Readiness::Ready);
        let (broken, n_applied) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let parts = Parts {
            listen: "127.0.0.1:7777".parse().unwrap(),
            tls: false,
            certificate: Arc::new(|| None),
            started: clock(),
            clock,
            apply: apply(&cluster, &upstreams, &registry, &broken, &n_applied),
            cluster,
            sessions,
            upstreams,
            pipeline,
            registry,
            config: Some(reload),
            server_options: options(),
            readiness: seen,
            connections: Arc::new(|| 5),
            ca_sha256: None,
            file_differs: Arc::default(),
            sealed_age_max: Duration::from_hours(24),
        };
        let service = Service::new(token.map(SecretString::from), Early::default());
        service.open(parts.clone());
        Self {
            service,
            parts,
            readiness,
            dir,
            broken,
            n_applied,
            reloader: crate::task::spawn_named("reloader", reloader.run()),
        }
    }

    /// One request from this machine.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.send("127.0.0.1:5", &[], method, path, body).await;
        let json = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        (status, json)
    }

    /// One request from `peer` with `headers`.
    pub(super) async fn send(
        &self,
        peer: &str,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let answer = self.service.answer(peer, request).await;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, body)
    }

    /// Whether the data plane would let `key` in.
    pub(super) fn opens(&self, key: &str) -> bool {
        self.caller(key).is_some()
    }

    /// Whom `key` identifies.
    pub(super) fn caller(&self, key: &str) -> Option<Arc<Authenticated>> {
        let identity =
            Identity::new(&self.parts.registry.load(), &self.parts.cluster.view()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
        identity.authenticate(&headers).ok()
    }

    /// Lines of the audit log for operators' deeds: action, target, and how it ended, once it has.
    pub(super) fn deeds(&self) -> Vec<String> {
        self.parts
            .pipeline
            .audit
            .flush(Duration::from_secs(10))
            .unwrap();
        let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["event"] == "admin")
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap().to_owned();
                let status = line["status"].as_str().map(|status| format!(": {status}"));
                let status = status.unwrap_or_default();
                format!(
                    "{} {} {}{status}",
                    text("who"),
                    text("action"),
                    text("target")
                )
            })
            .collect()
    }
}

/// What the app does: the file's registry with the servers that were added.
fn apply(
    cluster: &Cluster,
    upstreams: &Upstreams,
    registry: &Arc<ArcSwap<config::Registry>>,
    broken: &Arc<AtomicBool>,
    n_applied: &Arc<AtomicUsize>,
) -> Arc<dyn Fn() -> crate::admin::ApplyFuture + Send + Sync> {
    let of_file = registry.load_full();
    let (cluster, upstreams) = (cluster.clone(), upstreams.clone());
    let (registry, broken) = (Arc::clone(registry), Arc::clone(broken));
    let n_applied = Arc::clone(n_applied);
    Arc::new(move || {
        let (cluster, upstreams) = (cluster.clone(), upstreams.clone());
        let (of_file, registry) = (Arc::clone(&of_file), Arc::clone(&registry));
        n_applied.fetch_add(1, Ordering::Relaxed);
        let broken = broken.load(Ordering::Relaxed);
        Box::pin(async move {
            if broken {
                return Err("no room".to_owned());
            }
            let mut all = config::Registry::clone(&of_file);
            for added in cluster.view().servers() {
                let json = serde_json::from_str(&added.settings).unwrap();
                let name = added.name.as_str();
                let server = config::parse_server(name, &json, ".".as_ref(), &options());
                all.servers.push(Arc::new(server.unwrap()));
            }
            upstreams
                .apply(&all.servers)
                .await
                .map_err(|error| error.to_string())?;
            registry.store(Arc::new(all));
            Ok(())
        })
    })
}
