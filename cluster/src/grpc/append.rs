//! Cuts appends into messages of a bounded size.

use std::collections::VecDeque;

use lockgate_proto::peer::v1 as pb;
use openraft::entry::RaftEntry;
use openraft::raft::AppendEntriesRequest;
use openraft::{EntryPayload, Membership};

use super::convert::append_to;
use crate::raft::{Entry, Member, Payload, RaftId, TypeConfig};

/// About how large one message gets, in bytes. An entry is never cut, so one that is larger goes alone.
pub(super) const PIECE_BYTES: usize = 1 << 20;
/// What an entry takes beside its payload, at most.
const ENTRY_OVERHEAD_BYTES: usize = 48;

/// The messages of one request, in order: the second starts where the first ends. Each is answered for itself, which
/// the engine takes as progress within the request.
pub(super) fn pieces(
    request: AppendEntriesRequest<TypeConfig>,
    sender: &pb::Sender,
) -> VecDeque<pb::AppendRequest> {
    let AppendEntriesRequest {
        vote,
        mut prev_log_id,
        entries,
        leader_commit,
    } = request;
    let mut messages = VecDeque::with_capacity(1);
    let mut piece = Vec::with_capacity(entries.len());
    let mut piece_bytes = 0;
    let mut flush = |piece: Vec<Entry>| {
        let last = piece.last().map(RaftEntry::log_id);
        let request = AppendEntriesRequest {
            vote,
            prev_log_id,
            entries: piece,
            leader_commit,
        };
        prev_log_id = last.or(prev_log_id);
        messages.push_back(append_to(request, sender.clone()));
    };
    for entry in entries {
        let bytes = size_of_entry(&entry);
        if !piece.is_empty() && piece_bytes + bytes > PIECE_BYTES {
            flush(std::mem::take(&mut piece));
            piece_bytes = 0;
        }
        piece_bytes += bytes;
        piece.push(entry);
    }
    flush(piece);
    messages
}

fn size_of_entry(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(Payload(bytes)) => bytes.len(),
        EntryPayload::Membership(membership) => size_of_membership(membership),
    };
    payload + ENTRY_OVERHEAD_BYTES
}

fn size_of_membership(membership: &Membership<RaftId, Member>) -> usize {
    let members = membership.nodes();
    members
        .map(|(_, it)| it.name.len() + it.address.len() + ENTRY_OVERHEAD_BYTES)
        .sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::super::convert::{append_from, log_id_from};
    use super::*;
    use crate::raft::{LogId, Vote};

    fn log_id(index: u64) -> LogId {
        log_id_from(&pb::RaftLogId {
            term: 3,
            leader: 1,
            index,
        })
    }

    fn request(sizes: &[usize]) -> AppendEntriesRequest<TypeConfig> {
        let entry = |(at, size): (u64, &usize)| Entry {
            log_id: log_id(11 + at),
            payload: EntryPayload::Normal(Payload(Bytes::from(vec![7; *size]))),
        };
        AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(log_id(10)),
            entries: (0..).zip(sizes).map(entry).collect(),
            leader_commit: Some(log_id(9)),
        }
    }

    fn check(sizes: &[usize], expected: &[usize]) {
        let messages = pieces(request(sizes), &pb::Sender::default());
        let counts: Vec<usize> = messages.iter().map(|it| it.entries.len()).collect();
        assert_eq!(counts, expected, "{sizes:?}");
        let mut prev = Some(log_id(10));
        let mut joined = Vec::new();
        for message in messages {
            assert!(message.entries.len() < 2 || message.encoded_len() < PIECE_BYTES + 4096);
            let part = append_from(message).unwrap();
            assert_eq!(part.prev_log_id, prev);
            assert_eq!(part.leader_commit, Some(log_id(9)));
            prev = part.entries.last().map(RaftEntry::log_id).or(prev);
            joined.extend(part.entries);
        }
        assert_eq!(joined, request(sizes).entries);
    }

    #[test]
    fn a_request_is_cut_between_entries() {
        const THIRD: usize = PIECE_BYTES / 3;
        check(&[], &[0]);
        check(&[10, 20, 30], &[3]);
        check(&[THIRD, THIRD, THIRD, THIRD], &[2, 2]);
        check(&[2 * PIECE_BYTES, 1, 1], &[1, 2]);
        check(&[1, 2 * PIECE_BYTES, 1], &[1, 1, 1]);
        check(&[10; 5000], &[5000]);
    }
}
