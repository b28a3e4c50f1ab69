//! Which eras a program speaks, found out on disposable siblings.
//!
//! Never on the process that will be used: one request of the wrong era makes some servers refuse the other era
//! for good, and others exit (`MCP.md` C1).

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, ParseError};
use lockgate_proto::mcp::{Revision, method};

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
    let discovered = ask(&settings, method::DISCOVER, channel::discover()).await;
    let init = SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: channel::own_client_info(),
        now_ms: 0,
    };
    let initialized = ask(&settings, method::INITIALIZE, channel::initialize(&init)).await;
    // Any failure of the first is an answer of sorts (`MCP.md` A8).
    let stateless = discovered.ok().and_then(|answer| stateless(&answer));
    verdict(&settings, stateless, initialized)
}

/// Weighs both answers. What went wrong with `initialize` is told where nothing else is spoken, and silence is told from
/// a refusal: it is no evidence.
fn verdict(
    settings: &ChildSettings,
    stateless: Option<Arc<str>>,
    initialized: Result<Frame, UpstreamError>,
) -> Result<Verdict, UpstreamError> {
    let session = initialized.and_then(|answer| {
        let no_mcp = |what| UpstreamError::NoMcp {
            server: settings.server.clone(),
            what,
        };
        channel::agreement(&answer).map_err(no_mcp)
    });
    match (stateless, session) {
        (None, Err(error)) => {
            tracing::debug!(server = %settings.server, %error, "no era is spoken");
            Err(error)
        }
        (stateless, session) => Ok(Verdict {
            stateless,
            session: session.ok().map(|agreement| agreement.result),
        }),
    }
}

fn stateless(answer: &Frame) -> Option<Arc<str>> {
    let body = answer.body()?;
    let offers = answer.kind() == Kind::Result && channel::offers_stateless(body);
    offers.then(|| body.into())
}

async fn ask(
    settings: &Arc<ChildSettings>,
    method: &'static str,
    question: Result<Frame, ParseError>,
) -> Result<Frame, UpstreamError> {
    let sibling = child::start(Arc::clone(settings)).await?;
    let question = sibling.ours(question)?;
    let answer = sibling.ask(Owner::NOBODY, question, ANSWER_TIMEOUT).await;
    sibling.stop().await;
    answer.map_err(|error| named(error, method))
}

/// Says what it was that stayed without an answer: the program may have answered everything else.
fn named(error: UpstreamError, method: &'static str) -> UpstreamError {
    match error {
        UpstreamError::Timeout { server, limit } => UpstreamError::Unanswered {
            server,
            method,
            limit,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    const DISCOVERED: &str = r#"{"supportedVersions":["2026-07-28"]}"#;
    const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25"}"#;

    /// `initialized`: the members of the answer, or nothing for silence. Returns whether each era is spoken, stateless
    /// first, or the reason why none is.
    fn weigh(stateless: Option<&str>, initialized: &str) -> Result<(bool, bool), String> {
        let settings = ChildSettings {
            server: "x".into(),
            command: "x".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            answer_bytes_max: 1 << 20,
        };
        let silence = || UpstreamError::Timeout {
            server: "x".into(),
            limit: ANSWER_TIMEOUT,
        };
        let initialized = match initialized {
            "" => Err(named(silence(), method::INITIALIZE)),
            members => {
                let text = format!(r#"{{"jsonrpc":"2.0","id":0,{members}}}"#);
                Ok(Frame::parse(text.into(), &Limits::default()).unwrap())
            }
        };
        match verdict(&settings, stateless.map(Arc::from), initialized) {
            Ok(verdict) => Ok((verdict.stateless.is_some(), verdict.session.is_some())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn one_era_is_enough() {
        let well = format!(r#""result":{INITIALIZED}"#);
        assert_eq!(weigh(Some(DISCOVERED), &well), Ok((true, true)));
        assert_eq!(weigh(Some(DISCOVERED), ""), Ok((true, false)));
        assert_eq!(weigh(None, &well), Ok((false, true)));
    }

    #[test]
    fn who_speaks_no_era_is_told_by_what_became_of_initialize() {
        let unknown = r#""result":{"protocolVersion":"1999-01-01"}"#;
        for (initialized, expected) in [
            ("", "server `x` does not answer `initialize` within 30s"),
            (
                unknown,
                "server `x` does not speak MCP: `initialize` answered with version `1999-01-01`, which is not known",
            ),
            (
                r#""result":{}"#,
                "server `x` does not speak MCP: `initialize` answered without a version",
            ),
            (
                r#""error":{"code":-32601,"message":"no such method"}"#,
                "server `x` does not speak MCP: `initialize` refused: no such method",
            ),
        ] {
            assert_eq!(weigh(None, initialized), Err(expected.to_owned()));
        }
    }
}
