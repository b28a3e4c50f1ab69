//! Requests in flight in one session. Claimed synchronously before a call starts; pure.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::Frame;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::CallError;

/// A cancel that came before its request is kept this long.
const EARLY_CANCEL_KEPT: Duration = Duration::from_secs(30);
/// Early cancels kept per session.
const EARLY_CANCELS_MAX: usize = 32;

/// Requests in flight, by raw id.
#[derive(Debug, Default)]
pub struct InFlight {
    calls: SmallVec<[Flight; 2]>,
    early: SmallVec<[(Box<str>, Instant); 0]>,
    serial: u64,
    ended: bool,
}

#[derive(Debug)]
struct Flight {
    id: Box<str>,
    serial: u64,
    cancel: Arc<CallCancel>,
}

/// How a running call learns that nobody wants its answer any more.
#[derive(Debug, Default)]
pub struct CallCancel {
    /// Fires once.
    pub signal: Arc<Cancel>,
    reason: parking_lot::Mutex<Option<Reason>>,
}

/// Why a call is given up.
#[derive(Debug)]
pub enum Reason {
    /// The client said so, in this notification, which is to be passed on to the server.
    Client(Frame),
    /// Its session ended: the client still waits and is owed an answer.
    SessionEnded,
}

impl CallCancel {
    /// Why it fired; the first reason counts. `None` before, and when it was taken already.
    pub fn take_reason(&self) -> Option<Reason> {
        self.reason.lock().take()
    }

    fn fire(&self, reason: Reason) {
        if !self.signal.has_fired() {
            *self.reason.lock() = Some(reason);
            self.signal.fire();
        }
    }
}

/// Right to run one request; handed back by [`InFlight::release`].
#[derive(Clone, Debug)]
pub struct Claim {
    /// Tells this request from a later one with the same id.
    pub serial: u64,
    /// Fires when the call is given up.
    pub cancel: Arc<CallCancel>,
}

impl InFlight {
    /// Claims `id` (raw).
    ///
    /// # Errors
    ///
    /// Fails when the session has ended, when the id is in use, when `max` requests are in flight, or when the request
    /// was cancelled already.
    pub fn claim(&mut self, id: &str, max: usize, now: Instant) -> Result<Claim, CallError> {
        if self.ended {
            return Err(CallError::SessionEnded);
        }
        if self.calls.iter().any(|flight| *flight.id == *id) {
            let what = format!("request id {id} is already in flight in this session");
            return Err(CallError::InvalidRequest { what: what.into() });
        }
        if self.calls.len() >= max {
            return Err(CallError::Overloaded {
                what: "the session has too many calls in flight",
            });
        }
        self.early.retain(|(_, until)| *until > now);
        if let Some(at) = self.early.iter().position(|(early, _)| **early == *id) {
            self.early.remove(at);
            return Err(CallError::Cancelled);
        }
        self.serial += 1;
        let cancel = Arc::new(CallCancel::default());
        self.calls.push(Flight {
            id: id.into(),
            serial: self.serial,
            cancel: Arc::clone(&cancel),
        });
        Ok(Claim {
            serial: self.serial,
            cancel,
        })
    }

    /// Cancels `id`, or remembers the cancel until its request arrives.
    pub fn cancel(&mut self, id: &str, notification: Frame, now: Instant) {
        if let Some(flight) = self.calls.iter().find(|flight| *flight.id == *id) {
            flight.cancel.fire(Reason::Client(notification));
            return;
        }
        self.early.retain(|(_, until)| *until > now);
        if self.early.len() < EARLY_CANCELS_MAX {
            self.early.push((id.into(), now + EARLY_CANCEL_KEPT));
        }
    }

    /// Ends a claim.
    pub fn release(&mut self, serial: u64) {
        self.calls.retain(|flight| flight.serial != serial);
    }

    /// Gives up everything, when the session ends. Each claim is still released by its call.
    pub fn end(&mut self) {
        self.ended = true;
        for flight in &self.calls {
            flight.cancel.fire(Reason::SessionEnded);
        }
    }

    /// Requests in flight.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::jsonrpc::Limits;
    use proptest::prelude::*;

    use super::*;

    fn cancelled() -> Frame {
        let text =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_in_flight_is_refused_until_released() {
        let (mut calls, now) = (InFlight::default(), Instant::now());
        let first = calls.claim("1", 8, now).unwrap();
        assert!(matches!(
            calls.claim("1", 8, now),
            Err(CallError::InvalidRequest { .. })
        ));
        assert!(
            calls.claim("\"1\"", 8, now).is_ok(),
            "a string is another id than a number"
        );
        calls.release(first.serial);
        assert!(calls.claim("1", 8, now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_refuses_at_once() {
        let (mut calls, now) = (InFlight::default(), Instant::now());
        calls.claim("1", 1, now).unwrap();
        assert!(matches!(
            calls.claim("2", 1, now),
            Err(CallError::Overloaded { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_reaches_its_call_with_the_notification() {
        let (mut calls, now) = (InFlight::default(), Instant::now());
        let claim = calls.claim("1", 8, now).unwrap();
        calls.cancel("1", cancelled(), now);
        assert!(claim.cancel.signal.has_fired());
        assert!(matches!(
            claim.cancel.take_reason(),
            Some(Reason::Client(_))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_session_reaches_its_calls_and_no_other_can_begin() {
        let (mut calls, now) = (InFlight::default(), Instant::now());
        let claim = calls.claim("1", 8, now).unwrap();
        calls.end();
        // What comes later changes nothing.
        calls.cancel("1", cancelled(), now);
        assert!(matches!(
            claim.cancel.take_reason(),
            Some(Reason::SessionEnded)
        ));
        assert!(matches!(
            calls.claim("2", 8, now),
            Err(CallError::SessionEnded)
        ));
        calls.release(claim.serial);
        assert!(calls.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_cancel_matches_on_arrival_for_thirty_seconds() {
        let (mut calls, now) = (InFlight::default(), Instant::now());
        calls.cancel("1", cancelled(), now);
        assert!(matches!(
            calls.claim("1", 8, now),
            Err(CallError::Cancelled)
        ));
        calls.cancel("2", cancelled(), now);
        let later = now + EARLY_CANCEL_KEPT;
        assert!(calls.claim("2", 8, later).is_ok());
    }

    /// What a client does with its request ids.
    #[derive(Clone, Debug)]
    enum Deed {
        Claim(u8),
        Cancel(u8),
        /// The oldest running call ends.
        End,
    }

    proptest! {
        /// Against a model that keeps sets of ids.
        #[test]
        fn in_every_order_a_cancel_meets_its_request_once(
            deeds in proptest::collection::vec(
                prop_oneof![(0..4_u8).prop_map(Deed::Claim), (0..4_u8).prop_map(Deed::Cancel), Just(Deed::End)],
                0..60,
            )
        ) {
            let now = Instant::now();
            let mut calls = InFlight::default();
            let mut running: Vec<(u8, Claim, bool)> = Vec::new();
            let mut early = Vec::new();
            for deed in deeds {
                match deed {
                    Deed::Claim(id) => match calls.claim(&id.to_string(), 3, now) {
                        Ok(claim) => {
                            prop_assert!(running.iter().all(|(other, ..)| *other != id));
                            prop_assert!(running.len() < 3 && !early.contains(&id));
                            running.push((id, claim, false));
                        }
                        Err(CallError::Cancelled) => {
                            let at = early.iter().position(|other| *other == id);
                            prop_assert!(at.is_some(), "nobody cancelled {}", id);
                            early.remove(at.unwrap());
                        }
                        Err(CallError::InvalidRequest { .. }) => {
                            prop_assert!(running.iter().any(|(other, ..)| *other == id));
                        }
                        Err(_) => prop_assert_eq!(running.len(), 3),
                    },
                    Deed::Cancel(id) => {
                        calls.cancel(&id.to_string(), cancelled(), now);
                        match running.iter_mut().find(|(other, ..)| *other == id) {
                            Some((.., is_cancelled)) => *is_cancelled = true,
                            None if early.len() < EARLY_CANCELS_MAX => early.push(id),
                            None => {}
                        }
                    }
                    Deed::End if !running.is_empty() => {
                        let (_, claim, _) = running.remove(0);
                        calls.release(claim.serial);
                    }
                    Deed::End => {}
                }
                prop_assert_eq!(calls.len(), running.len());
                for (_, claim, is_cancelled) in &running {
                    prop_assert_eq!(claim.cancel.signal.has_fired(), *is_cancelled);
                }
            }
        }
    }
}
