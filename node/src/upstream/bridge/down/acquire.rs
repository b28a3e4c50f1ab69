//! The session for a request, and the request's turn there.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::select_all;
use lockgate_proto::mcp::Revision;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

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
use super::registry::{Bound, Found, LANES_MAX, NoSlot};
use super::sweep::{close_all, give_up};
use super::turn::Envelope;

/// Longest wait for the stream on which a new session is asked.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);
/// How long a call waits for one that runs before it gets a session beside it: short calls share one, which costs a
/// stdio server no other child.
const SHARE_WAIT: Duration = Duration::from_millis(100);
/// How often a call that waits for others looks for sessions that were opened meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// All that a caller can have are in use.
const LANES_FULL: Bound = (LANES_MAX as usize, "sessions of this caller");

/// The queues for turns in which a call stands. It keeps its places while it looks for other sessions.
#[derive(Default)]
struct Queued {
    places: Vec<(Arc<Owned>, Turn)>,
}

type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

impl Queued {
    /// Stands in the queues of `lanes`, and in no others.
    fn enter(&mut self, lanes: &[Arc<Owned>]) {
        let is_among = |one: &Arc<Owned>| lanes.iter().any(|lane| Arc::ptr_eq(lane, one));
        self.places.retain(|(owned, _)| is_among(owned));
        for lane in lanes {
            if !self
                .places
                .iter()
                .any(|(owned, _)| Arc::ptr_eq(owned, lane))
            {
                let turn = Box::pin(lane.next_turn());
                self.places.push((Arc::clone(lane), turn));
            }
        }
    }

    fn leave(&mut self) {
        self.places.clear();
    }

    /// The first turn that comes. The others are left with `self`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the places stay.
    async fn turn(&mut self) -> Option<Hold> {
        let turns = self.places.iter_mut().map(|(_, turn)| turn);
        let (turn, at, _) = select_all(turns).await;
        // It has ended.
        let (owned, _) = self.places.swap_remove(at);
        Some(Hold::new(owned, Some(turn?)))
    }
}

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
        let owned = self.owned(shared, &key, envelope.client_info).await?;
        if !takes_turn {
            owned.touch();
            return Ok(Hold::new(owned, None));
        }
        match hold_of(&owned) {
            Some(hold) => Ok(hold),
            None => self.hold_beside(shared, &key, envelope.client_info).await,
        }
    }

    /// The session of whichever call ends first, or one beside them, where each can do one call at a time.
    async fn hold_beside(
        &self,
        shared: &Arc<Shared>,
        key: &Key,
        client_info: Option<&str>,
    ) -> Result<Hold, UpstreamError> {
        let until = Instant::now() + shared.settings.timeout;
        let mut may_share = true;
        // Why there is no session beside those that there are.
        let mut refused = None;
        let mut queued = Queued::default();
        loop {
            let lanes = self.registry.lanes(key);
            // Before the look, so that no call can begin to wait for its client in between unseen.
            let news: Vec<_> = lanes.iter().map(|owned| owned.news()).collect();
            let held = lanes.iter().find_map(hold_of);
            if let Some(hold) = held {
                return Ok(hold);
            }
            let all_parked = lanes.iter().all(|owned| owned.is_parked());
            if all_parked && lanes.len() == usize::from(LANES_MAX) {
                queued.leave();
                return self.hold_in_place_of_oldest(shared, key).await;
            }
            // When nothing but clients' answers can come, waiting is no better than to be refused again.
            let is_to_open = all_parked || refused.is_none() && !may_share;
            let free = is_to_open.then(|| self.registry.free_lane(key)).flatten();
            if let Some(free) = free {
                // A turn that comes meanwhile would be nobody's.
                queued.leave();
                match self.owned_in(shared, free, client_info).await {
                    Ok(owned) => match hold_of(&owned) {
                        Some(hold) => return Ok(hold),
                        None => continue,
                    },
                    // The caller's other sessions are well, and one of their calls may end in time.
                    Err(why) if !all_parked => refused = Some(why),
                    Err(why) => return Err(why),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(refused.unwrap_or_else(|| at_limit(shared, LANES_FULL)));
            }
            let longest = if may_share { SHARE_WAIT } else { LOOK_INTERVAL };
            queued.enter(&lanes);
            let turn = async {
                match lanes.is_empty() {
                    // All are being opened.
                    true => pending().await,
                    false => {
                        tokio::select! {
                            hold = queued.turn() => hold,
                            _ = select_all(news.into_iter().map(Box::pin)) => None,
                        }
                    }
                }
            };
            match timeout(longest.min(left), turn).await {
                Ok(Some(hold)) => return Ok(hold),
                Ok(None) => {}
                Err(_elapsed) => may_share = false,
            }
        }
    }

    /// Every session of the caller waits for an answer: the question that was asked first is given up.
    async fn hold_in_place_of_oldest(
        &self,
        shared: &Arc<Shared>,
        key: &Key,
    ) -> Result<Hold, UpstreamError> {
        let oldest = self.shelf.oldest_of(key);
        let oldest = oldest.ok_or_else(|| at_limit(shared, LANES_FULL))?;
        let owned = Arc::clone(&oldest.line.hold.owned);
        give_up(vec![oldest], "the client went on to other calls");
        match timeout(shared.settings.timeout, owned.turn()).await {
            Ok(Turned::Go(turn)) => Ok(Hold::new(owned, turn)),
            Ok(Turned::Parked) | Err(_) => Err(at_limit(shared, LANES_FULL)),
        }
    }

    /// The session of `key`, opened by whoever needs it first.
    async fn owned(
        &self,
        shared: &Arc<Shared>,
        key: &Key,
        client_info: Option<&str>,
    ) -> Result<Arc<Owned>, UpstreamError> {
        let found = self.registry.slot(key);
        self.owned_in(shared, found.map(|found| (key.clone(), found)), client_info)
            .await
    }

    /// The session of a place that was found for it.
    async fn owned_in(
        &self,
        shared: &Arc<Shared>,
        found: Result<(Key, Found), NoSlot>,
        client_info: Option<&str>,
    ) -> Result<Arc<Owned>, UpstreamError> {
        let (key, (slot, evicted)) = found.map_err(|why| match why {
            NoSlot::Full(bound) => at_limit(shared, bound),
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

/// The session, if its turn is free, or it takes none.
fn hold_of(owned: &Arc<Owned>) -> Option<Hold> {
    let turn = match owned.has_turns() {
        true => Some(owned.try_turn()?),
        false => None,
    };
    owned.touch();
    Some(Hold::new(Arc::clone(owned), turn))
}

fn at_limit(shared: &Shared, (limit, what): Bound) -> UpstreamError {
    UpstreamError::AtLimit {
        server: shared.settings.name.clone(),
        limit,
        what,
    }
}
