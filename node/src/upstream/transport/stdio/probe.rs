//! Which eras a program speaks, found out on disposable siblings.
//!
//! Never on the process that will be used: one request of the wrong era makes some servers refuse the other era
//! for good, and others exit (`MCP.md` C1).

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, ParseError};
use lockgate_proto::mcp::Revision;

use super::child;
use super::settings::ChildSettings;
use crate::error::UpstreamError;
use crate::upstream::link::SessionInit;
use crate::upstream::transport::channel::{self, Owner};
use crate::upstream::transport::http::Verdict;

/// Longest wait for each of the two answers: a package runner may have to fetch the program first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Finds out which eras the program speaks: asks one sibling for `server/discover` and another for `initialize`.
///
/// # Errors
///
/// Fails when the program cannot be started, or ends or stays silent without a word of MCP; with `NoMcp` when it
/// answers and speaks no era.
pub async fn probe(settings: Arc<ChildSettings>) -> Result<Verdict, UpstreamError> {
    let discovered = ask(&settings, channel::discover()).await;
    let init = SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: channel::own_client_info(),
        now_ms: 0,
    };
    let initialized = ask(&settings, channel::initialize(&init)).await;
    // Any failure of the first is an answer of sorts (`MCP.md` A8); only a program that says nothing to either is
    // not there at all.
    if let (Err(_), Err(error)) = (&discovered, initialized.as_ref()) {
        tracing::debug!(server = %settings.server, %error, "no answer to either era");
        return initialized.map(|_| Verdict::default());
    }
    let verdict = Verdict {
        stateless: discovered.ok().and_then(|answer| stateless(&answer)),
        session: initialized.ok().and_then(|answer| {
            let agreement = channel::agreement(&answer).ok()?;
            Some(agreement.result)
        }),
    };
    if verdict == Verdict::default() {
        return Err(UpstreamError::NoMcp {
            server: settings.server.clone(),
            what: "the command answers, and refuses both `server/discover` and `initialize`"
                .to_owned(),
        });
    }
    Ok(verdict)
}

fn stateless(answer: &Frame) -> Option<Arc<str>> {
    let body = answer.body()?;
    let offers = answer.kind() == Kind::Result && channel::offers_stateless(body);
    offers.then(|| body.into())
}

async fn ask(
    settings: &Arc<ChildSettings>,
    question: Result<Frame, ParseError>,
) -> Result<Frame, UpstreamError> {
    let sibling = child::start(Arc::clone(settings)).await?;
    let question = sibling.ours(question)?;
    let answer = sibling.ask(Owner::NOBODY, question, ANSWER_TIMEOUT).await;
    sibling.stop().await;
    answer
}
