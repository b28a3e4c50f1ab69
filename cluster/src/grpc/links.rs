//! `Links`: the connections of this node to the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockgate_proto::peer::v1::Sender;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use super::acknowledged::Acknowledged;
use super::connector::{Connector, Trust};
use super::guard::Roster;
use super::proposals::Proposals;
use crate::raft::{Member, RaftId};
use crate::tls::Credentials;

/// How much of a stream may be on the way.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// What a connection is for. Each has its own, so that a heartbeat never waits behind an append, nor an append behind a
/// snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Entries.
    Append,
    /// Heartbeats, votes, transfer of leadership.
    Pulse,
    /// Snapshots.
    Bulk,
    /// Proposals, reads, leases.
    Calls,
}

impl Lane {
    /// After how long a silent connection is tried, and given up. A connection into a partition must not outlive it by
    /// much; a busy receiver must not lose its appends.
    fn keep_alive(self) -> (Duration, Duration) {
        match self {
            Self::Pulse | Self::Calls => (Duration::from_millis(500), Duration::from_secs(1)),
            Self::Append => (Duration::from_secs(1), Duration::from_secs(2)),
            Self::Bulk => (Duration::from_secs(5), Duration::from_secs(10)),
        }
    }
}

/// Connections to other nodes, made when they are first used and again when they broke. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    credentials: Credentials,
    name: String,
    raft_id: RaftId,
    boot: u64,
    /// Tells the cluster, which a founder doesn't know at first.
    roster: watch::Receiver<Arc<Roster>>,
    open: Mutex<HashMap<(RaftId, Lane), Link>>,
    acknowledged: Acknowledged,
}

#[derive(Debug)]
struct Link {
    member: Member,
    channel: Channel,
    proposals: Arc<Proposals>,
}

impl Links {
    /// Links of the node that its cluster knows under `raft_id`, in its life `boot`.
    pub(crate) fn new(
        credentials: Credentials,
        roster: watch::Receiver<Arc<Roster>>,
        raft_id: RaftId,
        boot: u64,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: credentials.identity().name().to_owned(),
                credentials,
                raft_id,
                boot,
                roster,
                open: Mutex::default(),
                acknowledged: Acknowledged::default(),
            }),
        }
    }

    /// What the others have said is on their disks.
    pub(crate) fn acknowledged(&self) -> &Acknowledged {
        &self.shared.acknowledged
    }

    /// What stands in every message of this node to member `to`.
    pub(crate) fn sender(&self, to: RaftId) -> Sender {
        Sender {
            cluster: self.shared.roster.borrow().cluster.clone(),
            raft_id: self.shared.raft_id,
            name: self.shared.name.clone(),
            boot: self.shared.boot,
            to,
        }
    }

    /// The connection to a member, at the address that the roster has for it by now; the caller's word counts while the
    /// roster has none. Does not wait: the first call over it dials.
    pub(super) fn channel(&self, raft_id: RaftId, member: &Member, lane: Lane) -> Channel {
        self.with_link(raft_id, member, lane, |link| link.channel.clone())
    }

    /// What carries proposals over the connection to a member, at the same address as [`Self::channel`].
    pub(super) fn proposals(&self, raft_id: RaftId, member: &Member) -> Arc<Proposals> {
        let proposals = |link: &Link| Arc::clone(&link.proposals);
        self.with_link(raft_id, member, Lane::Calls, proposals)
    }

    fn with_link<T>(
        &self,
        raft_id: RaftId,
        member: &Member,
        lane: Lane,
        take: impl FnOnce(&Link) -> T,
    ) -> T {
        let known = self.shared.roster.borrow().get(raft_id).cloned();
        let member = known.as_ref().unwrap_or(member);
        // A panic elsewhere can't leave the map half changed.
        let mut open = self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match open.get(&(raft_id, lane)) {
            Some(link) if link.member == *member => take(link),
            _ => {
                let trust = Trust::Member(self.shared.credentials.clone());
                let connector = Connector::new(trust, &member.address, Some(&member.name));
                let dials = connector.dials();
                let channel = channel(connector, lane);
                let link = Link {
                    member: member.clone(),
                    proposals: Arc::new(Proposals::new(channel.clone(), dials)),
                    channel,
                };
                let taken = take(&link);
                open.insert((raft_id, lane), link);
                taken
            }
        }
    }

    /// Closes the connections to everybody that `keep` does not name.
    pub(crate) fn retain(&self, keep: impl Fn(RaftId) -> bool) {
        let mut open = self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.retain(|(raft_id, _lane), _link| keep(*raft_id));
    }
}

/// A connection that dials when it is used.
pub(super) fn channel(connector: Connector, lane: Lane) -> Channel {
    let (interval, patience) = lane.keep_alive();
    // The address is the connector's; this only has to be a well-formed authority.
    Endpoint::from_static("http://node")
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector_lazy(connector)
}
