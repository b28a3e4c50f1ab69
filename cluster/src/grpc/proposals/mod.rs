//! `Proposals`: carries proposals to one member, all over one stream.
//!
//! There a proposal is one frame, and so is its answer; a call of its own takes a stream of its own, with headers and
//! trailers. The stream is opened by the first proposal and by the next one after it broke. Members that do not know
//! it are asked by single calls.

mod waiting;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use lockgate_proto::peer::v1 as pb;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use self::waiting::{End, Lost, Waiting};
use super::MESSAGE_BYTES_MAX;
use super::connector::Dials;
use super::peers::{call, malformed, peer_error, too_slow};
use super::services::peer_client::PeerClient;
use crate::raft::PeerError;
use crate::task::spawn_named;

/// Proposals that wait to be written. As many as a node has under way.
const QUEUE_MAX: usize = 1024;

/// The way of proposals to one member.
#[derive(Debug)]
pub(super) struct Proposals {
    channel: Channel,
    dials: Dials,
    way: Mutex<Way>,
}

/// How the member is asked.
#[derive(Debug)]
enum Way {
    /// Not at all yet, or the stream was given up.
    Closed,
    /// Over a stream, which may have ended.
    Open(Arc<Line>),
    /// By single calls: the node did not know the stream when there had been so many connections. The next one may be
    /// to a newer program.
    Single { n_dials: u64 },
}

/// One stream.
#[derive(Debug)]
struct Line {
    queue: mpsc::Sender<pb::Proposal>,
    waiting: Arc<Waiting>,
    /// Connections before it was opened.
    n_dials: u64,
    /// Reads the answers.
    reading: JoinHandle<()>,
}

impl Proposals {
    /// Carries them over `channel`, whose connections `dials` counts.
    pub(super) fn new(channel: Channel, dials: Dials) -> Self {
        Self {
            channel,
            dials,
            way: Mutex::new(Way::Closed),
        }
    }

    /// Has the member commit an entry, and gives its outcome. Waits for it no longer than `limit`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind here; whether the entry is committed is not known then.
    pub(super) async fn propose(
        &self,
        sender: pb::Sender,
        entry: Bytes,
        limit: Duration,
    ) -> Result<Bytes, PeerError> {
        let Some(line) = self.line() else {
            return self.call(sender, entry, limit).await;
        };
        match timeout(limit, line.propose(sender.clone(), entry.clone())).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(Lost::Failed(error))) => Err(error),
            Ok(Err(Lost::Unimplemented)) => {
                let n_dials = line.n_dials;
                self.replace(&line, Way::Single { n_dials });
                self.call(sender, entry, limit).await
            }
            Err(_elapsed) => {
                // The member may be at it as long as the stream lasts, and takes only so many. The stream lasts until
                // the last that waits there has its answer.
                self.replace(&line, Way::Closed);
                Err(too_slow(limit))
            }
        }
    }

    /// The stream, if the member knows it.
    fn line(&self) -> Option<Arc<Line>> {
        // A panic elsewhere can't leave it half changed.
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        match &*way {
            Way::Open(line) if !line.waiting.has_ended() => return Some(Arc::clone(line)),
            Way::Single { n_dials } if *n_dials == self.dials.count() => return None,
            Way::Closed | Way::Open(_) | Way::Single { .. } => {}
        }
        let line = Arc::new(Line::open(self.channel.clone(), self.dials.count()));
        *way = Way::Open(Arc::clone(&line));
        Some(line)
    }

    /// Goes another way than over `line`, unless that is so already.
    fn replace(&self, line: &Arc<Line>, by: Way) {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*way, Way::Open(open) if Arc::ptr_eq(open, line)) {
            *way = by;
        }
    }

    async fn call(
        &self,
        sender: pb::Sender,
        entry: Bytes,
        limit: Duration,
    ) -> Result<Bytes, PeerError> {
        use pb::propose_response::Result as Answer;

        let sender = Some(sender);
        let request = pb::ProposeRequest { sender, entry };
        let mut client = client(self.channel.clone());
        let answer = call(limit, client.propose(request)).await?;
        match answer.result {
            Some(Answer::Outcome(outcome)) => Ok(outcome),
            Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
            Some(Answer::Refused(why)) => Err(PeerError::Refused(why)),
            None => Err(malformed()),
        }
    }
}

impl Line {
    fn open(channel: Channel, n_dials: u64) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Waiting::default());
        let proposals = written(queued, Arc::clone(&waiting));
        let reading = Reading(Arc::clone(&waiting));
        Self {
            queue,
            waiting,
            n_dials,
            reading: spawn_named("peer-proposals", reading.run(channel, proposals)),
        }
    }

    async fn propose(&self, sender: pb::Sender, entry: Bytes) -> Result<Bytes, Lost> {
        let ticket = self.waiting.enter()?;
        let proposal = pb::Proposal {
            sender: Some(sender),
            serial: ticket.serial(),
            entry,
        };
        // It would end the stream for all.
        if proposal.encoded_len() > MESSAGE_BYTES_MAX {
            let why = "larger than a message between nodes".to_owned();
            return Err(Lost::Failed(PeerError::Refused(why)));
        }
        // A queue without a reader is one of a stream that ends, which the ticket hears of.
        let _ending = self.queue.send(proposal).await;
        ticket.answer().await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // With it goes the stream, and the member leaves what is under way there.
        self.reading.abort();
    }
}

/// What goes out: the proposals of those that still wait.
fn written(
    queued: mpsc::Receiver<pb::Proposal>,
    waiting: Arc<Waiting>,
) -> impl Stream<Item = pb::Proposal> + Send + 'static {
    stream::unfold((queued, waiting), |(mut queued, waiting)| async {
        loop {
            let proposal = queued.recv().await?;
            if waiting.on_write(proposal.serial) {
                return Some((proposal, (queued, waiting)));
            }
        }
    })
}

/// Reads the answers of a stream. Whoever waits hears of its end, however it ends.
struct Reading(Arc<Waiting>);

impl Reading {
    async fn run(
        self,
        channel: Channel,
        proposals: impl Stream<Item = pb::Proposal> + Send + 'static,
    ) {
        let mut client = client(channel);
        let mut answers = match client.proposals(proposals).await {
            Ok(response) => response.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => {
                return self.0.end(End::Unimplemented);
            }
            Err(status) => return self.0.end(End::Failed(peer_error(&status))),
        };
        let end = loop {
            match answers.message().await {
                Ok(Some(answer)) => self.0.on_answer(answer),
                Ok(None) => break PeerError::Unknown("its stream has ended".to_owned()),
                // A refusal comes behind the answers to all that was not refused.
                Err(status) => break peer_error(&status),
            }
        };
        self.0.end(End::Failed(end));
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let why = "the stream was given up".to_owned();
        self.0.end(End::Failed(PeerError::Unknown(why)));
    }
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
