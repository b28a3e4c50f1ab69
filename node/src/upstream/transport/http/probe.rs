//! Which eras a server speaks (`MCP.md` A8). `server/discover` does not tell whether the session era works too, and a
//! session does not tell about the other, so both are tried, each for itself.

use std::sync::Arc;

use http::{HeaderValue, Uri};
use lockgate_proto::jsonrpc::{Frame, Kind, find};
use lockgate_proto::mcp::{Revision, code, method};
use tracing::{debug, warn};

use super::answer::{error_code, error_message};
use super::endpoint::HttpEndpoint;
use super::handshake::OWN_ID;
use super::heard::turns_away;
use super::session::HttpSession;
use super::template::MCP_METHOD;
use crate::error::UpstreamError;
use crate::upstream::link::{Outgoing, Reply, SessionInit};

/// So much of an address is shown that a server named.
const SHOWN_CHARS_MAX: usize = 200;

/// What a probe found out (`MCP.md` A8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Raw `DiscoverResult`, when the server speaks the stateless era.
    pub stateless: Option<Arc<str>>,
    /// Raw `InitializeResult`, when it speaks the session era.
    pub session: Option<Arc<str>>,
}

/// What the question about one era came to.
#[derive(Debug)]
enum Finding {
    /// It does; the raw result.
    Speaks(Arc<str>),
    /// It does not; how it was refused, where a status alone says so.
    Silent(Option<Refusal>),
    /// Neither was shown.
    Unclear(UpstreamError),
}

/// A status, and where it leads.
#[derive(Debug)]
struct Refusal {
    status: u16,
    location: Option<Box<Uri>>,
}

const CLIENT_INFO: &str = concat!(
    r#"{"name":"lockgate","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

pub(super) async fn probe(endpoint: &HttpEndpoint) -> Result<Verdict, UpstreamError> {
    let stateless = discover(endpoint).await?;
    let session = initialize(endpoint).await?;
    verdict(endpoint, stateless, session)
}

/// Weighs both findings. An unclear one is only let pass beside a clear one for the other era.
fn verdict(
    endpoint: &HttpEndpoint,
    stateless: Finding,
    session: Finding,
) -> Result<Verdict, UpstreamError> {
    match (stateless, session) {
        (Finding::Speaks(discovered), session) => Ok(Verdict {
            stateless: Some(discovered),
            session: session.result(),
        }),
        (stateless, Finding::Speaks(initialized)) => Ok(Verdict {
            stateless: stateless.result(),
            session: Some(initialized),
        }),
        (Finding::Unclear(error), _) | (_, Finding::Unclear(error)) => Err(error),
        (Finding::Silent(_), Finding::Silent(refusal)) => {
            let address = &endpoint.settings().address;
            Err(endpoint.blame().no_mcp(stranger(address, refusal)))
        }
    }
}

/// What to say of an address that spoke no era, and refused `initialize` with a status if by nothing more.
fn stranger(address: &str, refusal: Option<Refusal>) -> String {
    let Some(Refusal { status, location }) = refusal else {
        return format!("{address} answers, and refuses both `server/discover` and `initialize`");
    };
    if (300..400).contains(&status) {
        // What a variable stands for in our own address may stand in the other one.
        let shown = location.filter(|_| !address.contains("${"));
        let leads = shown.map_or_else(
            || "leads elsewhere".to_owned(),
            |uri| format!("leads to {}", bare(&uri)),
        );
        return format!(
            "{address} answers {status}, which {leads} and is not followed; give the address that it leads to"
        );
    }
    let hint = if address.ends_with("/mcp") {
        "is the path right?"
    } else {
        "is the path /mcp?"
    };
    format!("{address} answers {status}; {hint}")
}

/// Without user, password and query, which may be secrets, and not longer than one reads.
fn bare(uri: &Uri) -> String {
    // Without a scheme (RFC 3986, section 4.2) what is a host is taken for a path here.
    let (scheme, authority, path) = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => (format!("{scheme}:"), authority.as_str(), uri.path()),
        _ => match uri.path().strip_prefix("//") {
            Some(rest) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (String::new(), host, path)
            }
            None => return shortened(uri.path()),
        },
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    shortened(&format!("{scheme}//{host}{path}"))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Finding {
    fn result(self) -> Option<Arc<str>> {
        match self {
            Self::Speaks(result) => Some(result),
            Self::Silent(_) | Self::Unclear(_) => None,
        }
    }

    /// What an error says. A server that trips over an unknown method or header answers with 500 or a page of HTML,
    /// which does not speak against the other era; a gateway's 502, a refused credential or a lost connection says
    /// nothing about either.
    fn of_error(error: UpstreamError) -> Result<Self, UpstreamError> {
        match error {
            UpstreamError::NoEra { .. } => Ok(Self::Silent(None)),
            UpstreamError::Status {
                status: 500 | 501, ..
            } => Ok(Self::Unclear(error)),
            UpstreamError::Status {
                status, location, ..
            } if !turns_away(status) => Ok(Self::Silent(Some(Refusal { status, location }))),
            UpstreamError::Garbage { .. } => Ok(Self::Unclear(error)),
            _ => Err(error),
        }
    }
}

async fn discover(endpoint: &HttpEndpoint) -> Result<Finding, UpstreamError> {
    let revision = Revision::V2026_07_28;
    let mut out = endpoint.own(format!(
        r#"{{"jsonrpc":"2.0","id":"{OWN_ID}discover","method":"{}","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{revision}","io.modelcontextprotocol/clientInfo":{CLIENT_INFO},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#,
        method::DISCOVER
    ))?;
    out.headers
        .push((MCP_METHOD, HeaderValue::from_static(method::DISCOVER)));
    let (status, answer) = match ask(endpoint, out).await {
        Ok(answer) => answer,
        Err(error) => return Finding::of_error(error),
    };
    if answer.kind() == Kind::Result {
        let result = answer.body().unwrap_or_default();
        return Ok(if offers(result, revision) {
            Finding::Speaks(result.into())
        } else {
            // The way in which some servers of the session era advertise themselves.
            Finding::Silent(None)
        });
    }
    let error_code = error_code(&answer);
    let message = error_message(&answer);
    if turns_away(status) {
        return Finding::of_error(endpoint.blame().status(status));
    }
    if is_stateless_error(status, error_code) {
        warn!(
            ?error_code,
            message, "server speaks the stateless era and refuses to be discovered"
        );
    } else {
        debug!(
            ?error_code,
            message, "server does not speak the stateless era"
        );
    }
    Ok(Finding::Silent(None))
}

async fn initialize(endpoint: &HttpEndpoint) -> Result<Finding, UpstreamError> {
    let init = SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: CLIENT_INFO.into(),
        now_ms: 0,
    };
    match HttpSession::open(endpoint.clone(), init).await {
        Ok(session) => {
            session.close().await;
            Ok(Finding::Speaks(session.initialize_result()))
        }
        Err(error) => Finding::of_error(error),
    }
}

async fn ask(endpoint: &HttpEndpoint, out: Outgoing) -> Result<(u16, Frame), UpstreamError> {
    let reply = endpoint.call(&out).await?;
    match reply {
        Reply::Single { status, frame } => Ok((status, frame)),
        Reply::Stream(mut stream) => {
            while let Some(frame) = stream.next().await? {
                if matches!(frame.kind(), Kind::Result | Kind::Error) {
                    return Ok((200, frame));
                }
            }
            Err(endpoint.blame().garbage("no answer among the messages"))
        }
    }
}

/// Whether a `DiscoverResult` names `revision`.
fn offers(result: &str, revision: Revision) -> bool {
    let Some(versions) = find(result, "supportedVersions") else {
        return false;
    };
    let Ok(versions) = serde_json::from_str::<Vec<String>>(versions.of(result)) else {
        return false;
    };
    versions.iter().any(|version| version == revision.as_str())
}

/// Errors that only a server of the stateless era gives.
fn is_stateless_error(status: u16, error_code: Option<i64>) -> bool {
    const OWN: [i32; 3] = [
        code::HEADER_MISMATCH,
        code::MISSING_CAPABILITY,
        code::UNSUPPORTED_VERSION,
    ];
    let is = |code: i32| error_code == Some(i64::from(code));
    (status == 400 && OWN.into_iter().any(is)) || (status == 404 && is(code::METHOD_NOT_FOUND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        let check = |location: &str, shown: &str| {
            assert_eq!(bare(&location.parse().unwrap()), shown, "{location}");
        };
        check("https://u:p@a.example:1/mcp?k=p", "https://a.example:1/mcp");
        check("//u:p@a.example/mcp?k=p", "//a.example/mcp");
        check("//u:p@a.example", "//a.example");
        check("/mcp/?k=p", "/mcp/");
        let long = format!("/{}", "x".repeat(1000));
        check(&long, &format!("{}…", &long[..SHOWN_CHARS_MAX]));
    }
}
