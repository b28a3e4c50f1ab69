use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::admin::Listener;
use crate::task::spawn_named;

/// Sends `text` and reads until the node closes.
async fn talk(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A node that refuses early may reset; what was read by then counts.
    let _reset = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_are_answered_over_tcp_until_the_end() {
    let node = Node::start(None).await;
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.address().unwrap();
    let stop = CancellationToken::new();
    let serving = listener.serve(node.service.clone(), stop.clone());
    let serving = spawn_named("admin plane", serving);

    let close = format!("Host: {address}\r\nConnection: close\r\n\r\n");
    let alive = talk(address, &format!("GET /healthz HTTP/1.1\r\n{close}")).await;
    assert!(
        alive.starts_with("HTTP/1.1 200") && alive.ends_with("ok\n"),
        "{alive}"
    );
    let head = talk(address, &format!("HEAD /readyz HTTP/1.1\r\n{close}")).await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let page = "Host: rebound.example\r\nConnection: close\r\n\r\n";
    let page = talk(address, &format!("GET /api/v1/keys HTTP/1.1\r\n{page}")).await;
    assert!(page.starts_with("HTTP/1.1 401"), "{page}");
    let garbage = talk(address, "GARBAGE\r\n\r\n").await;
    assert!(
        garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"),
        "{garbage}"
    );

    stop.cancel();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
