//! The session for a request, and the request's turn there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockgate_proto::mcp::Revision;
use tokio::time::timeout;

use crate::config::{Scope, Transport};
use crate::error::UpstreamError;
use crate::upstream::link::SessionInit;
use crate::upstream::shared::Shared;
use crate::upstream::{BoundSession, Owner, SessionKey};
use crate::upstream::{dispatch, own_request};

use super::abilities::Abilities;
use super::bridge::Bridge;
use super::hold::Hold;
use super::key::Key;
use super::owned::{Manner, Owned, Turned};
use super::registry::NoSlot;
use super::sweep::{close_all, give_up};
use super::turn::Envelope;

/// Sessions that one caller has at a server which can put one question at a time: one for each call that waits for
/// its client, and one for the calls that run.
const LANES_MAX: u8 = 16;
/// Longest wait for the stream on which a new session is asked.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);

impl Bridge {
    /// The session for a request, and the request's turn there.
    pub(super) async fn hold(
        &self,
        shared: &Arc<Shared>,
        owner: &Owner<'_>,
        envelope: &Envelope<'_>,
        takes_turn: bool,
    ) -> Result<Hold, UpstreamError> {
        let capabilities = self.registry.spelling(envelope.capabilities);
        let key = Key::new(owner, capabilities);
        for lane in 0..LANES_MAX {
            let owned = self
                .owned(shared, key.in_lane(lane), envelope.client_info)
                .await?;
            owned.touch();
            if !takes_turn {
                return Ok(Hold::new(owned, None));
            }
            let limit = shared.settings.timeout;
            let turned = match owned.has_turns() {
                false => Turned::Go(None),
                true => timeout(limit, owned.turn())
                    .await
                    .map_err(|_elapsed| at_limit(shared))?,
            };
            match turned {
                Turned::Go(turn) => return Ok(Hold::new(owned, turn)),
                Turned::Parked => {}
            }
        }
        self.hold_in_place_of_oldest(shared, &key).await
    }

    /// Every session of the caller waits for an answer: the question that was asked first is given up.
    async fn hold_in_place_of_oldest(
        &self,
        shared: &Arc<Shared>,
        key: &Key,
    ) -> Result<Hold, UpstreamError> {
        let oldest = self.shelf.oldest_of(key).ok_or_else(|| at_limit(shared))?;
        let owned = Arc::clone(&oldest.line.hold.owned);
        give_up(vec![oldest], "the client went on to other calls");
        match timeout(shared.settings.timeout, owned.turn()).await {
            Ok(Turned::Go(turn)) => Ok(Hold::new(owned, turn)),
            Ok(Turned::Parked) | Err(_) => Err(at_limit(shared)),
        }
    }

    /// The session of `key`, opened by whoever needs it first.
    async fn owned(
        &self,
        shared: &Arc<Shared>,
        key: Key,
        client_info: Option<&str>,
    ) -> Result<Arc<Owned>, UpstreamError> {
        let found = self.registry.slot(&key);
        let (slot, evicted) = found.map_err(|why| match why {
            NoSlot::Full => at_limit(shared),
            NoSlot::Ended => dispatch::gone(shared),
        })?;
        close_all(evicted);
        if let Some(owned) = slot.cell.get() {
            return Ok(Arc::clone(owned));
        }
        let opened = slot
            .cell
            .get_or_try_init(|| self.open(shared, key, client_info))
            .await?;
        if self.registry.has_ended() {
            // It was taken out while the session was opened, and nobody else will close it.
            close_all([Arc::clone(opened)]);
            return Err(dispatch::gone(shared));
        }
        self.keep_swept(shared);
        Ok(Arc::clone(opened))
    }

    async fn open(
        &self,
        shared: &Arc<Shared>,
        key: Key,
        client_info: Option<&str>,
    ) -> Result<Arc<Owned>, UpstreamError> {
        let own = own_request::session_init();
        let init = SessionInit {
            revision: Revision::SESSION_LATEST,
            capabilities: Arc::clone(&key.capabilities),
            client_info: client_info.map_or(own.client_info, Arc::from),
            now_ms: 0,
        };
        let session_key = SessionKey {
            session: self.registry.name(),
            principal: key.owner().principal.clone(),
            tenant: key.owner().tenant.cloned(),
        };
        let can_ask = !Abilities::of(&key.capabilities).is_empty();
        let has_asked_apart = Arc::clone(&self.registry.has_asked_apart);
        let manner = match &shared.settings.transport {
            Transport::Http { .. } => Manner {
                // A server that asked so once will do so again.
                in_turns: can_ask && has_asked_apart.load(Ordering::Acquire),
                asks_apart: can_ask,
                has_asked_apart,
            },
            // Only an own child asks, and nothing in what it asks says which call it is about.
            Transport::Stdio { scope, .. } => Manner {
                in_turns: can_ask && matches!(scope, Scope::Auto | Scope::Session),
                asks_apart: false,
                has_asked_apart,
            },
        };
        let session = BoundSession::open(Arc::clone(shared), init, session_key).await?;
        let asks_apart = manner.asks_apart;
        let owned = Arc::new(Owned::new(key, session, manner, self.shelf.clock()));
        if asks_apart {
            owned.follow();
            // What a server asks before somebody hears it is lost. One that takes longer is not waited for.
            let _in_time = timeout(FOLLOW_WAIT, owned.hub.offered()).await;
        }
        Ok(owned)
    }
}

fn at_limit(shared: &Shared) -> UpstreamError {
    UpstreamError::AtLimit {
        server: shared.settings.name.clone(),
        limit: usize::from(LANES_MAX),
        what: "sessions of this caller",
    }
}
