//! `Network`: how the engine of this node reaches the others.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::base::BoxFuture;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::append::pieces;
use super::convert::{
    self, Malformed, append_result_from, transfer_response_from, transfer_to, vote_request_to,
    vote_response_from,
};
use super::doorbell::with_cause;
use super::linger::spared;
use super::links::{Lane, Links};
use super::services::raft_client::RaftClient;
use super::{MESSAGE_BYTES_MAX, backoff, snapshot_out};
use crate::raft::{Member, RaftId, SnapshotFile, TypeConfig};

/// How long a stream of appends may take to open. Longer than any round trip that a cluster works with.
const OPEN_MAX: Duration = Duration::from_secs(2);
/// Pauses of the engine between attempts at a node that can't be reached.
const PAUSES_MS: [u64; 4] = [50, 100, 200, 400];

type RpcError = RPCError<TypeConfig>;

/// Makes a [`Network`] for each member.
#[derive(Debug)]
pub(crate) struct NetworkFactory {
    links: Links,
}

impl NetworkFactory {
    pub(crate) fn new(links: Links) -> Self {
        Self { links }
    }

    fn network(&self, target: RaftId, member: &Member, lane: Lane) -> Network {
        Network {
            links: self.links.clone(),
            target,
            member: member.clone(),
            lane,
            outage: Mutex::default(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: RaftId, node: &Member) -> Network {
        self.network(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: RaftId, node: &Member) -> Network {
        self.network(target, node, Lane::Pulse)
    }

    async fn new_snapshot_client(&mut self, target: RaftId, node: &Member) -> Network {
        self.network(target, node, Lane::Bulk)
    }
}

/// One member, as the engine reaches it.
#[derive(Debug)]
pub(crate) struct Network {
    links: Links,
    target: RaftId,
    member: Member,
    lane: Lane,
    /// How long streams of appends cannot be opened.
    outage: Mutex<backoff::Backoff>,
}

impl Network {
    fn client(&self, lane: Lane) -> RaftClient<Channel> {
        let channel = self.links.channel(self.target, &self.member, lane);
        RaftClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    async fn call<T>(
        &self,
        option: &RPCOption,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match timeout(option.hard_ttl(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.rpc_error(&status)),
            Err(_elapsed) => {
                Err(self.unreachable(&format!("no answer in {:?}", option.hard_ttl())))
            }
        }
    }

    /// A node that can't be reached or that refuses is left alone for a moment; anything else is tried again at once.
    fn rpc_error(&self, status: &Status) -> RpcError {
        let message = format!("{}: {status}", self.member);
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented => self.unreachable(&with_cause(status)),
            _ => RPCError::Network(NetworkError::from_string(message)),
        }
    }

    fn unreachable(&self, why: &str) -> RpcError {
        RPCError::Unreachable(Unreachable::from_string(format!("{}: {why}", self.member)))
    }

    fn malformed(&self, malformed: Malformed) -> RpcError {
        RPCError::Network(NetworkError::from_string(format!(
            "{}: {malformed}",
            self.member
        )))
    }

    /// The snapshot's file can't be read. Said as if the other one could not be reached, so that the engine tries again
    /// with the newest snapshot: a storage error would stop a leader that has all of its log.
    fn unreadable(&self, file: &Path, error: &io::Error) -> RpcError {
        let why = format!("cannot read `{}` to send it: {error}", file.display());
        self.unreachable(&why)
    }

    async fn open_appends<R>(
        &self,
        requests: R,
    ) -> Result<BoxStream<'_, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>
    where
        R: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let sender = self.links.sender(self.target);
        // A stream lasts as long as one leadership, so that all its requests are of one term.
        let term = Arc::new(AtomicU64::new(0));
        let term_sent = Arc::clone(&term);
        let messages = spared(requests).flat_map(move |request| {
            term_sent.store(request.vote.leader_id.term, Ordering::Relaxed);
            stream::iter(pieces(request, &sender))
        });
        let mut client = self.client(self.lane);
        let opened = timeout(OPEN_MAX, client.append(messages)).await;
        let answers = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(self.rpc_error(&status)),
            Err(_elapsed) => return Err(self.unreachable("no stream")),
        };
        let results = answers.map(move |answer| match answer {
            Ok(answer) => {
                let result = append_result_from(answer).map_err(|error| self.malformed(error))?;
                self.note(term.load(Ordering::Relaxed), result)
            }
            Err(status) => Err(self.rpc_error(&status)),
        });
        Ok(results.boxed())
    }

    /// Says once that the member cannot be reached and once that it can again, and waits after each failure: the engine
    /// tries again at once, since the pauses of its own come with the requests, which a stream that was not opened does
    /// not take.
    async fn note_outage(&self, failure: Option<&RpcError>) {
        let pause = {
            let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
            match failure {
                Some(error) => {
                    if !outage.has_failed() {
                        tracing::warn!(%error, "another node gets no entries of the log");
                    }
                    outage.on_failure(Instant::now())
                }
                None => {
                    if outage.has_failed() {
                        tracing::info!(node = %self.member, "another node gets entries of the log again");
                        outage.on_success();
                    }
                    return;
                }
            }
        };
        sleep(pause).await;
    }

    /// Remembers what the member has, and keeps from the engine that it has lost some of it: the engine has no answer to
    /// that. To it the member can't be reached until it is none any more.
    fn note(
        &self,
        term: u64,
        result: StreamAppendResult<TypeConfig>,
    ) -> Result<StreamAppendResult<TypeConfig>, RpcError> {
        let acknowledged = self.links.acknowledged();
        match &result {
            Ok(Some(last)) => acknowledged.stored(self.target, term, *last),
            Err(StreamAppendError::Conflict(at)) if acknowledged.lacks(self.target, term, *at) => {
                return Err(self.unreachable("its disk has lost what it had acknowledged"));
            }
            Ok(None) | Err(_) => {}
        }
        Ok(result)
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let whole = async {
            let results = self.open_appends(stream::iter([rpc])).await?;
            let last = |_before, result| async { Ok(Some(result)) };
            results.try_fold(None, last).await
        };
        match timeout(option.hard_ttl(), whole).await {
            Ok(Ok(Some(result))) => Ok(AppendEntriesResponse::from(result)),
            Ok(Ok(None)) => Err(self.unreachable("no answer")),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(self.unreachable("no answer in time")),
        }
    }

    fn stream_append<'s, R>(
        &'s mut self,
        input: R,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        R: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        // The stream lasts as long as the leadership, so no time limit: one that has gone silent is found by the
        // keep-alive of its connection.
        async {
            let opened = self.open_appends(input).await;
            self.note_outage(opened.as_ref().err()).await;
            opened
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Lane::Pulse);
        let request = vote_request_to(&rpc, self.links.sender(self.target));
        let answer = self.call(&option, client.vote(request)).await?;
        vote_response_from(&answer).map_err(|error| self.malformed(error))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Lane::Pulse);
        let request = vote_request_to(&rpc, self.links.sender(self.target));
        let answer = self.call(&option, client.pre_vote(request)).await?;
        vote_response_from(&answer).map_err(|error| self.malformed(error))
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sender = self.links.sender(self.target);
        let (parts, progress) = snapshot_out::parts(vote, &snapshot, sender);
        let mut client = self.client(Lane::Bulk);
        let sent = tokio::select! {
            sent = client.install_snapshot(Request::new(parts)) => sent,
            closed = cancel => return Err(closed.into()),
            () = progress.stalled(option.hard_ttl()) => {
                return Err(self.unreachable("the snapshot does not get on").into());
            }
        };
        let answer = sent.map_err(|status| match progress.failure() {
            Some(error) => self.unreadable(snapshot.snapshot.path(), &error),
            None => self.rpc_error(&status),
        })?;
        let vote = convert::vote_from(answer.into_inner().vote);
        let vote = vote.map_err(|error| StreamingError::from(self.malformed(error)))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Lane::Pulse);
        let request = transfer_to(&req, self.links.sender(self.target));
        let answer = self.call(&option, client.transfer_leader(request)).await?;
        transfer_response_from(answer, &req).map_err(|error| self.malformed(error))
    }

    fn backoff(&self) -> Option<Backoff> {
        // The last pause is repeated for ever.
        let pauses = PAUSES_MS.into_iter().map(Duration::from_millis);
        let longest = Duration::from_millis(PAUSES_MS[PAUSES_MS.len() - 1]);
        Some(Backoff::new(pauses.chain(std::iter::repeat(longest))))
    }
}
