//! Reuse of connections, and that it never sends anything twice.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Barrier;

use super::client::{endpoint, out, single, tool_call};
use super::server::{Server, bare, json, result_for};
use crate::error::UpstreamError;
use crate::port::Port;
use crate::task::spawn_named;
use crate::upstream::link::Reply;

#[tokio::test]
async fn one_call_after_the_other_shares_a_connection() {
    let server = Server::start(|seen| async move { json(200, result_for(&seen, "{}")) }).await;
    let endpoint = endpoint(&server.url());
    for id in 0..20 {
        single(endpoint.call(&tool_call(id)).await);
    }
    assert_eq!(server.n_connections(), 1);
    assert_eq!(endpoint.n_idle(), 1);
}

#[tokio::test]
async fn a_refusal_keeps_its_connection() {
    let server = Server::start(|_| async { bare(503) }).await;
    let endpoint = endpoint(&server.url());
    for id in 0..3 {
        let error = endpoint.call(&tool_call(id)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Status { status: 503, .. }));
    }
    assert_eq!(server.n_connections(), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_have_connections_of_their_own() {
    let barrier = Arc::new(Barrier::new(8));
    let server = Server::start(move |seen| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            json(200, result_for(&seen, "{}"))
        }
    })
    .await;
    let endpoint = endpoint(&server.url());
    for _ in 0..2 {
        let calls = (0..8).map(async |id| endpoint.call(&tool_call(id)).await);
        for reply in futures_util::future::join_all(calls).await {
            single(reply);
        }
        assert_eq!(server.n_connections(), 8);
        assert_eq!(endpoint.n_idle(), 8);
    }
}

#[tokio::test]
async fn a_connection_waits_no_longer_than_the_server_says() {
    let server = Server::start(|seen| async move {
        let mut answer = json(200, result_for(&seen, "{}"));
        let keep_alive = HeaderValue::from_static("timeout=1, max=9");
        answer.headers_mut().insert("keep-alive", keep_alive);
        answer
    })
    .await;
    let endpoint = endpoint(&server.url());
    single(endpoint.call(&tool_call(1)).await);
    assert_eq!(endpoint.n_idle(), 0);
    single(endpoint.call(&tool_call(2)).await);
    assert_eq!(server.n_connections(), 2);
}

#[tokio::test]
async fn a_connection_that_nobody_needs_is_closed() {
    let mut server = Server::start(|seen| async move { json(200, result_for(&seen, "{}")) }).await;
    let endpoint = endpoint(&server.url());
    single(endpoint.call(&tool_call(1)).await);
    assert_eq!(endpoint.n_idle(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    server.open_connections(0).await;
    assert_eq!(endpoint.n_idle(), 0);
}

/// Reads one request with its body; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        let n = stream.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

async fn write_answer(stream: &mut TcpStream, id: u64) {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = spawn_named("test-server", async move {
        let mut n_requests = 0;
        for id in 1..=3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            n_requests += 1;
            write_answer(&mut stream, id).await;
            // Closed without a word, as an idle timeout does.
        }
        n_requests
    });
    let endpoint = endpoint(&url);
    for id in 1..=3 {
        single(endpoint.call(&tool_call(id)).await);
        // Let the end of the connection arrive, as it has when a server restarts.
        tokio::task::yield_now().await;
    }
    assert_eq!(server.await.unwrap(), 3);
}

#[tokio::test]
async fn a_close_that_the_reactor_has_not_seen_yet_is_noticed() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (close, is_told) = std::sync::mpsc::sync_channel(2);
    let (closed, is_closed) = std::sync::mpsc::sync_channel(2);
    let server = std::thread::spawn(move || {
        for id in 1..=2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut piece = [0; 4096];
            let mut text = String::new();
            while !text.contains("tools/call") {
                let n = stream.read(&mut piece).unwrap();
                text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
            }
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
            write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
            is_told.recv().unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let endpoint = endpoint(&url);
    single(endpoint.call(&tool_call(1)).await);
    close.send(()).unwrap();
    // Both block the only thread of this runtime, so that it cannot see the close; the second lets the connection age.
    is_closed.recv().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    single(endpoint.call(&tool_call(2)).await);
    close.send(()).unwrap();
    server.join().unwrap();
}

#[tokio::test]
async fn a_request_that_was_read_is_never_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = spawn_named("test-server", async move {
        let mut n_executed = 0;
        {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            write_answer(&mut stream, 1).await;
            // The second request is executed, and its answer is lost.
            read_request(&mut stream).await.unwrap();
            n_executed += 1;
        }
        let (mut stream, _) = listener.accept().await.unwrap();
        let third = read_request(&mut stream).await.unwrap();
        assert!(third.contains("\"id\":3"), "{third}");
        write_answer(&mut stream, 3).await;
        n_executed
    });
    let endpoint = endpoint(&url);
    single(endpoint.call(&tool_call(1)).await);
    let error = endpoint.call(&tool_call(2)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    assert!(!error.nothing_sent());
    single(endpoint.call(&tool_call(3)).await);
    assert_eq!(server.await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_begins_its_events_early_still_gets_the_whole_request() {
    /// More than the buffers of this connection hold.
    const BODY_BYTES: usize = 3 << 20;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = spawn_named("test-server", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut piece = vec![0; 1 << 16];
        let mut n_read = stream.read(&mut piece).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while n_read < BODY_BYTES {
            let n = stream.read(&mut piece).await.unwrap();
            assert!(n > 0, "the request is cut after {n_read} bytes");
            n_read += n;
        }
        let event = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
        stream.write_all(event.as_bytes()).await.unwrap();
    });
    let text = "x".repeat(BODY_BYTES);
    let call = out(format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":"{text}"}}}}"#
    ));
    let Reply::Stream(mut events) = endpoint(&url).call(&call).await.unwrap() else {
        panic!("not a stream");
    };
    let answer = events.next().await.unwrap().unwrap();
    assert_eq!(answer.id(), Some("1"));
    server.await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_means_nothing_was_sent() {
    let port = Port::reserve();
    let url = format!("http://{}/mcp", port.address);
    let error = endpoint(&url).call(&tool_call(1)).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.nothing_sent());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = spawn_named("test-server", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        let half =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
        stream.write_all(half.as_bytes()).await.unwrap();
    });
    let error = endpoint(&url).call(&tool_call(1)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn something_else_than_http_is_broken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = spawn_named("test-server", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
    });
    let error = endpoint(&url).call(&tool_call(1)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    server.await.unwrap();
}
