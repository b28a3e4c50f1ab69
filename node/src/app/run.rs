//! The three ways in which a node runs: behind listeners, behind its own pipes, and as a demo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, HeaderValue, header};
use lockgate_cluster::{Cluster, Options};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Readiness};
use crate::config::{self, Loaded, ReloadHandle, Reloader};
use crate::identity::Authenticated;
use crate::ingress::http::Listener;
use crate::ingress::tls::{self, Acceptor};
use crate::ingress::{Guard, Service};
use crate::task::spawn_named;
use crate::telemetry;

use super::occupied::{BindError, Plane};
use super::{App, GRACE, clock, membership, signals};

/// Connections whose calls were cut off have this long to say so and to close.
const FAREWELL_MAX: Duration = Duration::from_secs(10);
/// Nodes may let sessions live differently long; a retired key is kept so long at least.
const SEALED_AGE_MIN: Duration = Duration::from_hours(24);
/// Opens the admin plane from elsewhere.
const ADMIN_TOKEN: &str = "LOCKGATE_TOKEN";
/// Key of the caller behind `lockgate stdio`.
const STDIO_KEY: &str = "LOCKGATE_API_KEY";

/// What is told when the node answers.
pub(super) type Ready<'a> = &'a (dyn Fn(SocketAddr, SocketAddr) + Sync);

/// Serves the configuration at `path` until SIGTERM or SIGINT.
pub(super) async fn serve(
    path: &Path,
    options: config::Options,
    ready: Ready<'_>,
) -> anyhow::Result<()> {
    let loaded = config::load(path, &options)?;
    let (reloader, reload) = Reloader::new(path, options.clone(), loaded.clone(), clock, |tls| {
        tls::inspect(tls).err().map(Into::into)
    });
    let file = Some(reload.clone());
    let keep = async |app: &App| {
        let mut tasks = app.keep_current();
        tasks.push(spawn_named("configuration", reloader.run()));
        tasks.push(spawn_named(
            "registry",
            app.clone().keep_registry(reload.clone()),
        ));
        tasks.push(spawn_named(
            "hang-ups",
            signals::on_hangup(reload, Arc::clone(&app.audit)),
        ));
        tasks
    };
    listen(
        Start {
            loaded: &loaded,
            options,
            dir: &directory_of(path),
            file,
            ready,
        },
        keep,
    )
    .await
}

/// Serves a configuration that is no file.
pub(super) async fn serve_loaded(loaded: &Loaded, ready: Ready<'_>) -> anyhow::Result<()> {
    let options = config::Options::from_process(false);
    let start = Start {
        loaded,
        options,
        dir: Path::new("."),
        file: None,
        ready,
    };
    listen(start, async |app: &App| app.keep_current()).await
}

/// What a node behind listeners starts from.
struct Start<'a> {
    loaded: &'a Loaded,
    options: config::Options,
    /// Where relative paths start.
    dir: &'a Path,
    /// Follows the file, if the configuration is one.
    file: Option<ReloadHandle>,
    ready: Ready<'a>,
}

async fn listen<K>(start: Start<'_>, keep: K) -> anyhow::Result<()>
where
    K: AsyncFnOnce(&App) -> Vec<JoinHandle<()>>,
{
    let node = &start.loaded.config.node;
    // Both ends are heard from here on: a node may wait for its cluster for long.
    let mut terminated = pin!(signals::terminated());
    let (doors, operators) = Doors::bind(node).await?;
    let token = (start.options.env)(ADMIN_TOKEN).map(SecretString::from);
    let early = admin::Early::default();
    let admin = admin::Service::new(token, early.clone());
    let admin_stop = CancellationToken::new();
    let operating = spawn_named(
        "admin plane",
        operators.serve(admin.clone(), admin_stop.clone()),
    );
    let put_together = async {
        let options = membership::options_to_run(node, &start.options.env)?;
        // Before the cluster is waited for: the log says meanwhile for what.
        let telemetry = telemetry::init(&node.telemetry, options.node.as_str())?;
        let cluster = take_place(options, &early).await?;
        App::start(start.loaded, cluster, telemetry, &start.options, start.dir).await
    };
    let app = tokio::select! {
        app = put_together => app?,
        () = &mut terminated => {
            tracing::info!("shutting down before the start was complete");
            return Ok(());
        }
    };
    let mut tasks = keep(&app).await;
    let (readiness, seen) = watch::channel(Readiness::Starting);
    admin.open(parts(&app, &start, &doors, seen));
    // Operators can look meanwhile, also at a server that hangs.
    let is_wanted = tokio::select! {
        () = app.settled() => true,
        () = &mut terminated => false,
    };
    let mut outcome = Ok(());
    if is_wanted {
        let guard = Guard::new(doors.address, &node.allowed_hosts, &node.allowed_origins);
        let service = Service::new(Arc::clone(&app.gateway), guard);
        let watched =
            |tls: Acceptor| spawn_named("certificate watch", tls.watch(clock, app.stop.clone()));
        tasks.extend(doors.tls.map(watched));
        let serving = spawn_named(
            "data plane",
            doors
                .listener
                .serve(service, app.stop.clone(), GRACE + FAREWELL_MAX),
        );
        readiness.send_replace(Readiness::Ready);
        tracing::info!(listen = %doors.address, "ready");
        (start.ready)(doors.address, doors.admin_address);
        outcome = tokio::select! {
            () = &mut terminated => Ok(()),
            error = unable(&app) => Err(error),
        };
        tracing::info!("shutting down; calls in flight finish");
        readiness.send_replace(Readiness::Draining);
        app.stop.cancel();
        let _served = serving.await;
    }
    admin_stop.cancel();
    let _operated = operating.await;
    for task in tasks {
        task.abort();
    }
    app.end().await;
    outcome
}

/// The node could not write what its cluster is to keep, and takes no part in it any more.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store of this node has failed, as the log says; see whether its disk is full or broken and start the node again: \
     what was acknowledged is kept"
)]
struct StoreFailed;

/// Nobody reads the audit lines any more, without which no call is let through.
#[derive(Debug, thiserror::Error)]
#[error(
    "whoever read the audit lines on standard output (`audit.output: stdout`) has gone, so no call can be let through; \
     start the node again together with what reads them"
)]
struct Unread;

/// Returns when the node can serve no call any more, with the reason.
async fn unable(app: &App) -> anyhow::Error {
    tokio::select! {
        removed = app.cluster.removed() => removed.into(),
        () = failed(&app.cluster) => StoreFailed.into(),
        () = app.audit.unread() => Unread.into(),
    }
}

/// Returns when the node takes no changes any more. Without them it can serve no call: it has to end, so that whatever
/// keeps it running sees it and begins it again.
async fn failed(cluster: &Cluster) {
    let mut views = cluster.watch();
    while views.changed().await.is_ok() {}
}

/// Where a node is reached.
struct Doors {
    listener: Listener,
    tls: Option<Acceptor>,
    address: SocketAddr,
    admin_address: SocketAddr,
}

impl Doors {
    /// Binds both planes.
    async fn bind(node: &config::Node) -> anyhow::Result<(Self, admin::Listener)> {
        let tls = node.tls.clone().map(Acceptor::load).transpose()?;
        let listener = Listener::bind(node.listen, tls.clone(), node.limits, clock)
            .await
            .map_err(|error| BindError::new(Plane::Data, node.listen, error))?;
        let address = listener.address()?;
        let operators = admin::Listener::bind(node.admin_listen)
            .await
            .map_err(|error| BindError::new(Plane::Admin, node.admin_listen, error))?;
        let admin_address = operators.address()?;
        let doors = Self {
            listener,
            tls,
            address,
            admin_address,
        };
        Ok((doors, operators))
    }
}

/// Opens the state, and waits for a cluster of several nodes for as long as it takes. Operators see meanwhile how the
/// engine stands.
async fn take_place(options: Options, early: &admin::Early) -> anyhow::Result<Cluster> {
    let starting = membership::begin(options).await?;
    early.has_engine(starting.status());
    membership::joined(starting).await
}

/// All that the admin plane shows and changes.
fn parts(
    app: &App,
    start: &Start<'_>,
    doors: &Doors,
    readiness: watch::Receiver<Readiness>,
) -> admin::Parts {
    let config = &start.loaded.config;
    admin::Parts {
        listen: doors.address,
        tls: doors.tls.is_some(),
        certificate: {
            let tls = doors.tls.clone();
            Arc::new(move || Some(tls.as_ref()?.validity()?.dates()))
        },
        started: clock(),
        clock,
        cluster: app.cluster.clone(),
        sessions: app.gateway.sessions.clone(),
        upstreams: app.upstreams.clone(),
        pipeline: Arc::clone(&app.pipeline),
        registry: Arc::clone(&app.registry),
        apply: app
            .clone()
            .applier(start.file.clone(), config.registry.clone()),
        config: start.file.clone(),
        server_options: start.options.clone(),
        readiness,
        connections: Arc::new(doors.listener.connections()),
        ca_sha256: membership::ca_sha256(&config.node),
        file_differs: Arc::clone(&app.file_differs),
        sealed_age_max: config.node.session.age_max.max(SEALED_AGE_MIN),
    }
}

/// Directory of the file, independent of the working directory.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).ok();
    let dir = absolute.and_then(|path| path.parent().map(Path::to_owned));
    dir.unwrap_or_else(|| PathBuf::from("."))
}

/// Serves one client on standard input and output.
pub(super) async fn stdio(path: &Path, options: config::Options) -> anyhow::Result<()> {
    let key = (options.env)(STDIO_KEY);
    let mut loaded = config::load(path, &options)?;
    let node = &mut loaded.config.node;
    if node.audit == config::Audit::Stdout {
        // Standard output belongs to the client here.
        node.audit = config::Audit::File(node.data_dir.join("audit.jsonl"));
    }
    let place = membership::options_to_run(&loaded.config.node, &options.env)?;
    let telemetry = telemetry::init(&loaded.config.node.telemetry, place.node.as_str())?;
    let cluster = membership::open(place).await?;
    let app = App::start(&loaded, cluster, telemetry, &options, &directory_of(path)).await?;
    app.settled().await;
    let who = stdio_caller(&app, key.as_deref())?;
    let tasks = app.keep_current();
    let stop = app.stop.clone();
    let terminated = signals::terminated();
    let watch = spawn_named("signals", async move {
        terminated.await;
        stop.cancel();
    });
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let gateway = Arc::clone(&app.gateway);
    let mut serving = pin!(crate::ingress::stdio::serve(gateway, who, input, output));
    let outcome = tokio::select! {
        () = &mut serving => Ok(()),
        error = unable(&app) => {
            app.stop.cancel();
            serving.await;
            Err(error)
        }
    };
    watch.abort();
    for task in tasks {
        task.abort();
    }
    app.end().await;
    outcome
}

/// Pipes carry no headers: the caller is who the environment says, else the anonymous one.
fn stdio_caller(app: &App, key: Option<&str>) -> anyhow::Result<Arc<Authenticated>> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let bearer = HeaderValue::try_from(format!("Bearer {key}"));
        headers.insert(
            header::AUTHORIZATION,
            bearer.context(format!("{STDIO_KEY} is no API key"))?,
        );
    }
    let identities = app.gateway.identities.load();
    let caller = identities.authenticate(&headers);
    caller.with_context(|| match (key, identities.anonymous()) {
        (Some(_), Some(_)) => {
            format!(
                "unset {STDIO_KEY} to be the anonymous caller, or set it to a key of this gateway"
            )
        }
        _ => {
            format!("set {STDIO_KEY} to a key of the configuration, or allow `identity.anonymous`")
        }
    })
}
