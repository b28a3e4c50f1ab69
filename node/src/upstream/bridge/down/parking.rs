//! Calls that wait for their clients, as data: who may continue which call, and until when. No channel, no clock.
//!
//! Every parked call ends in exactly one way: it is taken out by a retry that brings all answers, or by its expiry. What
//! became of one that went on and is over is kept until its last ticket expires.

use std::collections::BTreeMap;

use lockgate_proto::jsonrpc::Frame;
use serde::{Deserialize, Serialize};

use super::answered::{Answered, LastRound};
use super::asked::WrongShape;
use super::call::Call;
use super::digest::Digest;
use super::ticket::Ticket;
use super::turn::Turn;

/// Calls that wait for their clients. How many may is decided elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parking {
    /// Drawn at random: states of another life of this node open, but fit no call.
    life: u64,
    last: u64,
    /// How long each waits for its client, in milliseconds.
    wait_ms: u64,
    calls: BTreeMap<u64, Parked>,
    answered: Answered,
}

#[derive(Debug, Serialize, Deserialize)]
struct Parked {
    call: Call,
    bearer: Bearer,
}

/// What a client brings to go on with a parked call.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    pub(super) bearer: Bearer,
    /// Raw `inputResponses`.
    pub(super) responses: &'a str,
    pub(super) turn: Turn,
}

/// Whoever brings a ticket, and with which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bearer {
    pub(super) owner: Digest,
    pub(super) request: Digest,
}

/// Why a state continues nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Of another tenant, principal or route.
    OtherOwner,
    /// Of another method or other parameters.
    OtherRequest,
    /// Its time is over.
    Expired,
    /// Of calls that were parked before a restart, or elsewhere: they have ended with what kept them.
    OtherLife,
    /// Its round is over and its call is not, or the answer is not kept any more.
    Used,
    /// The state is right, the answers are not.
    Shape(WrongShape),
}

/// What a right state leads to.
#[derive(Debug)]
pub(super) enum Resumed {
    /// The call goes on: `answers` are for the server.
    On {
        id: u64,
        call: Box<Call>,
        answers: Vec<Frame>,
    },
    /// Answers are missing: the same question again, under the same ticket.
    Again(Frame),
    /// The call is over: what its client got already, with the HTTP status.
    Over { status: u16, frame: Frame },
}

impl Parking {
    /// Without calls; `life` is random, and each call waits so many milliseconds for its client.
    pub(super) fn new(life: u64, wait_ms: u64) -> Self {
        Self {
            life,
            last: 0,
            wait_ms,
            calls: BTreeMap::new(),
            answered: Answered::default(),
        }
    }

    /// Calls that wait.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Parks a call that asks its client; `question` asks it, and the ticket brings the answer back. Gives the call's
    /// number, and the question.
    pub(super) fn park(
        &mut self,
        now_ms: u64,
        mut call: Call,
        bearer: Bearer,
        question: impl FnOnce(&Call, &Ticket) -> Frame,
    ) -> (u64, Frame) {
        let id = *call.parked.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        call.expires_ms = now_ms.saturating_add(self.wait_ms);
        let parked = Parked { call, bearer };
        let question = question(&parked.call, &self.ticket(id, &parked));
        self.calls.insert(id, parked);
        (id, question)
    }

    fn ticket(&self, id: u64, parked: &Parked) -> Ticket {
        Ticket {
            life: self.life,
            call: id,
            round: parked.call.round,
            expires_ms: parked.call.expires_ms,
            owner: parked.bearer.owner,
            request: parked.bearer.request,
        }
    }

    /// A retry with `ticket`. `question` makes the same question again, for the client's new id.
    ///
    /// # Errors
    ///
    /// See [`Refused`]; nothing has changed then.
    pub(super) fn resume(
        &mut self,
        now_ms: u64,
        ticket: &Ticket,
        retry: Retry<'_>,
        question: impl FnOnce(&Call, &str) -> Frame,
    ) -> Result<Resumed, Refused> {
        let Retry {
            bearer,
            responses,
            turn,
        } = retry;
        if ticket.owner != bearer.owner {
            return Err(Refused::OtherOwner);
        }
        if ticket.request != bearer.request {
            return Err(Refused::OtherRequest);
        }
        if ticket.life != self.life {
            return Err(Refused::OtherLife);
        }
        if ticket.expires_ms <= now_ms {
            return Err(Refused::Expired);
        }
        let known = self.calls.get_mut(&ticket.call);
        let known = known.filter(|parked| {
            // The seal says as much already; a call must never depend on one check alone.
            parked.call.round == ticket.round && parked.bearer == bearer
        });
        let Some(parked) = known else {
            let over = self.answered.again(ticket, &bearer, &turn.id);
            let (status, frame) = over.ok_or(Refused::Used)?;
            return Ok(Resumed::Over { status, frame });
        };
        let id = turn.id.clone();
        match parked.call.on_responses(responses, turn) {
            Err(wrong) => Err(Refused::Shape(wrong)),
            Ok(None) => Ok(Resumed::Again(question(&parked.call, &id))),
            Ok(Some(answers)) => match self.take(ticket.call) {
                Some(call) => Ok(Resumed::On {
                    id: ticket.call,
                    call: Box::new(call),
                    answers,
                }),
                None => Err(Refused::Used),
            },
        }
    }

    /// `call` is over, and its client was given this answer, with an HTTP status. `bearer`: who went on with it last.
    pub(super) fn answered(&mut self, call: &Call, bearer: Bearer, answer: (u16, &Frame)) {
        if let Some(id) = call.parked
            && let Some(round) = call.round.checked_sub(1)
        {
            let of = LastRound {
                call: id,
                round,
                expires_ms: call.expires_ms,
                bearer,
            };
            self.answered.keep(of, answer.0, answer.1);
        }
    }

    /// Whether answers are kept.
    pub(super) fn keeps_answers(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Takes out the calls whose time is over.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<(u64, Call)> {
        self.answered.expire(now_ms);
        let over = self.calls.iter();
        let over: Vec<u64> = over
            .filter(|(_, parked)| parked.call.expires_ms <= now_ms)
            .map(|(id, _)| *id)
            .collect();
        over.into_iter()
            .filter_map(|id| Some((id, self.take(id)?)))
            .collect()
    }

    /// Takes out all calls.
    pub(super) fn clear(&mut self) -> Vec<(u64, Call)> {
        self.expire(u64::MAX)
    }

    /// The one of `ids` that was parked first.
    pub(super) fn oldest(&self, ids: impl Iterator<Item = u64>) -> Option<u64> {
        ids.filter_map(|id| Some((self.calls.get(&id)?.call.expires_ms, id)))
            .min()
            .map(|(_, id)| id)
    }

    /// Every call, with its number.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Call)> {
        let calls = self.calls.iter();
        calls.map(|(id, parked)| (*id, &parked.call))
    }

    /// Takes out one call.
    pub(super) fn take(&mut self, id: u64) -> Option<Call> {
        Some(self.calls.remove(&id)?.call)
    }
}

#[cfg(test)]
mod tests;
