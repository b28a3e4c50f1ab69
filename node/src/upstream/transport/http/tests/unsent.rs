//! What is said of a request that waits for its thread to park: the test is the worker here, and says when it does.

use std::pin::pin;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::coalesce::{Socket, before_park};
use crate::upstream::transport::http::connection::{Cause, Connection};
use crate::upstream::transport::http::io::Io;
use crate::upstream::transport::http::request::Request;

const SENT: &str = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";

fn on_a_worker<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let worker = thread::spawn(|| {
        before_park();
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            // The first write leaves at once.
            let (ours, _theirs) = pair().await;
            let mut first = Socket::new(ours);
            first.write_all(b"x").await.unwrap();
            assert_eq!(first.written(), 1);
            test().await;
        });
    });
    worker.join().unwrap();
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, accepted) = tokio::join!(ours, listener.accept());
    (ours.unwrap(), accepted.unwrap().0)
}

fn over(stream: TcpStream) -> Connection {
    Connection::new(Io::plain(Socket::new(stream)))
}

fn request() -> Request {
    let head = b"POST / HTTP/1.1\r\n".to_vec();
    Request::new(head, Some(&Bytes::from_static(b"{}")))
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn all_of(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn a_request_that_waits_leaves_and_is_answered() {
    on_a_worker(async || {
        let (ours, mut theirs) = pair().await;
        let mut connection = over(ours);
        let mut sending = pin!(connection.send(request(), deadline()));
        assert!(poll!(&mut sending).is_pending());
        before_park();
        let mut read = [0; SENT.len()];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(read, SENT.as_bytes());
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        theirs.write_all(answer).await.unwrap();
        let head = sending.await.unwrap();
        assert_eq!(head.status, 200);
    });
}

#[test]
fn a_request_that_waits_when_the_server_closes_is_unsent_for_good() {
    on_a_worker(async || {
        let (ours, mut theirs) = pair().await;
        theirs.shutdown().await.unwrap();
        ours.readable().await.unwrap();
        let mut connection = over(ours);
        let failed = connection.send(request(), deadline()).await.unwrap_err();
        assert!(matches!(failed.cause, Cause::Closed), "{failed:?}");
        assert!(failed.unsent);
        before_park();
        drop(connection);
        // The server still reads, and must find nothing: the request goes elsewhere.
        assert_eq!(all_of(theirs).await, "");
    });
}

#[test]
fn a_request_that_cannot_leave_is_unsent() {
    on_a_worker(async || {
        let (ours, theirs) = pair().await;
        let mut connection = over(ours);
        let mut sending = pin!(connection.send(request(), deadline()));
        assert!(poll!(&mut sending).is_pending());
        // Closes with a reset, which the kernel has seen when this returns.
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        before_park();
        let failed = sending.await.unwrap_err();
        assert!(matches!(failed.cause, Cause::Io(_)), "{failed:?}");
        assert!(failed.unsent);
    });
}

#[test]
fn a_request_that_has_left_is_sent_whatever_comes() {
    on_a_worker(async || {
        let (ours, theirs) = pair().await;
        let mut connection = over(ours);
        let mut sending = pin!(connection.send(request(), deadline()));
        assert!(poll!(&mut sending).is_pending());
        before_park();
        drop(theirs);
        let failed = sending.await.unwrap_err();
        assert!(!failed.unsent);
    });
}

#[test]
fn a_call_that_is_given_up_takes_its_request_back() {
    on_a_worker(async || {
        let (ours, theirs) = pair().await;
        let mut connection = over(ours);
        {
            let mut sending = pin!(connection.send(request(), deadline()));
            assert!(poll!(&mut sending).is_pending());
        }
        drop(connection);
        before_park();
        assert_eq!(all_of(theirs).await, "");
    });
}

#[test]
fn a_large_request_does_not_wait() {
    on_a_worker(async || {
        let (ours, mut theirs) = pair().await;
        let mut connection = over(ours);
        let body = Bytes::from(vec![b' '; 1 << 14]);
        let head = b"POST / HTTP/1.1\r\n".to_vec();
        let mut sending = pin!(connection.send(Request::new(head, Some(&body)), deadline()));
        assert!(poll!(&mut sending).is_pending());
        let mut read = vec![0; body.len()];
        theirs.read_exact(&mut read).await.unwrap();
    });
}
