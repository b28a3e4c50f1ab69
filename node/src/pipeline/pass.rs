//! What a call has to pass before its server: policy, the node's bound, quotas.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::rights::Question;
use super::{Incoming, Pipeline};
use crate::error::CallError;
use crate::policy::Draw;
use crate::route::Entry;

/// Rule in the audit line of an allowed call that this node has no place for.
pub(super) const OVERLOADED: &str = "overloaded";

/// One call's place under the node's bound; given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pipeline {
    /// Policy, a place on this node, quotas: the rule that decided, and the place if all of them let the call through.
    pub(super) async fn pass<'a>(
        &self,
        incoming: &Incoming<'a>,
        question: Question<'_>,
        entry: &Entry,
    ) -> (Cow<'a, str>, Result<Admitted, CallError>) {
        let access = &incoming.who.access;
        let verdict = question.verdict(access);
        if !verdict.allowed {
            return (verdict.rule.into(), Err(question.denied(verdict)));
        }
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return (OVERLOADED.into(), Err(error)),
        };
        let server = &entry.settings.name;
        let cost_micros = question
            .tool()
            .map_or(0, |own| access.tool_rules().cost_micros(server, own));
        let draw = Draw {
            caller: &incoming.who.caller,
            server,
            tool: question.tool().map(|_| question.shown()),
            cost_micros,
        };
        let paid = self.quotas.pay(&draw).await;
        if let Err(CallError::QuotaExceeded { quota, per, .. })
        | Err(CallError::QuotaUnavailable { quota, per, .. }) = &paid
        {
            self.metrics.limited(per);
            return (format!("quota {quota}").into(), paid.map(|()| admitted));
        }
        (verdict.rule.into(), paid.map(|()| admitted))
    }

    fn admit(&self) -> Result<Admitted, CallError> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(Arc::clone(&self.calls));
        if before >= self.calls_max {
            self.metrics.limited("node");
            return Err(CallError::Overloaded {
                what: "this node has too many calls in flight",
            });
        }
        Ok(admitted)
    }
}
