//! Which eras a server is found to speak.

use super::client::endpoint;
use super::server::{Answer, Seen, Server, bare, json, result_for};
use crate::error::UpstreamError;
use crate::upstream::transport::http::Verdict;

const DISCOVERED: &str =
    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#;

#[derive(Clone, Copy, Debug)]
enum Said {
    Result(&'static str),
    Error(u16, i32),
    Bare(u16),
}

fn say(seen: &Seen, said: Said) -> Answer {
    match said {
        Said::Result(result) => json(200, result_for(seen, result)),
        Said::Error(status, code) => {
            let error = format!(r#""error":{{"code":{code},"message":"no"}}"#);
            json(
                status,
                result_for(seen, "0").replace("\"result\":0", &error),
            )
        }
        Said::Bare(status) => bare(status),
    }
}

async fn probe(
    discover: Said,
    initialize: Said,
) -> (Result<(bool, bool), UpstreamError>, Vec<Seen>) {
    let server = Server::start(move |seen| async move {
        if seen.is_call("server/discover") {
            say(&seen, discover)
        } else if seen.is_call("initialize") {
            let mut answer = say(&seen, initialize);
            let id = http::HeaderValue::from_static("s");
            answer.headers_mut().insert("mcp-session-id", id);
            answer
        } else {
            bare(202)
        }
    })
    .await;
    let verdict = endpoint(&server.url()).probe().await;
    let log = server.log.lock().clone();
    let told = |Verdict { stateless, session }| {
        assert!(stateless.is_none_or(|raw| &*raw == DISCOVERED));
        assert!(session.is_none_or(|raw| &*raw == INITIALIZED));
    };
    (
        verdict.map(|verdict| {
            let found = (verdict.stateless.is_some(), verdict.session.is_some());
            told(verdict);
            found
        }),
        log,
    )
}

/// `expected`: stateless, session; `None` is an error.
async fn check(discover: Said, initialize: Said, expected: Option<(bool, bool)>) {
    let (found, _) = probe(discover, initialize).await;
    assert_eq!(found.as_ref().ok(), expected.as_ref(), "{found:?}");
}

#[tokio::test]
async fn each_era_is_found_by_itself() {
    let (yes, also) = (Said::Result(DISCOVERED), Said::Result(INITIALIZED));
    check(yes, also, Some((true, true))).await;
    check(yes, Said::Error(400, -32022), Some((true, false))).await;
    check(yes, Said::Bare(404), Some((true, false))).await;
    check(Said::Error(400, -32000), also, Some((false, true))).await;
    check(Said::Error(200, -32601), also, Some((false, true))).await;
    check(Said::Bare(400), also, Some((false, true))).await;
}

#[tokio::test]
async fn an_address_that_speaks_no_era_is_told_by_how_it_refuses() {
    for (discover, initialize, expected) in [
        (Said::Bare(404), Said::Bare(404), "answers 404; is the path"),
        (Said::Bare(404), Said::Bare(405), "answers 405; is the path"),
        (
            Said::Error(200, -32601),
            Said::Error(200, -32601),
            "refuses both",
        ),
    ] {
        let (found, _) = probe(discover, initialize).await;
        let Err(UpstreamError::NoMcp { what, .. }) = &found else {
            panic!("{found:?}");
        };
        assert!(what.starts_with("http://127.0.0.1:"), "{what}");
        assert!(what.contains(expected), "{what}");
    }
}

#[tokio::test]
async fn a_discovery_without_the_revision_is_none() {
    let old = Said::Result(r#"{"supportedVersions":["2025-11-25"]}"#);
    check(old, Said::Result(INITIALIZED), Some((false, true))).await;
}

#[tokio::test]
async fn a_refused_credential_is_no_evidence() {
    let also = Said::Result(INITIALIZED);
    check(Said::Bare(401), also, None).await;
    check(Said::Error(403, -32600), also, None).await;
    check(Said::Result(DISCOVERED), Said::Bare(401), None).await;
    check(Said::Result(DISCOVERED), Said::Error(401, -32600), None).await;
}

#[tokio::test]
async fn a_server_in_trouble_is_no_evidence() {
    let also = Said::Result(INITIALIZED);
    check(Said::Bare(503), also, None).await;
    check(Said::Error(502, -32603), also, None).await;
    check(Said::Bare(500), Said::Bare(500), None).await;
}

#[tokio::test]
async fn a_server_that_trips_over_one_era_still_speaks_the_other() {
    check(
        Said::Bare(500),
        Said::Result(INITIALIZED),
        Some((false, true)),
    )
    .await;
    check(
        Said::Result(DISCOVERED),
        Said::Bare(500),
        Some((true, false)),
    )
    .await;
}

#[tokio::test]
async fn no_connection_is_no_evidence() {
    let server = Server::start(|_| async { bare(500) }).await;
    let endpoint = endpoint(&server.url());
    server.stop().await;
    let error = endpoint.probe().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }));
}

#[tokio::test]
async fn the_throw_away_session_is_ended_and_discovery_is_well_formed() {
    let (_, log) = probe(Said::Result(DISCOVERED), Said::Result(INITIALIZED)).await;
    let said: Vec<_> = log
        .iter()
        .map(|seen| (seen.method.as_str(), seen.header("mcp-session-id")))
        .collect();
    assert_eq!(
        said,
        [
            ("POST", None),
            ("POST", None),
            ("POST", Some("s")),
            ("DELETE", Some("s"))
        ]
    );
    assert_eq!(log[0].header("mcp-method"), Some("server/discover"));
    assert_eq!(log[0].header("mcp-protocol-version"), Some("2026-07-28"));
    assert!(
        log[0]
            .body
            .contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#)
    );
}
