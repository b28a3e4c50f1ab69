//! What a change of rights leaves of the sessions that are open. Calls look after themselves: see the pipeline.

use std::sync::Arc;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, decode_str};
use lockgate_proto::mcp::method;

use crate::call::Caller;
use crate::error::Object;
use crate::identity::Authenticated;
use crate::task::spawn_named;
use crate::upstream::BoundSession;

use super::cell::Cell;
use super::door::{Door, Inner};

impl Door {
    /// Ends sessions that nobody may use any more, and lets go of servers that the others may not use. Called when
    /// the identity in force has changed.
    pub fn review(&self) {
        self.inner.review();
    }
}

impl Inner {
    fn review(self: &Arc<Self>) {
        let identity = Arc::clone(&self.pipeline.identities.load());
        let mut ended = Vec::new();
        self.directory.owners(|key, route, caller| {
            let peers = identity.peers(caller);
            // A server's own route is nothing without the server.
            let lost = own_server(route).is_some_and(|name| !any_may(peers, &name.into()));
            if peers.is_empty() || lost {
                ended.push((*key, Arc::clone(route), Arc::clone(caller)));
            }
        });
        for (key, route, caller) in ended {
            let audit = &self.pipeline.audit;
            audit.security("session_ended", &caller, &route);
            self.end_later(&key, "its caller lost the right to it");
        }
        let forbidden =
            |caller: &Caller, server: &ServerName| !any_may(identity.peers(caller), server);
        let slots = self.directory.unbind(forbidden);
        let sessions: Vec<_> = slots
            .iter()
            .filter_map(|slot| slot.get().cloned())
            .collect();
        if !sessions.is_empty() {
            // Each close is bounded by its transport.
            drop(spawn_named(
                "sessions at forbidden servers",
                close_all(sessions),
            ));
        }
    }

    /// Whether a session may still hear `frame`, which its server says outside of calls: the rights may be smaller than
    /// they were when it subscribed.
    pub(super) fn may_hear(&self, cell: &Cell, session: &BoundSession, frame: &Frame) -> bool {
        let identity = self.pipeline.identities.load();
        let server = session.settings();
        let peers = identity.peers(&cell.caller);
        if frame.method() != method::RESOURCE_UPDATED {
            return any_may(peers, &server.name);
        }
        let uri = frame
            .param(&["uri"])
            .and_then(|span| decode_str(span.of(frame.text())));
        let Some(uri) = uri else { return false };
        let shown = server.shown_uri(&uri);
        let allows = |who: &Arc<Authenticated>| {
            let verdict = who
                .access
                .decide(Object::Resource, &shown, Some(&server.name));
            verdict.allowed
        };
        peers.iter().any(allows)
    }
}

/// Server of a route that belongs to one: `/s/{server}/…`, with or without `/t/{tenant}` before it.
pub(super) fn own_server(route: &str) -> Option<&str> {
    let mut parts = route.split('/').skip(1);
    let mut first = parts.next()?;
    if first == "t" {
        first = parts.nth(1)?;
    }
    let server = parts.next().filter(|_| first == "s")?;
    parts.next().map(|_endpoint| server)
}

/// A session is open to all credentials of its principal and tenant; what one of them may use stays.
fn any_may(peers: &[Arc<Authenticated>], server: &ServerName) -> bool {
    peers.iter().any(|who| who.access.allows_server(server))
}

async fn close_all(sessions: Vec<BoundSession>) {
    for session in sessions {
        session.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_names_its_server_whatever_the_tenant_is_called() {
        let check = |route, server| assert_eq!(own_server(route), server, "{route}");
        check("/mcp", None);
        check("/s/files/mcp", Some("files"));
        check("/s/s/mcp", Some("s"));
        check("/t/acme/mcp", None);
        check("/t/s/mcp", None);
        check("/t/s/s/files/mcp", Some("files"));
        check("/t/acme/s/files/mcp", Some("files"));
    }
}
