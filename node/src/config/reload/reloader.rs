//! Watches the directory of the file, reads, and publishes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{info, warn};

use super::core::{Core, Outcome, Status, Versioned};
use super::handle::{ReloadHandle, Request};
use crate::config::checked::Tls;
use crate::config::load::{Loaded, Options, load};
use crate::config::problem::{Problem, Problems};

/// Editors write in several steps; the file is read when this long nothing happened to it.
const QUIET: Duration = Duration::from_millis(100);
/// A file that keeps changing is read all the same after this many quiet times.
const QUIET_ROUNDS_MAX: usize = 10;
/// Callers that wait for a reading at once.
const REQUESTS_MAX: usize = 16;

/// Why the start would refuse the certificate files of a listener.
pub type CertificateCheck = fn(&Tls) -> Option<Problem>;

/// Owner of the configuration in force. Its [`run`](Self::run) is a task that `app` starts and ends.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    options: Options,
    clock: fn() -> SystemTime,
    certificate: CertificateCheck,
    core: Core,
    versions: watch::Sender<Arc<Versioned>>,
    status: watch::Sender<Arc<Status>>,
    requests: mpsc::Receiver<Request>,
    hint: Arc<Notify>,
    /// Kept for its thread. `None` when the system offers no watch: SIGHUP and the API still work.
    _watcher: Option<RecommendedWatcher>,
}

impl Reloader {
    /// Starts from `first`, which was loaded from `path` with the same `options`, and watches from now on. `certificate`
    /// says why the start would refuse the files that `tls` names.
    pub fn new(
        path: &Path,
        options: Options,
        first: Loaded,
        clock: fn() -> SystemTime,
        certificate: CertificateCheck,
    ) -> (Self, ReloadHandle) {
        let hint = Arc::new(Notify::new());
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let watcher = watch_directory(&path, Arc::clone(&hint))
            .inspect_err(
                |error| warn!(%error, "the configuration file is not watched; SIGHUP reloads it"),
            )
            .ok();
        let core = Core::new(first, options.unsafe_no_auth, clock());
        let (versions, seen_versions) = watch::channel(Arc::clone(core.current()));
        let (status, seen_status) = watch::channel(Arc::clone(core.status()));
        let (ask, requests) = mpsc::channel(REQUESTS_MAX);
        let handle = ReloadHandle {
            versions: seen_versions,
            status: seen_status,
            requests: ask,
        };
        (
            Self {
                path,
                options,
                clock,
                certificate,
                core,
                versions,
                status,
                requests,
                hint,
                _watcher: watcher,
            },
            handle,
        )
    }

    /// Follows the file until every handle is gone or the future is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the configuration in force as it is.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    let outcome = self.read().await;
                    // Who asked may have gone; the reading counts all the same.
                    _ = request.send(outcome);
                }
                () = self.hint.notified() => {
                    self.settle().await;
                    // The outcome was logged and published.
                    _ = self.read().await;
                }
            }
        }
    }

    async fn settle(&self) {
        for _ in 0..QUIET_ROUNDS_MAX {
            if tokio::time::timeout(QUIET, self.hint.notified())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    async fn read(&mut self) -> Result<Arc<Versioned>, Problems> {
        let (path, options) = (self.path.clone(), self.options.clone());
        let (tls, check) = (
            self.core.current().config.node.tls.clone(),
            self.certificate,
        );
        let read = tokio::task::spawn_blocking(move || {
            with_certificate(load(&path, &options)?, &path, tls.as_ref(), check)
        })
        .await;
        let read = read.unwrap_or_else(|error| {
            Err(Problems::one(
                Some(&self.path),
                format!("reading was cut off: {error}"),
                "try again",
            ))
        });
        let outcome = self.core.on_read(read, (self.clock)());
        self.publish(outcome);
        match &self.core.status().last_error {
            Some(problems) => Err(problems.clone()),
            None => Ok(Arc::clone(self.core.current())),
        }
    }

    fn publish(&self, outcome: Outcome) {
        let (current, status) = (self.core.current(), self.core.status());
        match outcome {
            Outcome::Unchanged => return,
            Outcome::Recovered => info!(
                version = current.version,
                "configuration file is good again"
            ),
            Outcome::Replaced => info!(
                version = current.version,
                hash = current.hash,
                "configuration replaced"
            ),
            Outcome::Refused => {
                let problems = status
                    .last_error
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                warn!(
                    version = current.version,
                    problems, "configuration file refused; nothing changed"
                );
            }
        }
        if !status.needs_restart.is_empty() {
            warn!(
                keys = status.needs_restart.join(", "),
                "changed keys need a restart"
            );
        }
        // Whoever sees the new version also sees its status.
        self.status.send_replace(Arc::clone(status));
        if outcome == Outcome::Replaced {
            self.versions.send_replace(Arc::clone(current));
        }
    }
}

/// Refuses certificate files that the node would not start with again. Those that it runs with are looked at where they
/// are served: a fault of theirs must not keep a key from being revoked.
fn with_certificate(
    loaded: Loaded,
    path: &Path,
    running: Option<&Tls>,
    check: CertificateCheck,
) -> Result<Loaded, Problems> {
    let named = loaded.config.node.tls.as_ref();
    let refused = named.filter(|tls| running != Some(*tls)).and_then(check);
    match refused {
        None => Ok(loaded),
        Some(problem) => Err(Problems {
            file: Some(path.to_owned()),
            list: vec![problem],
        }),
    }
}

/// Editors and Kubernetes replace files instead of writing them, so the directory is watched, not the file.
fn watch_directory(path: &Path, hint: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let linked = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_symlink());
    let name = path.file_name().map(ToOwned::to_owned);
    let on_event = move |event: notify::Result<notify::Event>| {
        // An error means that events may have been lost, so the file is read again.
        let concerns = event.as_ref().map_or(true, |event| {
            // A link's target changes under another name.
            changes(event.kind)
                && (linked
                    || event
                        .paths
                        .iter()
                        .any(|path| path.file_name() == name.as_deref()))
        });
        if concerns {
            hint.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(on_event)?;
    watcher.watch(
        path.parent().unwrap_or_else(|| Path::new("/")),
        RecursiveMode::NonRecursive,
    )?;
    Ok(watcher)
}

/// Our own reading must not cause the next one.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reload::ReloadError;
    use crate::config::tests::options;
    use crate::task::spawn_named;

    const A: &str = "servers: { a: { command: a } }";
    const B: &str = "servers: { b: { command: b } }";

    #[expect(
        clippy::unnecessary_wraps,
        reason = "a check that refuses whatever it is asked about"
    )]
    fn unusable(tls: &Tls) -> Option<Problem> {
        Some(Problem {
            line: None,
            key: "tls".to_owned(),
            what: format!("{} is no certificate", tls.cert.display()),
            remedy: String::new(),
        })
    }

    #[test]
    fn a_certificate_is_looked_at_where_the_file_names_another_one_than_the_node_runs_with() {
        let read = |text| crate::config::parse(text, None, Path::new("/"), &options()).unwrap();
        let named = read("tls: { cert: a.pem, key: a.key }");
        let tls = named.config.node.tls.clone();
        let check =
            |loaded, running| with_certificate(loaded, Path::new("/x"), running, unusable).is_ok();
        assert!(!check(named.clone(), None));
        assert!(check(named, tls.as_ref()));
        assert!(check(read("{}"), tls.as_ref()));
    }

    struct Fixture {
        dir: tempfile::TempDir,
        handle: ReloadHandle,
        _task: tokio::task::JoinHandle<()>,
    }

    impl Fixture {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("lockgate.yaml");
            std::fs::write(&path, A).unwrap();
            let first = load(&path, &options()).unwrap();
            let (reloader, handle) =
                Reloader::new(&path, options(), first, || SystemTime::UNIX_EPOCH, unusable);
            Self {
                dir,
                handle,
                _task: spawn_named("config-reload", reloader.run()),
            }
        }

        fn write(&self, text: &str) {
            // As editors do it: a new file takes the old one's name.
            let new = self.dir.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, self.dir.path().join("lockgate.yaml")).unwrap();
        }

        fn first_server(&self) -> String {
            self.handle.current().config.registry.servers[0]
                .name
                .to_string()
        }
    }

    #[tokio::test]
    async fn a_replaced_file_is_followed() {
        let fixture = Fixture::start();
        let mut versions = fixture.handle.versions();
        versions.mark_unchanged();
        fixture.write(B);
        versions.changed().await.unwrap();
        assert_eq!(
            (versions.borrow().version, fixture.first_server().as_str()),
            (2, "b")
        );
    }

    #[tokio::test]
    async fn a_bad_file_changes_nothing_and_is_reported() {
        let fixture = Fixture::start();
        let (versions, mut statuses) = (fixture.handle.versions(), fixture.handle.statuses());
        statuses.mark_unchanged();
        fixture.write("servers: { a: { comand: a } }");
        statuses.changed().await.unwrap();
        let error = fixture.handle.status().last_error.clone().unwrap();
        assert!(
            error
                .to_string()
                .contains("lockgate.yaml:1: servers.a.comand: unknown key"),
            "{error}"
        );
        assert!(!versions.has_changed().unwrap());
        assert_eq!(fixture.first_server(), "a");
    }

    #[tokio::test]
    async fn a_reload_that_was_asked_for_is_answered() {
        let fixture = Fixture::start();
        assert_eq!(fixture.handle.reload().await.unwrap().version, 1);
        fixture.write("servers: [");
        assert!(matches!(
            fixture.handle.reload().await,
            Err(ReloadError::Refused(_))
        ));
        fixture.write(B);
        assert_eq!(
            fixture
                .handle
                .reload()
                .await
                .unwrap()
                .config
                .registry
                .servers[0]
                .name
                .as_str(),
            "b"
        );
    }
}
