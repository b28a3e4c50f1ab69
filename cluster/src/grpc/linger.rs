//! Spares the message that says no more than how far the log is committed, where entries are about to follow.
//!
//! Behind audit records there are more, as every call makes two: the next ones say it, too, a moment later. What waits
//! for the commit on another node, a reader there, waits that moment longer.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use prost::Message;
use tokio::time::sleep;

use crate::raft::{Entry, Payload, TypeConfig};

/// How long. Longer than it takes until the calls that waited for the commit have written again.
const LINGER: Duration = Duration::from_millis(5);

/// An entry of the log, as far as it takes to tell what it is.
#[derive(Clone, PartialEq, Message)]
struct Outline {
    #[prost(bytes = "bytes", optional, tag = "17")]
    audit: Option<Bytes>,
}

/// A command of the audit log, likewise.
#[derive(Clone, PartialEq, Message)]
struct AuditOutline {
    #[prost(bytes = "bytes", optional, tag = "2")]
    append: Option<Bytes>,
}

struct State<R> {
    /// Asked again behind its end, since one that lingered when it ended goes out first.
    requests: stream::Fuse<R>,
    /// Whether the last entries that went out were audit records.
    is_busy: bool,
    /// Came while another request lingered.
    next: Option<AppendEntriesRequest<TypeConfig>>,
}

/// The same requests, without those that the next one makes superfluous.
pub(super) fn spared<R>(
    requests: R,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static
where
    R: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let state = State {
        requests: requests.fuse(),
        is_busy: false,
        next: None,
    };
    stream::unfold(state, |mut state| async {
        let request = state.request().await?;
        Some((request, state))
    })
}

impl<R> State<R>
where
    R: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    async fn request(&mut self) -> Option<AppendEntriesRequest<TypeConfig>> {
        let request = match self.next.take() {
            Some(request) => request,
            None => self.requests.next().await?,
        };
        if !request.entries.is_empty() {
            self.is_busy = are_records(&request);
            return Some(request);
        }
        // Once: where nothing follows, the log is at rest.
        if !std::mem::take(&mut self.is_busy) {
            return Some(request);
        }
        tokio::select! {
            next = self.requests.next() => match next {
                Some(next) if supersedes(&next, &request) => {
                    self.is_busy = are_records(&next);
                    Some(next)
                }
                next => {
                    self.next = next;
                    Some(request)
                }
            },
            () = sleep(LINGER) => Some(request),
        }
    }
}

/// Whether whoever gets `next` needs `request` no more.
fn supersedes(
    next: &AppendEntriesRequest<TypeConfig>,
    request: &AppendEntriesRequest<TypeConfig>,
) -> bool {
    next.vote == request.vote
        && next.prev_log_id == request.prev_log_id
        && next.leader_commit >= request.leader_commit
}

/// Whether the entries of the request, if it has any, are audit records.
fn are_records(request: &AppendEntriesRequest<TypeConfig>) -> bool {
    !request.entries.is_empty() && request.entries.iter().all(is_audit_append)
}

fn is_audit_append(entry: &Entry) -> bool {
    let EntryPayload::Normal(Payload(bytes)) = &entry.payload else {
        return false;
    };
    let audit = Outline::decode(bytes.clone()).ok().and_then(|it| it.audit);
    let append = audit.and_then(|it| AuditOutline::decode(it).ok()?.append);
    append.is_some()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lockgate_proto::peer::v1 as pb;

    use super::super::convert::log_id_from;
    use super::*;
    use crate::audit::AuditCommand;
    use crate::command::{Command, Expected, RegisterWrite, wire};
    use crate::raft::{LogId, Vote};

    fn log_id(index: u64) -> LogId {
        log_id_from(&pb::RaftLogId {
            term: 3,
            leader: 1,
            index,
        })
    }

    fn audit() -> Command {
        let append = AuditCommand::Append {
            node: "n1".to_owned(),
            boot: 1,
            first_local_seq: 1,
            lines: vec![Bytes::from_static(b"{}")],
        };
        append.into()
    }

    fn other() -> Command {
        let write = RegisterWrite {
            key: "a".to_owned(),
            expected: Expected::Any,
            value: None,
        };
        Command::Register(write)
    }

    /// What says that the log is committed up to `commit`, with these commands behind the entry `prev`.
    fn request(
        prev: u64,
        commit: u64,
        commands: impl IntoIterator<Item = Command>,
    ) -> AppendEntriesRequest<TypeConfig> {
        let entries = (prev + 1..).zip(commands).map(|(index, command)| {
            let entry = crate::command::Entry {
                at_ms: 1,
                leader_us: 1,
                leader_term: 3,
                origin: None,
                command,
            };
            Entry {
                log_id: log_id(index),
                payload: EntryPayload::Normal(Payload(wire::encode_entry(entry))),
            }
        });
        AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(log_id(prev)),
            entries: entries.collect(),
            leader_commit: Some(log_id(commit)),
        }
    }

    fn stream(
        requests: Vec<AppendEntriesRequest<TypeConfig>>,
    ) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> {
        // As that of the engine: it has no end while the leader leads.
        spared(stream::iter(requests).chain(stream::pending()))
    }

    /// How many entries are in each of the first `n` requests that come of `requests`, and what they say is committed.
    async fn check(requests: Vec<AppendEntriesRequest<TypeConfig>>, expected: &[(usize, u64)]) {
        let sent = stream(requests).take(expected.len());
        let sent = sent.map(|it| (it.entries.len(), it.leader_commit.unwrap().index));
        assert_eq!(sent.collect::<Vec<_>>().await, expected);
    }

    #[tokio::test]
    async fn a_commit_goes_with_the_records_that_follow() {
        let requests = vec![
            request(1, 1, [audit(), audit()]),
            request(3, 3, []),
            request(3, 3, [audit()]),
            request(4, 4, []),
        ];
        check(requests, &[(2, 1), (1, 3), (0, 4)]).await;
    }

    #[tokio::test]
    async fn what_lingers_at_the_end_goes_out_before_it() {
        let requests = vec![request(1, 1, [audit()]), request(2, 2, [])];
        // As that of the engine: it may not be asked again when it has ended.
        let once = stream::unfold(requests.into_iter(), |mut requests| async {
            requests.next().map(|request| (request, requests))
        });
        let sent = spared(Box::pin(once)).map(|it| it.entries.len());
        assert_eq!(sent.collect::<Vec<_>>().await, [1, 0]);
    }

    #[tokio::test]
    async fn what_does_not_follow_spares_nothing() {
        let requests = vec![
            request(1, 1, [audit()]),
            request(2, 2, []),
            request(1, 1, [audit(), audit()]),
        ];
        check(requests, &[(1, 1), (0, 2), (2, 1)]).await;
    }

    #[tokio::test]
    async fn a_commit_goes_at_once_behind_anything_but_records() {
        let requests = vec![request(1, 1, [audit(), other()]), request(3, 3, [])];
        let mut stream = Box::pin(stream(requests));
        assert!(stream.next().now_or_never().is_some());
        assert!(stream.next().now_or_never().is_some());
    }
}
