//! The way of one call to its server: permit, endpoint, attempt, and again where that is safe.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lockgate_proto::jsonrpc::find;
use lockgate_proto::mcp::{Era, code, method};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::UpstreamError;

use super::actor::Message;
use super::admission::{Admission, Place};
use super::breaker::Rejected;
use super::endpoint::Endpoint;
use super::guarded::{self, GuardedStream};
use super::jitter;
use super::link::{Outgoing, Reply};
use super::retry::{self, BudgetPermit, CallClass, Verdict};
use super::session_key::Owner;
use super::shared::{Shared, bit};

/// Sends a request of the stateless era by `owner`, to a server of either era.
pub(super) async fn call(
    shared: &Arc<Shared>,
    out: &Outgoing,
    class: CallClass,
    owner: &Owner<'_>,
) -> Result<Reply, UpstreamError> {
    let server = &shared.settings.name;
    if shared.is_bridged(Era::Stateless) || shared.down.takes(&out.frame, server) {
        // A type of its own, so that futures do not grow with the bridge.
        let bridged: BoxFuture<'_, _> =
            Box::pin(shared.down.call(shared, out.clone(), class, owner));
        return bridged.await;
    }
    call_native(shared, out, class, owner).await
}

/// Sends a request of the stateless era by `owner`, to a server that speaks it.
pub(super) async fn call_native(
    shared: &Arc<Shared>,
    out: &Outgoing,
    class: CallClass,
    owner: &Owner<'_>,
) -> Result<Reply, UpstreamError> {
    let place = Place::take(shared)?;
    let is_listen = out.frame.method() == method::LISTEN;
    let attempt = |endpoint: Arc<Endpoint>| async move { endpoint.far.call(out, owner).await };
    let (reply, admission) = run(shared, class, attempt).await?;
    if refuses_era(&reply) {
        shared.cast(Message::ErasDoubted);
    }
    if is_listen {
        // Lives as long as the client: neither a call in flight nor a measure of the server.
        admission.succeed();
        return Ok(reply);
    }
    guard(out, reply, admission, place)
}

/// Whether a server answers like one that does not know the stateless era (any more): it names other versions, or
/// asks for a session.
fn refuses_era(reply: &Reply) -> bool {
    let Reply::Single { status: 400, frame } = reply else {
        return false;
    };
    let code = frame
        .body()
        .and_then(|error| Some(find(error, "code")?.of(error).parse::<i32>()));
    const NO_SESSION: i32 = -32_000;
    matches!(
        code,
        Some(Ok(code::UNSUPPORTED_VERSION
            | code::INVALID_REQUEST
            | NO_SESSION))
    )
}

/// Runs `attempt` at the endpoint that the balance chooses, and at others as [`retry::decide`] says. The admission
/// that is returned with the answer is still to be settled.
pub(super) async fn run<T, F, R>(
    shared: &Arc<Shared>,
    class: CallClass,
    attempt: F,
) -> Result<(T, Admission), UpstreamError>
where
    F: Fn(Arc<Endpoint>) -> R,
    R: Future<Output = Result<T, UpstreamError>>,
{
    let mut trail = Trail::default();
    loop {
        let admission = match admit(shared, &trail).await {
            Ok(admission) => admission,
            Err(refusal) => return Err(trail.end(refusal)),
        };
        let endpoint = Arc::clone(&admission.endpoint);
        let index = endpoint.index;
        match attempt(endpoint).await {
            Ok(answer) => return Ok((answer, admission)),
            Err(error) => {
                settle_failure(shared, admission, &error);
                trail.note(shared, class, index, error).await?;
            }
        }
    }
}

/// What a call has been through.
#[derive(Debug, Default)]
pub(super) struct Trail {
    attempts: u32,
    tried: u64,
    /// How the last attempt ended that may have reached the server.
    failure: Option<UpstreamError>,
    /// Held while a second send is under way.
    budget: Option<BudgetPermit>,
}

impl Trail {
    /// Endpoints that have failed this call.
    pub(super) fn tried(&self) -> u64 {
        self.tried
    }

    /// Notes a failed attempt; returns when the next may begin, or the error when there is none.
    pub(super) async fn note(
        &mut self,
        shared: &Shared,
        class: CallClass,
        index: usize,
        error: UpstreamError,
    ) -> Result<(), UpstreamError> {
        self.attempts += 1;
        self.tried |= bit(index);
        let policy = &shared.settings.retry;
        match retry::decide(policy, class, &error, self.attempts, jitter::unit()) {
            Verdict::GiveUp => return Err(self.end(error)),
            Verdict::Elsewhere(_) if shared.has_other(self.tried) => {}
            Verdict::Elsewhere(wait) => {
                self.tried = 0;
                come_back(shared, wait).await;
            }
            Verdict::Again(wait) => {
                self.budget = None;
                self.budget = shared.budget.claim(policy, shared.calls.in_flight());
                if self.budget.is_none() {
                    return Err(error);
                }
                if !shared.has_other(self.tried) {
                    sleep(wait).await;
                }
            }
        }
        if !error.nothing_sent() {
            self.failure = Some(error);
        }
        Ok(())
    }

    /// The error of a call that ends with `last`. Where that says that nothing was sent, an attempt before it that may
    /// have reached the server counts for more.
    pub(super) fn end(&mut self, last: UpstreamError) -> UpstreamError {
        match self.failure.take() {
            Some(failure) if last.nothing_sent() => failure,
            _ => last,
        }
    }
}

/// Waits until somebody is found at an endpoint, but not longer than `limit`.
async fn come_back(shared: &Shared, limit: Duration) {
    let until = Instant::now() + limit;
    let mut news = shared.news.subscribe();
    shared.cast(Message::Wanted);
    while let Ok(Ok(())) = timeout_at(until, news.changed()).await {
        if shared.has_other(0) {
            return;
        }
    }
}

/// Claims the endpoint that the balance chooses.
async fn admit(shared: &Arc<Shared>, trail: &Trail) -> Result<Admission, UpstreamError> {
    pass_gate(shared, || shared.admit(trail.tried)).await
}

/// Claims one endpoint.
pub(super) async fn admit_at(
    shared: &Arc<Shared>,
    endpoint: &Arc<Endpoint>,
) -> Result<Admission, UpstreamError> {
    pass_gate(shared, || shared.admit_at(endpoint)).await
}

/// Claims with `claim`. A rejection that may not last is waited out: until a breaker lets the call pass, until nobody
/// is found anywhere, or until patience ends.
async fn pass_gate(
    shared: &Arc<Shared>,
    claim: impl Fn() -> Result<Admission, Rejected>,
) -> Result<Admission, UpstreamError> {
    if shared.is_draining() {
        return Err(gone(shared));
    }
    match claim() {
        Ok(admission) => return Ok(admission),
        Err(rejected) if !rejected.may_recover => return Err(shared.breaker_open(rejected)),
        Err(_) => {}
    }
    Box::pin(wait_at_gate(shared, claim)).await
}

async fn wait_at_gate(
    shared: &Arc<Shared>,
    claim: impl Fn() -> Result<Admission, Rejected>,
) -> Result<Admission, UpstreamError> {
    let until = Instant::now() + shared.patience();
    let mut news = shared.news.subscribe();
    shared.cast(Message::Wanted);
    loop {
        let over = !matches!(timeout_at(until, news.changed()).await, Ok(Ok(())));
        match claim() {
            Ok(admission) => return Ok(admission),
            Err(rejected) if over || !rejected.may_recover || shared.nobody_is_there() => {
                return Err(shared.breaker_open(rejected));
            }
            Err(_) => {}
        }
    }
}

/// The server was taken out of the configuration.
pub(super) fn gone(shared: &Shared) -> UpstreamError {
    UpstreamError::Unreachable {
        server: shared.settings.name.clone(),
        source: std::io::Error::new(
            std::io::ErrorKind::NotConnected,
            "the server was removed from the configuration",
        ),
    }
}

/// Reports a failed attempt to the breaker, and to the actor what concerns it.
pub(super) fn settle_failure(shared: &Shared, admission: Admission, error: &UpstreamError) {
    let endpoint = Arc::clone(&admission.endpoint);
    admission.fail(error);
    match error {
        UpstreamError::Unreachable { .. } => {
            endpoint.set_healthy(false);
            shared.cast(Message::Refused(endpoint.index));
        }
        UpstreamError::NoEra { .. } | UpstreamError::SessionLost { .. } => {
            shared.cast(Message::ErasDoubted);
        }
        UpstreamError::Status { status, .. } if (400..500).contains(status) => {
            shared.cast(Message::ErasDoubted);
        }
        _ => {}
    }
}

/// Ties what a call holds to the end of its answer.
///
/// # Errors
///
/// `Garbage` for an answer that nobody could read.
pub(super) fn guard(
    out: &Outgoing,
    reply: Reply,
    admission: Admission,
    place: Place,
) -> Result<Reply, UpstreamError> {
    let method = out.frame.method();
    match reply {
        Reply::Single { status, frame } => {
            if let Err(error) = guarded::check(&frame, has_content(&method), place.server()) {
                admission.fail(&error);
                return Err(error);
            }
            if status >= 500 {
                admission.ended_early();
            } else {
                admission.succeed();
            }
            Ok(Reply::Single { status, frame })
        }
        Reply::Stream(stream) => Ok(Reply::Stream(GuardedStream::guard(
            stream,
            has_content(&method),
            admission,
            place,
        ))),
    }
}

/// Whether a result of this method says anything: of the others, some servers give what is no object, and nobody minds.
fn has_content(name: &str) -> bool {
    matches!(
        name,
        method::TOOLS_CALL
            | method::TOOLS_LIST
            | method::PROMPTS_GET
            | method::PROMPTS_LIST
            | method::RESOURCES_READ
            | method::RESOURCES_LIST
            | method::TEMPLATES_LIST
            | method::COMPLETE
    )
}
