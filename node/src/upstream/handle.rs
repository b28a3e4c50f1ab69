//! Typed handle: all that other modules see of a server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::Era;
use ractor::SpawnErr;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::config::{self, EraChoice};
use crate::error::UpstreamError;

use super::actor::UpstreamActor;
use super::bound::BoundSession;
use super::breaker::BreakerHandle;
use super::bridge::{OwnCatalog, WaitingRoom};
use super::catalog::Catalog;
use super::core::Phase;
use super::dispatch;
use super::endpoint::Endpoint;
use super::far::Far;
use super::link::{Outgoing, Reply, SessionInit};
use super::retry::CallClass;
use super::session_key::{Owner, SessionKey};
use super::shared::{LastError, Shared};
use super::status::{EndpointStatus, ErasStatus, Status};
use super::supervision::SupervisorHandle;

/// One configured server. Cheap to clone. Calls and reads never wait on its actor.
#[derive(Clone, Debug)]
pub struct UpstreamHandle {
    pub(super) shared: Arc<Shared>,
}

impl UpstreamHandle {
    /// Starts the server's actor, and a breaker for each endpoint, under `supervisor`. Returns before the server has
    /// answered anything: see [`Self::settled`].
    ///
    /// # Errors
    ///
    /// Fails when an actor cannot be started, or when the settings cannot work at all (a header value that is none).
    pub async fn spawn(
        server: Arc<config::Server>,
        answer_bytes_max: usize,
        room: Option<Arc<WaitingRoom>>,
        supervisor: &SupervisorHandle,
    ) -> Result<Self, SpawnErr> {
        let news = watch::Sender::new(0);
        let fars = Far::of(&server, answer_bytes_max)
            .map_err(|error| SpawnErr::StartupFailed(Box::new(error)))?;
        let mut endpoints = Vec::with_capacity(fars.len());
        for (index, far) in fars.into_iter().enumerate() {
            let (label, weight) = label_and_weight(&server, index);
            let name = supervisor.name_for(&format!("{}/breaker", server.name));
            let news = news.clone();
            let breaker =
                BreakerHandle::spawn(server.breaker, name, &label, news, supervisor).await?;
            endpoints.push(Endpoint::new(index, label.into(), weight, far, breaker));
        }
        let name = supervisor.name_for(server.name.as_str());
        let shared = Arc::new(Shared::new(server, endpoints, news, room));
        shared.down.begin_for(&shared);
        let actor = || UpstreamActor;
        supervisor.adopt(name, actor, Arc::clone(&shared)).await?;
        Ok(Self { shared })
    }

    /// What the configuration says about it.
    pub fn settings(&self) -> &Arc<config::Server> {
        &self.shared.settings
    }

    /// Whether `other` is a handle of the very same actor.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How it is doing.
    pub fn status(&self) -> Arc<Status> {
        let shared = &self.shared;
        let published = shared.published.load();
        let up = published.phase == Phase::Up;
        let endpoints = shared.endpoints.iter().map(|endpoint| {
            let (breaker, retry_after_secs) = EndpointStatus::gate(endpoint.breaker.gate());
            EndpointStatus {
                address: endpoint.label.to_string(),
                transport: endpoint.far.transport(),
                // Taken for healthy before anybody was there, which is no sign.
                healthy: up && endpoint.is_healthy(),
                breaker,
                retry_after_secs,
                in_flight: endpoint.in_flight(),
            }
        });
        let last_error = published.last_error.as_ref();
        let last_call_error = shared.failed_calls.last();
        let catalog = |era| published.catalog(era).map(|catalog| (&**catalog).into());
        let native = published.session.iter().chain(&published.stateless);
        let flaws = native
            .flat_map(|catalog| catalog.flaws())
            .map(str::to_owned);
        // A server of both eras lists the same in both.
        let flaws: BTreeSet<String> = flaws.collect();
        Arc::new(Status {
            name: shared.settings.name.clone(),
            up,
            settled: published.settled,
            eras: ErasStatus {
                session: published.eras.session,
                stateless: published.eras.stateless,
                origin: match (shared.settings.era, published.eras_at) {
                    (EraChoice::Session | EraChoice::Stateless, _) => Some("decreed"),
                    (EraChoice::Auto, Some(_)) => Some("found"),
                    (EraChoice::Auto, None) => None,
                },
                found_secs_ago: published.eras_at.map(|at| at.elapsed().as_secs()),
            },
            endpoints: endpoints.collect(),
            in_flight: shared.calls.in_flight(),
            children: shared.children(),
            last_error: last_error.map(|error| error.text.to_string()),
            last_error_secs_ago: last_error.map(LastError::secs_ago),
            last_call_error: last_call_error.as_ref().map(|error| error.text.to_string()),
            last_call_error_secs_ago: last_call_error.as_ref().map(LastError::secs_ago),
            session_catalog: catalog(Era::Session),
            stateless_catalog: catalog(Era::Stateless),
            flaws: flaws.into_iter().collect(),
        })
    }

    /// Notes that a client's call ended with this, as far as that says something about the server.
    pub fn call_failed(&self, error: &UpstreamError) {
        let is_about_it =
            error.is_of_server() || matches!(error, UpstreamError::Unreachable { .. });
        if !is_about_it {
            return;
        }
        let failure = LastError::now(error);
        let text = Arc::clone(&failure.text);
        if let Some(unlogged) = self.shared.failed_calls.note(failure) {
            let server = &self.shared.settings.name;
            warn!(%server, error = &*text, unlogged, "call failed at its server");
        }
    }

    /// Whether it answered when last asked.
    pub fn is_up(&self) -> bool {
        self.shared.published.load().phase == Phase::Up
    }

    /// Whether it did not answer when last asked. Of a server that was never asked nothing is known.
    pub fn is_down(&self) -> bool {
        self.shared.published.load().phase == Phase::Down
    }

    /// What it offers to clients of `era`, translated if it does not speak that era; `None` until known. Outlives an
    /// outage of the server.
    pub fn catalog(&self, era: Era) -> Option<Arc<Catalog>> {
        self.shared.published.load().shown(era).cloned()
    }

    /// The same catalog, over lists that are shared with every other holder of equal ones.
    pub fn intern(&self, catalog: Catalog) -> Arc<Catalog> {
        self.shared.interner.intern(catalog)
    }

    /// Whether it speaks `era`; `None` while not known.
    pub fn speaks(&self, era: Era) -> Option<bool> {
        self.shared.published.load().eras.speaks(era)
    }

    /// Counts changes of status and catalogs. Counters that calls move (in flight, breaker) are none.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Waits until the first attempt to reach the server and to fetch its catalogs has ended, either way, but not
    /// longer than `limit`.
    pub async fn settled(&self, limit: Duration) {
        let mut changes = self.changes();
        let settled = async {
            // An error means that the server is being removed: settled enough.
            while !self.shared.published.load().settled && changes.changed().await.is_ok() {}
        };
        // A server that takes longer is shown as not settled.
        let _in_time = timeout(limit, settled).await;
    }

    /// Sends a request of the stateless era by `owner`, who decides which child it reaches.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the stream of the reply, cancels the request at the server.
    pub async fn call(
        &self,
        out: &Outgoing,
        class: CallClass,
        owner: &Owner<'_>,
    ) -> Result<Reply, UpstreamError> {
        dispatch::call(&self.shared, out, class, owner).await
    }

    /// What `owner` is offered by a server that does not speak the stateless era, where the capabilities that `request`
    /// declares change that. `None` where they do not: see [`Self::catalog`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn own_catalog(
        &self,
        owner: &Owner<'_>,
        request: &Frame,
    ) -> Result<Option<OwnCatalog>, UpstreamError> {
        let shared = &self.shared;
        if !shared.is_bridged(Era::Stateless) {
            return Ok(None);
        }
        shared.down.own_catalog(shared, owner, request).await
    }

    /// Opens a session of the session era, at an endpoint or child that suits `key`.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn open(
        &self,
        init: SessionInit,
        key: &SessionKey,
    ) -> Result<BoundSession, UpstreamError> {
        // A type of its own, so that the futures of callers do not grow with what opening takes.
        let opening: BoxFuture<'_, _> = Box::pin(BoundSession::open(
            Arc::clone(&self.shared),
            init,
            key.clone(),
        ));
        opening.await
    }

    /// Takes no new calls, lets those in flight end for at most `limit`, then ends everything: actors, children,
    /// connections.
    pub async fn drain(&self, limit: Duration) {
        self.shared.drain();
        if timeout(limit, self.shared.until_idle()).await.is_err() {
            let n_calls = self.shared.calls.in_flight();
            tracing::warn!(server = %self.shared.settings.name, n_calls, "calls of a removed server are cut off");
        }
        self.shared.end().await;
    }
}

/// Address of an endpoint as people see it, and its share.
fn label_and_weight(server: &config::Server, index: usize) -> (String, u32) {
    match &server.transport {
        config::Transport::Http { endpoints, .. } => {
            let endpoint = &endpoints[index];
            (endpoint.address.to_string(), endpoint.weight)
        }
        config::Transport::Stdio { command, .. } => (command.clone(), 1),
    }
}
