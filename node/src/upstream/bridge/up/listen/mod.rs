//! What a stateless server says outside of calls, for sessions: `subscriptions/listen`, one stream for all sessions of
//! a principal that want to hear the same.
//!
//! A session has up to two: one for the lists, and one for the resources that it has subscribed to. The filter of a
//! stream cannot be changed: with every subscription another stream takes its place, and is there before the old one
//! goes.
//!
//! What a session wants to hear, and what it has not read yet, is part of its state ([`Wants`]); the streams are made from
//! there.

mod filter;
mod mailbox;
mod news;
mod shared;
mod wants;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, decode_str, elements, find_path};
use parking_lot::Mutex;
use tokio::sync::MutexGuard;

use crate::error::UpstreamError;
use crate::upstream::session_key::SessionKey;
use crate::upstream::shared::Shared;

use self::filter::Filter;
use self::mailbox::Mailbox;
pub(in crate::upstream) use self::shared::Listens;
use self::shared::{Membership, Standing};
pub(super) use self::wants::Wants;
#[cfg(test)]
use super::answer::message_of;
use super::session::State;

/// Resources that one session may subscribe to: all of them stand in one request to listen.
const SUBSCRIPTIONS_MAX: usize = crate::upstream::subscription::NAMED_MAX;
/// Longest wait until a server acknowledges.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(5);

/// Why a subscription was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server offers none.
    NotOffered,
    /// The server offers none to this resource.
    NotThis,
    /// The session has as many as it may.
    TooMany,
}

/// What one session hears.
#[derive(Debug)]
pub(super) struct Ear {
    mailbox: Arc<Mailbox>,
    /// The stream of its resources. Held while it is changed.
    resources: tokio::sync::Mutex<Option<Membership>>,
}

impl Ear {
    /// The ear of the session with this state.
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self {
            mailbox: Arc::new(Mailbox::new(state)),
            resources: tokio::sync::Mutex::default(),
        }
    }

    /// Begins to read; whoever read before hears nothing any more.
    pub(super) fn listen(&self, shared: &Arc<Shared>, key: &SessionKey) -> Option<UpListener> {
        let mailbox = &self.mailbox;
        let lists = {
            let state = mailbox.state().lock();
            if state.wants.is_deaf() {
                return None;
            }
            state.wants.lists()
        };
        Some(UpListener {
            reader: mailbox.read(),
            mailbox: Arc::clone(mailbox),
            _lists: lists.map(|lists| shared.listens.join(shared, key, lists, mailbox)),
        })
    }

    /// Waits for the turn to change what the session follows: one change at a time.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn {
            mailbox: &self.mailbox,
            resources: self.resources.lock().await,
        }
    }

    /// Gives up all subscriptions and ends whoever reads.
    pub(super) async fn close(&self) {
        *self.resources.lock().await = None;
        self.mailbox.read();
    }
}

/// The turn to change what a session follows.
pub(super) struct Turn<'a> {
    mailbox: &'a Arc<Mailbox>,
    resources: MutexGuard<'a, Option<Membership>>,
}

impl Turn<'_> {
    /// Follows again what the session followed elsewhere. Nothing is replayed: whatever it wants to hear of may have
    /// changed on the way.
    #[cfg(test)]
    pub(super) fn again(&mut self, shared: &Arc<Shared>, key: &SessionKey) {
        let mut state = self.mailbox.state().lock();
        let uris = &state.wants.resources;
        let resources = (!uris.is_empty()).then(|| Filter::resources(uris));
        let missed: Vec<String> = [&state.wants.lists(), &resources]
            .into_iter()
            .flatten()
            .flat_map(|filter| filter.missed.clone())
            .collect();
        for frame in missed.into_iter().filter_map(message_of) {
            state.wants.news.post(&frame);
        }
        drop(state);
        let join = |filter| shared.listens.join(shared, key, filter, self.mailbox);
        *self.resources = resources.map(join);
    }

    /// Follows exactly `uris` from now on. `added` must be among what the server honours.
    ///
    /// # Errors
    ///
    /// Fails when the server does not answer.
    pub(super) async fn follow(
        &mut self,
        shared: &Arc<Shared>,
        key: &SessionKey,
        uris: &BTreeSet<String>,
        added: Option<&str>,
    ) -> Result<Option<Refusal>, UpstreamError> {
        if uris.len() > SUBSCRIPTIONS_MAX {
            return Ok(Some(Refusal::TooMany));
        }
        if uris.is_empty() {
            *self.resources = None;
            return Ok(None);
        }
        let filter = Filter::resources(uris);
        let next = shared.listens.join(shared, key, filter, self.mailbox);
        match (next.listen.settled().await, added) {
            (Some(Standing::Open(honoured)), Some(added)) if !honours(&honoured, added) => {
                return Ok(Some(Refusal::NotThis));
            }
            (Some(Standing::Refused), Some(_)) => return Ok(Some(Refusal::NotOffered)),
            (None | Some(Standing::Opening), Some(_)) => {
                return Err(UpstreamError::Timeout {
                    server: shared.settings.name.clone(),
                    limit: ACKNOWLEDGE_WAIT,
                });
            }
            _ => {}
        }
        // The old stream ends here, when the new one is there.
        *self.resources = Some(next);
        Ok(None)
    }
}

fn honours(filter: &str, uri: &str) -> bool {
    let Some(uris) = find_path(filter, &["resourceSubscriptions"]) else {
        return false;
    };
    let uris = uris.of(filter);
    elements(uris).any(|span| decode_str(span.of(uris)).is_some_and(|known| known == uri))
}

/// What a server says to one session outside of its calls. Goes on over restarts of the server.
#[derive(Debug)]
pub struct UpListener {
    mailbox: Arc<Mailbox>,
    reader: u64,
    _lists: Option<Membership>,
}

impl UpListener {
    /// Next message; `None` when somebody else reads now, or the session has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(in crate::upstream) async fn next(&self) -> Option<Frame> {
        self.mailbox.next(self.reader).await
    }
}

#[cfg(test)]
mod tests;
