//! One request of a caller.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::{Principal, Tenant};
use lockgate_proto::jsonrpc::{Frame, Limits, encode_str};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::setting::{CAPABILITIES, LIMIT, Setting};
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::link::{self, Outgoing};
use crate::upstream::shared::Shared;
use crate::upstream::{CallClass, Owner};

/// Those who call. The first two have calls; the others bring states of the first: one is of another tenant, one comes
/// by another route.
pub(super) const CALLERS: usize = 4;

/// Member of `_meta` by which the server knows the request that began a call: on the way its id is another.
pub(super) const REQUEST: &str = "test/request";

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    tenant: Tenant,
    principal: Principal,
    is_scoped: bool,
}

impl Caller {
    pub(super) fn new(number: usize) -> Self {
        let (tenant, principal, is_scoped) = [
            ("north", "ann", true),
            ("north", "bob", true),
            ("south", "ann", true),
            ("north", "ann", false),
        ][number];
        Self {
            tenant: Tenant::new(tenant),
            principal: Principal::new(principal),
            is_scoped,
        }
    }

    pub(super) fn owner(&self) -> Owner<'_> {
        Owner {
            tenant: Some(&self.tenant),
            principal: &self.principal,
            scoped: self.is_scoped,
        }
    }
}

/// How a retry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Every question.
    Whole,
    /// Every question, and one that was not asked.
    WithOthers,
    /// None.
    Missing,
    /// Every question, in a shape that it does not want.
    Wrong,
}

impl Answers {
    /// Whether they are enough to go on.
    pub(super) fn suffice(self) -> bool {
        matches!(self, Self::Whole | Self::WithOthers)
    }

    /// Members of a retry's parameters. Each answer says which request has brought it.
    pub(super) fn members(self, state: &str, keys: &[String], request: usize) -> String {
        let answer = match self {
            Self::Wrong => "7".to_owned(),
            // Right for whatever is asked.
            _ => format!(r#"{{"action":"accept","roots":[],"content":{{"by":{request}}}}}"#),
        };
        let keys = keys.iter().filter(|_| self != Self::Missing);
        let mut answers: Vec<String> = keys.map(|key| format!(r#""{key}":{answer}"#)).collect();
        if self == Self::WithOthers {
            answers.push(r#""ask-99":7"#.to_owned());
        }
        format!(
            r#","requestState":{},"inputResponses":{{{}}}"#,
            encode_str(state),
            answers.join(",")
        )
    }
}

/// A retry, as far as its outcome depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// Which of the states.
    pub(super) round: usize,
    /// Whether caller and request are those that the state was made for.
    pub(super) is_own: bool,
    /// Whether it was sent when the state was good no more.
    pub(super) is_late: bool,
    /// Whether its round was the last of its call by then, and whoever ended it had the answer.
    pub(super) is_after: bool,
    pub(super) answers: Answers,
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(super) struct Client {
    /// Its id.
    pub(super) request: usize,
    pub(super) by: usize,
    /// Which of the caller's two calls.
    pub(super) side: usize,
    pub(super) retry: Option<Retry>,
    pub(super) task: JoinHandle<Reply>,
}

/// What a client gets, and when.
pub(super) type Reply = (Instant, Result<Frame, UpstreamError>);

/// The request of one side, with more members of its parameters.
pub(super) fn request(setting: Setting, side: usize, id: usize, more: &str) -> Outgoing {
    let what = if setting.are_alike { 0 } else { side };
    let capabilities = CAPABILITIES[setting.lane_of(side).1];
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t","arguments":{{"what":{what}}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities},"{REQUEST}":{id}}}{more}}}}}"#
    );
    Outgoing::plain(
        Frame::parse(text.into(), &Limits::default()).unwrap(),
        LIMIT,
    )
}

/// A call that its server never answers.
pub(super) fn endless(id: usize) -> Outgoing {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":"endless {id}","method":"tools/call","params":{{"name":"t"}}}}"#
    );
    let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
    Outgoing::plain(frame, Duration::from_secs(24 * 3600))
}

/// Sends it, and reads to the answer. To drop it is to go away.
pub(super) fn send(shared: &Arc<Shared>, caller: Caller, out: Outgoing) -> JoinHandle<Reply> {
    let shared = Arc::clone(shared);
    spawn_named("a client", async move {
        let owner = caller.owner();
        let call = shared.down.call(&shared, out, CallClass::Effect, &owner);
        let reply = match Box::pin(call).await {
            Ok(link::Reply::Single { frame, .. }) => Ok(frame),
            Ok(link::Reply::Stream(mut stream)) => stream.answer(&shared.settings.name).await,
            Err(error) => Err(error),
        };
        (Instant::now(), reply)
    })
}
