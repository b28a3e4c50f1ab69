//! Rights that are taken away while a call runs: it ends with the refusal that it would meet now.

use std::borrow::Cow;
use std::sync::Arc;

use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::method;

use crate::error::{CallError, Object};
use crate::identity::{Authenticated, Identities, WITHDRAWN};
use crate::policy::{Access, Verdict};
use crate::route::{Entry, Plan};

use super::{Incoming, denied};

/// Methods that ask for no grant of their own: policy decides on the tool, the prompt or the resource, and lists show what
/// may be used. Who denies them by name means it all the same.
static DENIABLE: [&str; 19] = [
    method::TOOLS_CALL,
    method::TOOLS_LIST,
    method::PROMPTS_GET,
    method::PROMPTS_LIST,
    method::RESOURCES_READ,
    method::RESOURCES_LIST,
    method::TEMPLATES_LIST,
    method::DIRECTORY_READ,
    method::SUBSCRIBE,
    method::UNSUBSCRIBE,
    method::LISTEN,
    method::COMPLETE,
    method::SET_LEVEL,
    method::SKILLS_LIST,
    method::SKILLS_GET,
    method::TASKS_GET,
    method::TASKS_RESULT,
    method::TASKS_UPDATE,
    method::TASKS_CANCEL,
];

/// `called`, if a role may deny it by its name.
pub(super) fn deniable(called: &str) -> Option<&'static str> {
    DENIABLE.iter().copied().find(|name| *name == called)
}

/// What policy decides on for one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    object: Object,
    shown: &'a str,
    server: &'a ServerName,
    /// The server's own name of a tool that is called.
    tool: Option<&'a str>,
    /// A method that roles may deny by its name, although policy decides on something else.
    method: Option<&'static str>,
}

impl<'a> Question<'a> {
    pub(super) fn new(incoming: &Incoming<'_>, entry: &'a Entry, plan: &'a Plan<'_>) -> Self {
        let is_call = plan.object == Object::Tool && incoming.frame.method() == method::TOOLS_CALL;
        Self {
            object: plan.object,
            shown: &plan.shown,
            server: &entry.settings.name,
            tool: plan.own.as_deref().filter(|_| is_call),
            method: deniable(&incoming.frame.method()),
        }
    }

    /// Name or URI as the client wrote it.
    pub(super) fn shown(&self) -> &'a str {
        self.shown
    }

    pub(super) fn denied(&self, verdict: Verdict<'_>) -> CallError {
        let object = match (self.object, self.method) {
            // Here it is the method that `shown` names.
            (Object::Server, Some(_)) => Object::Method,
            (object, _) => object,
        };
        denied(object, self.shown.to_owned(), verdict)
    }

    /// The server's own name of a tool that is called.
    pub(super) fn tool(&self) -> Option<&'a str> {
        self.tool
    }

    pub(super) fn verdict<'b>(&self, access: &'b Access) -> Verdict<'b> {
        let denial = self.method.and_then(|method| access.method_denial(method));
        if let Some(denial) = denial {
            return denial;
        }
        match (self.object, self.tool) {
            (Object::Tool, Some(own)) => access.decide_tool(self.shown, self.server, own),
            (Object::Server, _) => access.decide(Object::Server, self.server.as_str(), None),
            _ => access.decide(self.object, self.shown, Some(self.server)),
        }
    }

    /// Waits until `who` may not do this any more, and says why. `who` is what the caller was found to be last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn lost(self, identities: &Identities, who: &Arc<Authenticated>) -> CallError {
        let mut who = Cow::Borrowed(who);
        loop {
            let Some(now) = identities.changed(&who).await else {
                return CallError::Unauthenticated { what: WITHDRAWN };
            };
            let verdict = self.verdict(&now.access);
            if !verdict.allowed {
                return self.denied(verdict);
            }
            who = Cow::Owned(now);
        }
    }
}

/// The same for a call that streams: it outlives the request that asked.
#[derive(Debug)]
pub(super) struct Rights {
    identities: Arc<Identities>,
    who: Arc<Authenticated>,
    object: Object,
    shown: Box<str>,
    server: ServerName,
    tool: Option<Box<str>>,
    method: Option<&'static str>,
}

impl Rights {
    pub(super) fn new(
        identities: &Arc<Identities>,
        incoming: &Incoming<'_>,
        question: Question<'_>,
    ) -> Self {
        Self {
            identities: Arc::clone(identities),
            who: Arc::clone(incoming.who),
            object: question.object,
            shown: question.shown.into(),
            server: question.server.clone(),
            tool: question.tool.map(Into::into),
            method: question.method,
        }
    }

    /// See [`Question::lost`].
    pub(super) async fn lost(&self) -> CallError {
        let question = Question {
            object: self.object,
            shown: &self.shown,
            server: &self.server,
            tool: self.tool.as_deref(),
            method: self.method,
        };
        question.lost(&self.identities, &self.who).await
    }
}
