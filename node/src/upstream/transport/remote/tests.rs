use std::sync::atomic::Ordering;

use http::Method;

use super::*;
use crate::upstream::transport::http::tests::client::{endpoint, init};
use crate::upstream::transport::sse::tests::peer::Peer;

fn remote(peer: &Peer, choice: HttpTransport) -> Remote {
    Remote::new(endpoint(&peer.url()), choice)
}

/// A server that answers a POST to the address of its stream with `status`.
async fn peer(status: u16) -> Peer {
    let peer = Peer::start().await;
    peer.world.elsewhere.store(status, Ordering::SeqCst);
    peer
}

fn n_gets(peer: &Peer) -> usize {
    peer.n_requests(&Method::GET, "/sse")
}

fn n_posts(peer: &Peer) -> usize {
    peer.n_requests(&Method::POST, "/sse")
}

fn is_no_mcp(probed: Result<Verdict, UpstreamError>, words: &str) -> bool {
    matches!(probed, Err(UpstreamError::NoMcp { what, .. }) if what.contains(words))
}

#[tokio::test]
async fn a_probe_finds_a_stream_where_posts_are_refused() {
    // 500: some routers trip over the method.
    for status in [400, 404, 405, 500] {
        let peer = peer(status).await;
        let remote = remote(&peer, HttpTransport::Auto);
        let verdict = remote.probe().await.unwrap();
        assert!(verdict.stateless.is_none(), "{status}");
        assert!(verdict.session.unwrap().contains("old"), "{status}");
        assert_eq!(remote.wire(), Some(Wire::Sse), "{status}");
    }
}

#[tokio::test]
async fn what_is_no_evidence_leads_to_no_other_question() {
    for status in [401, 403, 429, 503] {
        let peer = peer(status).await;
        let remote = remote(&peer, HttpTransport::Auto);
        let error = remote.probe().await.unwrap_err();
        assert!(
            matches!(error, UpstreamError::Status { status: told, .. } if told == status),
            "{error:?}"
        );
        assert!(remote.open(init()).await.is_err());
        assert_eq!((n_gets(&peer), remote.wire()), (0, None), "{status}");
    }
}

#[tokio::test]
async fn a_server_that_answers_posts_is_not_asked_for_a_stream() {
    let peer = peer(200).await;
    let remote = remote(&peer, HttpTransport::Auto);
    assert!(remote.probe().await.unwrap().session.is_some());
    assert_eq!(remote.wire(), Some(Wire::Streamable));
    assert!(matches!(
        remote.open(init()).await.unwrap(),
        UpstreamSession::Http(_)
    ));
    assert_eq!(n_gets(&peer), 0);
}

#[tokio::test]
async fn a_session_finds_the_transport_without_a_probe_and_remembers_it() {
    let peer = peer(404).await;
    let remote = remote(&peer, HttpTransport::Auto);
    for _ in 0..3 {
        let session = remote.open(init()).await.unwrap();
        assert!(matches!(session, UpstreamSession::Channel(_)));
    }
    assert_eq!((n_posts(&peer), n_gets(&peer)), (1, 3));
}

#[tokio::test]
async fn a_server_that_learned_the_newer_transport_is_found_again() {
    for probed in [true, false] {
        let peer = peer(405).await;
        let remote = remote(&peer, HttpTransport::Auto);
        remote.open(init()).await.unwrap();
        assert_eq!(remote.wire(), Some(Wire::Sse));
        peer.world.elsewhere.store(200, Ordering::SeqCst);
        if probed {
            remote.probe().await.unwrap();
        }
        let session = remote.open(init()).await.unwrap();
        assert!(matches!(session, UpstreamSession::Http(_)));
        assert_eq!(remote.wire(), Some(Wire::Streamable));
    }
}

#[tokio::test]
async fn a_decreed_transport_is_the_only_one_that_is_tried() {
    let peer = peer(405).await;
    let streamable = remote(&peer, HttpTransport::Streamable);
    assert!(is_no_mcp(streamable.probe().await, "answers 405"));
    assert!(streamable.open(init()).await.is_err());
    assert_eq!(n_gets(&peer), 0);
    let n_before = n_posts(&peer);
    let sse = remote(&peer, HttpTransport::Sse);
    assert!(sse.probe().await.unwrap().session.is_some());
    sse.open(init()).await.unwrap();
    assert_eq!((n_posts(&peer), n_gets(&peer)), (n_before, 2));
}

#[tokio::test]
async fn an_address_that_leads_elsewhere_is_told_as_such() {
    let peer = peer(307).await;
    let streamable = remote(&peer, HttpTransport::Streamable);
    assert!(is_no_mcp(
        streamable.probe().await,
        "answers 307, which leads elsewhere"
    ));
}

#[tokio::test]
async fn neither_transport_is_told_in_the_words_of_the_first() {
    let peer = peer(404).await;
    "event: message\ndata: {}\n\n".clone_into(&mut peer.world.first.lock());
    let remote = remote(&peer, HttpTransport::Auto);
    assert!(is_no_mcp(remote.probe().await, "answers 404; is the path"));
    let error = remote.open(init()).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Status { status: 404, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_stateless_era_has_no_way_over_a_stream() {
    let peer = peer(405).await;
    let remote = remote(&peer, HttpTransport::Auto);
    remote.open(init()).await.unwrap();
    let error = remote.stateless().unwrap_err();
    assert!(matches!(error, UpstreamError::NoEra { .. }), "{error:?}");
}
