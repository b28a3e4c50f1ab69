//! Keeps what was derived from configuration, registry and catalogs current.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::select_all;
use lockgate_cluster::View;
use lockgate_proto::mcp::Era;
use tokio::task::JoinHandle;

use crate::admin::ApplyFuture;
use crate::audit;
use crate::config::{self, Problem, Registry, ReloadHandle};
use crate::identity::Identity;
use crate::task::spawn_named;
use crate::upstream::UpstreamHandle;

use super::App;

/// Catalogs that change within this time make one new table.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often sessions are looked at.
const SWEEP: Duration = Duration::from_secs(1);

impl App {
    /// Starts the tasks that keep things current. They end when they are aborted.
    pub(super) fn keep_current(&self) -> Vec<JoinHandle<()>> {
        let sessions = self.gateway.sessions.clone();
        let sweep = async move {
            let mut every = tokio::time::interval(SWEEP);
            loop {
                every.tick().await;
                sessions.sweep();
            }
        };
        let mut recording = Vec::new();
        if let Some(ledger) = self.audit.ledger() {
            let (shipped, cluster) = (Arc::clone(ledger), self.cluster.clone());
            recording.push(spawn_named("audit shipping", async move {
                // What earlier lives have left comes first; calls need not wait for it.
                audit::recover(&shipped, &cluster).await;
                audit::ship(shipped, cluster).await;
            }));
            let syncing = audit::keep_synced(Arc::clone(ledger));
            recording.push(spawn_named("audit spool", syncing));
            let notary = Arc::clone(&self.notary);
            recording.push(spawn_named("audit checkpoints", async move {
                notary.run().await;
            }));
        }
        let (stop, upstreams) = (self.stop.clone(), self.upstreams.clone());
        let rest = async move {
            stop.cancelled().await;
            upstreams.rest();
        };
        let mut tasks = vec![
            spawn_named("rest of servers", rest),
            spawn_named("routes", self.clone().keep_routes()),
            spawn_named("session sweep", sweep),
            spawn_named("keyring", self.clone().keep_keyring()),
        ];
        tasks.append(&mut recording);
        tasks
    }

    /// Seals with the keys of every new keyring, in the form that all nodes open. All nodes know a key before any of
    /// them seals with it.
    async fn keep_keyring(self) {
        let mut views = self.cluster.watch();
        let mut current = Arc::clone(self.cluster.view().keyring());
        while views.changed().await.is_ok() {
            let view = Arc::clone(&views.borrow_and_update());
            self.sealer.speak(view.formats());
            let keyring = Arc::clone(view.keyring());
            if Arc::ptr_eq(&keyring, &current) {
                continue;
            }
            match self.sealer.replace(&keyring) {
                true => tracing::info!("keyring changed"),
                false => tracing::error!("the new keyring cannot be used, the old one stays"),
            }
            current = keyring;
        }
    }

    /// Makes `registry` effective, with what was added to it at run time: who may come in, and which servers there are.
    pub(super) async fn apply(&self, registry: &Registry) -> anyhow::Result<()> {
        // One at a time: an older state must not replace a newer one.
        let _one_at_a_time = self.applying.lock().await;
        let view = self.cluster.view();
        let registry = match &self.replicated {
            Some(replicated) => with_added(&*replicated.registry(&view)?, &view),
            None => with_added(registry, &view),
        };
        // Rights first: what is taken away bites before anything new is offered.
        let identity = Identity::new(&registry, &view)?;
        let before = self.gateway.identities.swap(identity.into());
        self.gateway.sessions.review();
        let applied = match self.quotas.apply(&registry, &view).await {
            Ok(()) => self
                .upstreams
                .apply(&registry.servers)
                .await
                .map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = applied {
            // All of it or nothing.
            drop(self.gateway.identities.swap(before));
            return Err(error);
        }
        self.registry.store(Arc::new(registry));
        Ok(())
    }

    /// [`Self::apply`] of the file as it is in force, or of `fixed`, for the admin plane.
    pub(super) fn applier(
        self,
        file: Option<ReloadHandle>,
        fixed: Registry,
    ) -> Arc<dyn Fn() -> ApplyFuture + Send + Sync> {
        let fixed = Arc::new(fixed);
        Arc::new(move || {
            let (app, file, fixed) = (self.clone(), file.clone(), Arc::clone(&fixed));
            Box::pin(async move {
                let applied = match file.map(|file| file.current()) {
                    Some(version) => app.apply(&version.config.registry).await,
                    None => app.apply(&fixed).await,
                };
                applied.map_err(|error| format!("{error:#}"))
            })
        })
    }

    /// Applies every new version of the file and every change of the registry.
    pub(super) async fn keep_registry(self, reload: ReloadHandle) {
        let (mut versions, mut views) = (reload.versions(), self.cluster.watch());
        let mut last: Option<Arc<View>> = None;
        self.note_difference(&versions.borrow_and_update(), &self.cluster.view());
        loop {
            let is_new_file = tokio::select! {
                changed = versions.changed() => changed.map(|()| true),
                changed = views.changed() => changed.and_then(|()| versions.has_changed()),
            };
            // Whoever published either is gone: the node ends.
            let Ok(is_new_file) = is_new_file else {
                return;
            };
            let view = Arc::clone(&views.borrow_and_update());
            let version = Arc::clone(&versions.borrow_and_update());
            // Most entries of the log are about other things.
            let is_same = last
                .as_ref()
                .is_some_and(|last| view.has_same_registry(last));
            if is_same && !is_new_file {
                last = Some(view);
                continue;
            }
            self.note_difference(&version, &view);
            // Among several nodes the version that `config history` has, alone that of the file.
            let number = match (&self.replicated, view.config()) {
                (Some(_), applied) => applied.map_or(0, |(applied, _)| applied.version),
                (None, _) => version.version,
            };
            last = Some(view);
            match self.apply(&version.config.registry).await {
                Ok(()) => tracing::info!(version = number, "registry applied"),
                Err(error) => tracing::error!(%error, "registry could not be applied"),
            }
        }
    }

    /// Among several nodes the file only seeds the registry; that it says something else is to be known.
    fn note_difference(&self, file: &config::Versioned, view: &View) {
        let Some(replicated) = &self.replicated else {
            return;
        };
        let differs = replicated.differs(&file.document(), view);
        if differs && !self.file_differs.swap(differs, Ordering::Relaxed) {
            tracing::warn!(
                "the registry of the file is another one than the cluster's, which is in force; `lockgate config diff` shows where, `lockgate config apply` changes the cluster's"
            );
        }
        self.file_differs.store(differs, Ordering::Relaxed);
    }

    /// Builds the routing tables from what the servers publish now.
    pub(super) fn rebuild_routes(&self) {
        let old = self.pipeline.router.table(Era::Session);
        let separator = &self.registry.load().separator;
        self.pipeline
            .router
            .rebuild(&self.upstreams.serving(), separator);
        let (sessions, new) = (
            &self.gateway.sessions,
            self.pipeline.router.table(Era::Session),
        );
        sessions.announce(&old, &new);
        sessions.follow(&new);
    }

    async fn keep_routes(self) {
        let mut set = self.upstreams.changes();
        loop {
            // Subscribed before the tables are built: no change between the two is missed.
            set.mark_unchanged();
            let serving = self.upstreams.serving();
            let mut changes: Vec<_> = serving.iter().map(UpstreamHandle::changes).collect();
            self.rebuild_routes();
            let any = async {
                if changes.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _changed =
                    select_all(changes.iter_mut().map(|change| Box::pin(change.changed()))).await;
            };
            tokio::select! {
                () = any => {}
                _changed = set.changed() => {}
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }
}

/// The file's registry and the servers that were added at run time. One whose settings cannot be used here (a
/// missing variable) is left out and named.
fn with_added(registry: &Registry, view: &View) -> Registry {
    let mut registry = registry.clone();
    let options = config::Options::from_process(false);
    for added in view.servers() {
        if registry
            .servers
            .iter()
            .any(|server| server.name == added.name)
        {
            tracing::warn!(server = %added.name, "the file has a server of that name; the added one rests");
            continue;
        }
        let parsed = serde_json::from_str(&added.settings)
            .map_err(|error| error.to_string())
            .and_then(|json| {
                let (name, dir) = (added.name.as_str(), Path::new("."));
                let parsed = config::parse_server_in_force(name, &json, dir, &options);
                parsed.map_err(|problems| problems.to_string())
            });
        match parsed {
            Ok((server, tolerated)) => {
                let name = &server.name;
                for Problem {
                    key, what, remedy, ..
                } in tolerated
                {
                    tracing::warn!(server = %name, key, what, remedy, "an added server has what is not taken any more");
                }
                registry.servers.push(Arc::new(server));
            }
            Err(error) => {
                tracing::error!(server = %added.name, %error, "added server cannot be used")
            }
        }
    }
    registry
}
