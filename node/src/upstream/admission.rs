//! What a call holds at its server while it runs, given back when it ends or is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lockgate_proto::id::ServerName;
use tokio::time::Instant;

use crate::error::UpstreamError;

use super::breaker::{Cause, Permit};
use super::endpoint::Endpoint;
use super::shared::Shared;

/// Calls of one server.
#[derive(Debug, Default)]
pub(super) struct Calls {
    in_flight: AtomicUsize,
    tickets: AtomicU64,
}

impl Calls {
    /// Calls in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// A number that grows by one with each call.
    pub(super) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }
}

/// One of the server's places for calls in flight.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
}

impl Place {
    /// Takes a place.
    ///
    /// # Errors
    ///
    /// `AtLimit` when none is left.
    pub(super) fn take(shared: &Arc<Shared>) -> Result<Self, UpstreamError> {
        let limit = shared.settings.in_flight_max;
        // Made before the check: its drop undoes the addition either way.
        let place = Self {
            shared: Arc::clone(shared),
        };
        if shared.calls.in_flight.fetch_add(1, Ordering::AcqRel) >= limit {
            return Err(UpstreamError::AtLimit {
                server: shared.settings.name.clone(),
                limit,
                what: "calls in flight",
            });
        }
        Ok(place)
    }
}

impl Place {
    /// Whose it is.
    pub(super) fn server(&self) -> &ServerName {
        &self.shared.settings.name
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.shared.calls.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.on_idle();
        }
    }
}

/// One attempt at one endpoint. Dropped without a verdict (the client went away) it says nothing about the server.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) endpoint: Arc<Endpoint>,
    permit: Option<Permit>,
    began: Instant,
    waited: Option<Duration>,
}

impl Admission {
    pub(super) fn new(endpoint: Arc<Endpoint>, permit: Permit) -> Self {
        endpoint.enter();
        Self {
            endpoint,
            permit: Some(permit),
            began: Instant::now(),
            waited: None,
        }
    }

    /// Notes the first sign of life; later ones change nothing. For a trial call it is the verdict: the answer itself
    /// may need a person's minutes, for which a breaker must not keep everybody waiting.
    pub(super) fn heard(&mut self) {
        if self.waited.is_none() {
            self.heard_at(Instant::now());
        }
    }

    fn heard_at(&mut self, now: Instant) {
        if self.waited.is_none() {
            let waited = now.saturating_duration_since(self.began);
            self.waited = Some(waited);
            if let Some(permit) = self.permit.take_if(|permit| permit.is_trial()) {
                permit.succeeded(waited);
            }
        }
    }

    /// The server answered.
    pub(super) fn succeed(mut self) {
        let now = Instant::now();
        self.heard_at(now);
        self.endpoint.answered(now);
        self.endpoint.set_healthy(true);
        if let Some(permit) = self.permit.take() {
            permit.succeeded(self.waited.unwrap_or_default());
        }
    }

    /// The attempt failed. Refusals that are no fault of the server count as answers.
    pub(super) fn fail(mut self, error: &UpstreamError) {
        let cause = match error {
            UpstreamError::Unreachable { .. } => Cause::Silent,
            UpstreamError::Timeout { .. }
            | UpstreamError::Broken { .. }
            | UpstreamError::Garbage { .. }
            | UpstreamError::Status { status: 500.., .. } => Cause::Failing,
            // It says nothing of whether the gateway is let in at all: that is for a health check to find out.
            UpstreamError::Status {
                status: 401 | 403, ..
            } => return self.not_let_in(),
            // Our own bound: the server was not asked.
            UpstreamError::AtLimit { .. } => return,
            _ => return self.succeed(),
        };
        self.endpoint.note_failure(error);
        self.failed(cause);
    }

    fn not_let_in(mut self) {
        self.heard_at(Instant::now());
        if let Some(permit) = self.permit.take() {
            permit.succeeded(self.waited.unwrap_or_default());
        }
    }

    /// The stream ended in order, but without the final response.
    pub(super) fn ended_early(mut self) {
        self.failed(Cause::Failing);
    }

    fn failed(&mut self, cause: Cause) {
        if let Some(permit) = self.permit.take() {
            permit.failed(cause);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}
