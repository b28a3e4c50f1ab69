//! A session's far ends: opened on first use, once, and its own view of what they offer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, encode_str};
use lockgate_proto::mcp::{Era, method};
use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::route::{Entry, ListKind, Table};
use crate::task::spawn_named;
use crate::upstream::catalog::{self, Catalog};
use crate::upstream::link::{Outgoing, Reply, SessionInit};
use crate::upstream::{BoundSession, CallClass, DRAIN_LIMIT, SessionKey};

use super::cell::Cell;
use super::directory::InUse;
use super::door::Inner;
use super::lists::tell_changed;
use super::own::{Approach, OwnTable};

/// Longest wait for one server when lists are collected. A session waits so long for it once, and not at all while the
/// server is known to be down; it hears of what is offered later.
const LIST_WAIT: Duration = Duration::from_secs(5);

/// What a session's own table is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// To show it: servers that did not answer before are asked again.
    List,
    /// To resolve a name: the servers that answered last will do.
    Names,
}

/// A server is being asked what it offers to a session.
type Fetch = JoinHandle<Result<Arc<Catalog>, CallError>>;

/// A server that did not say what it offers.
#[derive(Clone, Copy, Debug)]
struct Missing;

impl Inner {
    /// The session's connection to a server, opened by whoever needs it first.
    pub(super) async fn bound(
        self: &Arc<Self>,
        cell: &InUse,
        entry: &Entry,
    ) -> Result<BoundSession, CallError> {
        if let Some(session) = cell.open_at(&entry.handle) {
            return Ok(session);
        }
        loop {
            let (slot, outlived) = cell.slot(&entry.handle)?;
            if let Some(outlived) = outlived {
                self.retire_later(Arc::clone(cell), outlived);
            }
            if let Some(session) = slot.get() {
                return Ok(session.clone());
            }
            let session = slot
                .get_or_try_init(|| Box::pin(self.open(cell, entry)))
                .await?
                .clone();
            if cell.ended.is_cancelled() {
                // The end of the session may have found the slot still empty.
                Box::pin(session.close()).await;
                return Err(CallError::SessionEnded);
            }
            // Another request opened it, through a handle that was replaced meanwhile.
            if !session.is_outlived_by(&entry.handle) {
                cell.actor.bound(entry.settings.name.clone());
                return Ok(session);
            }
        }
    }

    /// Closes a session of a server that was replaced, when its calls have ended.
    fn retire_later(self: &Arc<Self>, cell: Arc<Cell>, session: BoundSession) {
        let inner = Arc::clone(self);
        // Ends after the limit at the latest.
        drop(spawn_named("end of a replaced session", async move {
            session.until_retired(DRAIN_LIMIT).await;
            cell.retired(&session);
            drop(cell);
            // Never closed: the turn always comes.
            let _turn = inner.farewells.acquire().await;
            session.close().await;
        }));
    }

    async fn open(&self, cell: &InUse, entry: &Entry) -> Result<BoundSession, CallError> {
        let server = &entry.settings.name;
        let (init, level, subscriptions) = {
            let state = cell.state.lock();
            let init = SessionInit {
                revision: state.hard.revision,
                capabilities: Arc::clone(&state.hard.capabilities),
                client_info: Arc::clone(&state.hard.client_info),
                now_ms: (self.clock)(),
            };
            let subscriptions: Vec<_> = state.subscriptions(server).map(encode_str).collect();
            (init, state.log_level.clone(), subscriptions)
        };
        let owner = SessionKey {
            session: Arc::clone(&cell.name),
            principal: cell.caller.principal.clone(),
            tenant: cell.caller.tenant.clone(),
        };
        let session = entry.handle.open(init, &owner).await?;
        if let Some(level) = level {
            // A server without logging refuses; the client's level still holds for the others.
            let _refused = set_level(&session, &level, entry.settings.timeout).await;
        }
        // There are some only when the session knew a predecessor of this server.
        for uri in subscriptions {
            let params = format!(r#"{{"uri":{uri}}}"#);
            let told = tell(&session, method::SUBSCRIBE, &params, entry.settings.timeout);
            if let Err(error) = told.await {
                tracing::warn!(%server, %error, "a subscription is lost with the server's restart");
            }
        }
        Ok(session)
    }

    /// The table that this session's names resolve by.
    pub(super) async fn table_for(
        self: &Arc<Self>,
        cell: &InUse,
        who: &Arc<Authenticated>,
        need: Need,
    ) -> Arc<Table> {
        let shared = self.pipeline.router.table(Era::Session);
        if !cell.sees_own {
            return shared;
        }
        let seen = {
            let own = cell.own.lock();
            if let Some(table) = own.table(shared.id, need == Need::Names) {
                return table;
            }
            own.generation()
        };
        let catalogs = join_all(
            shared
                .servers
                .iter()
                .map(|entry| self.own_catalog(cell, who, entry, seen)),
        )
        .await;
        let is_whole = catalogs.iter().all(Result::is_ok);
        let entries = shared.servers.iter().zip(catalogs);
        let entries = entries
            .map(|(entry, catalog)| Entry {
                // What it offers to everybody, as far as that is known, is better than nothing.
                catalog: catalog.unwrap_or_else(|_missing| entry.catalog.clone()),
                ..entry.clone()
            })
            .collect();
        let table = Arc::new(Table::new(Era::Session, entries));
        let own = OwnTable {
            shared_id: shared.id,
            table: Arc::clone(&table),
            is_whole,
        };
        cell.own.lock().keep_table(seen, own);
        table
    }

    /// What one server offers to this session: nothing when it is out of reach for good, [`Missing`] when it did not
    /// answer, which the log names.
    async fn own_catalog(
        self: &Arc<Self>,
        cell: &InUse,
        who: &Arc<Authenticated>,
        entry: &Entry,
        seen: u64,
    ) -> Result<Option<Arc<Catalog>>, Missing> {
        let name = &entry.settings.name;
        if !who.access.allows_server(name) {
            return Ok(None);
        }
        // A server of the other era offers the same to every session.
        if entry.handle.speaks(Era::Session) == Some(false) {
            return Ok(entry.catalog.clone());
        }
        let known = cell.own.lock().catalog(&entry.handle);
        if known.is_some() {
            return Ok(known);
        }
        let is_down = entry.handle.is_down();
        let approach = cell.own.lock().approach(&entry.handle, is_down);
        if approach == Approach::Leave {
            return Err(Missing);
        }
        let fetch = Arc::clone(self).fetch_own(cell.clone(), entry.clone(), seen);
        // Goes on when nobody waits any more: a server that takes long to start would never have started otherwise.
        let mut fetch = spawn_named("what a server offers to a session", fetch);
        if approach == Approach::Ask {
            self.follow_late(cell, entry, fetch);
            return Err(Missing);
        }
        match tokio::time::timeout(LIST_WAIT, &mut fetch).await {
            Ok(Ok(Ok(found))) => Ok(Some(found)),
            Ok(Ok(Err(error))) => {
                tracing::warn!(server = %name, %error, "list lacks what a server offers to this session");
                Err(Missing)
            }
            Ok(Err(_aborted)) => Err(Missing),
            Err(_elapsed) => {
                tracing::warn!(server = %name, waited = ?LIST_WAIT, "list lacks what a slow server offers to this session");
                cell.own.lock().waited(&entry.handle);
                self.follow_late(cell, entry, fetch);
                Err(Missing)
            }
        }
    }

    /// Waits for a server in the place of a list that did not, and tells the session what it says.
    fn follow_late(self: &Arc<Self>, cell: &InUse, entry: &Entry, fetch: Fetch) {
        let inner = Arc::clone(self);
        let (cell, entry) = (cell.clone(), entry.clone());
        // Ends with the opening and the questions after it, which have limits of their own.
        drop(spawn_named("list of a slow server", async move {
            let found = fetch.await.ok().and_then(Result::ok);
            cell.own.lock().answered(&entry.handle, found.is_some());
            if let Some(found) = found {
                inner.tell_late(&cell, entry.catalog.as_deref(), &found);
            }
        }));
    }

    /// Asks one server what it offers to this session, and keeps it.
    async fn fetch_own(
        self: Arc<Self>,
        cell: InUse,
        entry: Entry,
        seen: u64,
    ) -> Result<Arc<Catalog>, CallError> {
        let session = self.bound(&cell, &entry).await?;
        let ask = Asking {
            session: &session,
            server: &entry.settings.name,
        };
        let found = catalog::fetch(&ask, &session.initialize_result(), Era::Session).await?;
        let found = entry.handle.intern(found);
        let mut own = cell.own.lock();
        own.keep_catalog(seen, &entry.handle, &found);
        Ok(found)
    }

    /// Tells a session that a server, of which it has seen `shown` so far, has said at last what it offers.
    fn tell_late(&self, cell: &InUse, shown: Option<&Catalog>, found: &Catalog) {
        cell.own.lock().forget_part();
        if !cell.is_listening() {
            return;
        }
        let mut told: Vec<&str> = Vec::new();
        for kind in ListKind::ALL {
            let list = found.list(kind);
            let is_same = match shown {
                Some(shown) => shown.list(kind) == list,
                None => list.is_empty(),
            };
            if !is_same && !told.contains(&kind.capability()) {
                told.push(kind.capability());
                tell_changed(cell, kind.capability());
            }
        }
    }
}

impl Inner {
    /// `logging/setLevel` of an aggregated endpoint: every server that is connected, and those that will be.
    pub(super) async fn set_level(&self, cell: &InUse, frame: &Frame) -> Result<Answer, CallError> {
        let level = frame.param_str(&["level"]);
        let known = [
            "debug",
            "info",
            "notice",
            "warning",
            "error",
            "critical",
            "alert",
            "emergency",
        ];
        let Some(level) = level.filter(|level| known.contains(&&**level)) else {
            return Err(CallError::InvalidParams {
                what: "`params.level` must be a syslog severity".into(),
            });
        };
        let raw = format!("\"{level}\"");
        cell.state.lock().log_level = Some(raw.clone());
        let timeout = Duration::from_secs(5);
        let bound = cell.bound();
        let told = bound
            .iter()
            .map(|(_, session)| set_level(session, &raw, timeout));
        for (result, (server, _)) in join_all(told).await.into_iter().zip(&bound) {
            if let Err(error) = result {
                tracing::debug!(%server, %error, "log level was not taken");
            }
        }
        Ok(Answer::result(
            frame.id().unwrap_or("null"),
            Bytes::from_static(b"{}"),
        ))
    }
}

/// `logging/setLevel` to one server.
pub(super) async fn set_level(
    session: &BoundSession,
    level: &str,
    timeout: Duration,
) -> Result<(), CallError> {
    let params = format!(r#"{{"level":{level}}}"#);
    tell(session, method::SET_LEVEL, &params, timeout).await
}

/// A request of our own, with raw params, whose answer says nothing but that it was taken.
async fn tell(
    session: &BoundSession,
    method: &str,
    params: &str,
    timeout: Duration,
) -> Result<(), CallError> {
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":"lockgate","method":"{method}","params":{params}}}"#);
    let frame = Frame::parse(text.into(), &lockgate_proto::jsonrpc::Limits::default())?;
    let out = Outgoing::plain(frame, timeout);
    let reply = session.call(&out, CallClass::of(method, true)).await?;
    if let Reply::Stream(mut stream) = reply {
        stream.answer(&session.settings().name).await?;
    }
    Ok(())
}

/// Asks a server through a session's own connection, for [`catalog::fetch`].
struct Asking<'a> {
    session: &'a BoundSession,
    server: &'a ServerName,
}

impl catalog::Ask for Asking<'_> {
    async fn ask(&self, frame: Frame) -> Result<Frame, crate::error::UpstreamError> {
        let class = CallClass::of(&frame.method(), true);
        // Whoever waits for a list waits shorter, and hears of what comes later.
        let out = Outgoing::plain(frame, self.session.settings().timeout);
        let reply = self.session.call(&out, class).await?;
        match reply {
            Reply::Single { frame, .. } => Ok(frame),
            Reply::Stream(mut stream) => stream.answer(self.server).await,
        }
    }
}
