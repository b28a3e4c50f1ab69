//! The only place where the parts are put together, and the only one that reads the clock.

mod demo_fleet;
mod keep;
mod membership;
mod occupied;
mod quota;
mod replicated;
mod run;
mod signals;
mod starts;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use lockgate_cluster::{Cluster, Notary, View};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Audit, Ledger};
use crate::config::{self, Config, Loaded, Registry};
use crate::identity::{Identities, Identity};
use crate::ingress::Gateway;
use crate::pipeline::Pipeline;
use crate::seal::Sealer;
use crate::session;
use crate::stateless;
use crate::telemetry::{Metrics, Telemetry};
use crate::upstream::{Upstreams, WaitingRoom};

use self::quota::QuotaKeeper;
use self::replicated::Replicated;
pub use self::starts::Node;

/// The first answers to `tools/list` should be complete: the listener opens when every server was tried once, or
/// after this.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Calls in flight at SIGTERM have this long.
const GRACE: Duration = Duration::from_secs(60);
/// Lines of the audit log that wait at the end have this long.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// The last checkpoint has this long.
const SIGN_MAX: Duration = Duration::from_secs(1);
/// Calls that still run when the servers end have this long.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A node that is put together and not yet reachable. Cheap to clone.
#[derive(Clone)]
struct App {
    cluster: Cluster,
    /// Signs checkpoints of the audit log.
    notary: Arc<Notary>,
    audit: Arc<Audit>,
    telemetry: Arc<Telemetry>,
    upstreams: Upstreams,
    pipeline: Arc<Pipeline>,
    gateway: Arc<Gateway>,
    quotas: QuotaKeeper,
    /// Seals what clients carry, with the keys of the keyring.
    sealer: Arc<Sealer>,
    /// Registry in force: the file's, and what was added at run time.
    registry: Arc<ArcSwap<Registry>>,
    /// Where the registry comes from among several nodes; `None`: from the file.
    replicated: Option<Replicated>,
    /// Whether the file says something else than that.
    file_differs: Arc<AtomicBool>,
    /// One change of the registry at a time.
    applying: Arc<Mutex<()>>,
    /// Fires at the beginning of the end: no new connections, no listening streams.
    stop: CancellationToken,
}

/// Milliseconds since 1970.
fn clock_ms() -> u64 {
    let since = clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the app is the one that reads the clock"
)]
fn clock() -> SystemTime {
    SystemTime::now()
}

impl App {
    /// Starts the servers' actors over the state. Nothing is waited for: see [`Self::settled`].
    async fn start(
        loaded: &Loaded,
        cluster: Cluster,
        telemetry: Telemetry,
        options: &config::Options,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let config = &loaded.config;
        let view = cluster.view();
        let is_shared = config.node.cluster.is_some();
        let replicated = is_shared.then(|| Replicated::new(dir, options.clone()));
        let base = match &replicated {
            Some(replicated) => replicated.registry(&view)?,
            None => Arc::new(config.registry.clone()),
        };
        let sealer = Self::sealer(&view)?;
        let telemetry = Arc::new(telemetry);
        let audit = Self::open_audit(config, &view)?;
        let metrics = Arc::new(Metrics::default());
        let limits = config.node.limits;
        let identities = Arc::new(Identities::new(Identity::new(&base, &view)?));
        let quotas = QuotaKeeper::start(&cluster)?;
        let pipeline = Pipeline::new(
            Arc::clone(&identities),
            Arc::clone(quotas.quotas()),
            Arc::clone(&audit),
            Arc::clone(&metrics),
            telemetry.tracer(),
            limits.calls_max,
        );
        let pipeline = Arc::new(pipeline.while_serving(cluster.serving().clone()));
        pipeline.report_unfinished();
        let room = WaitingRoom::new(Arc::clone(&sealer), config.node.bridge, clock_ms());
        let room = Some(Arc::new(room));
        let upstreams = Upstreams::new(view.node(), limits.answer_bytes_max, room)
            .await
            .context("actors do not start")?;
        let stop = CancellationToken::new();
        let (lives, own_sealer) = (config.node.session, Arc::clone(&sealer));
        let sessions =
            session::Door::new(Arc::clone(&pipeline), own_sealer, limits, lives, clock_ms);
        let gateway = Arc::new(Gateway {
            identities,
            sessions,
            stateless: stateless::Door::new(Arc::clone(&pipeline), sealer.clone(), stop.clone()),
            audit: Arc::clone(&audit),
            metrics,
            limits,
            serving: cluster.serving().clone(),
            closing: stop.clone(),
            grace: GRACE,
        });
        let registry = Arc::new(ArcSwap::new(base));
        let notary = Notary::open(cluster.clone(), &config.node.data_dir, clock)
            .context("the data directory cannot be used")?;
        let app = Self {
            cluster,
            notary: Arc::new(notary),
            audit,
            telemetry,
            upstreams,
            pipeline,
            gateway,
            quotas,
            sealer,
            registry,
            replicated,
            file_differs: Arc::default(),
            applying: Arc::default(),
            stop,
        };
        app.apply(&config.registry).await?;
        Ok(app)
    }

    /// Seals with the keys of the cluster, in the form that all of its nodes open.
    fn sealer(view: &View) -> anyhow::Result<Arc<Sealer>> {
        let sealer = Sealer::new(view.keyring()).context("the keyring cannot be used")?;
        sealer.speak(view.formats());
        Ok(Arc::new(sealer))
    }

    /// Begins the records of this life of the node.
    fn open_audit(config: &Config, view: &View) -> anyhow::Result<Arc<Audit>> {
        let node = &config.node;
        let audit = Audit::open(&node.audit, view.node(), view.boot(), clock);
        let audit = audit.with_context(|| unopened(&node.audit))?;
        let dir = node.data_dir.join("audit-spool");
        let ledger = Ledger::open(node.ledger, &dir, (view.node(), view.boot()), clock);
        let ledger = Arc::new(ledger.context("audit spool")?);
        Ok(Arc::new(audit.with_ledger(ledger, node.redact.clone())))
    }

    /// Brings the last records into the log, for so long as that may take.
    async fn ship_the_rest(&self) {
        let Some(ledger) = self.audit.ledger() else {
            return;
        };
        let shipping = audit::ship(Arc::clone(ledger), self.cluster.clone());
        let drained = tokio::select! {
            () = shipping => false,
            drained = timeout(FLUSH_MAX, self.audit.drained()) => drained.is_ok(),
        };
        if !drained {
            tracing::warn!("the last audit records are not in the log; the next start brings them");
        }
        if timeout(SIGN_MAX, self.notary.settle()).await.is_err() {
            tracing::warn!("the last audit records are in no checkpoint yet");
        }
    }

    /// Waits until each server was tried once, or for so long, and routes to what they offer.
    async fn settled(&self) {
        self.upstreams.settled(SETTLE_MAX).await;
        // Without its first lease a node among others refuses everything; cut off, it says so in `/readyz`.
        let _cut_off = timeout(SETTLE_MAX, self.cluster.serving().begun()).await;
        self.rebuild_routes();
    }

    /// Ends what is behind the listener: sessions with their far ends, servers, the audit log, the store.
    async fn end(self) {
        self.gateway.sessions.end_all().await;
        self.upstreams.drain(DRAIN_MAX).await;
        self.quotas.end().await;
        self.ship_the_rest().await;
        self.cluster.close().await;
        let telemetry = self.telemetry;
        let _sent = tokio::task::spawn_blocking(move || telemetry.shut_down(FLUSH_MAX)).await;
        if let Err(error) = self.audit.close(FLUSH_MAX) {
            tracing::error!(%error, "the last audit lines were not written");
        }
    }
}

/// What is said of an audit file, or another sink of its lines, that does not open.
fn unopened(audit: &config::Audit) -> String {
    match audit {
        config::Audit::File(file) => format!(
            "`audit.file` {} cannot be opened, name a file in a directory that is there",
            file.display()
        ),
        _ => "the audit log cannot be opened".to_owned(),
    }
}
