//! A node of a version that does not know the stream of proposals.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::transport::Server;

use super::super::io::{PeerIo, buffered};
use super::super::peer_service::PeerService;
use super::super::services::peer_server::PeerServer;
use super::super::{Guard, Peers};
use super::world::{FakeNode, World, member, now};
use crate::raft::{Member, Peers as _};
use crate::task::spawn_named;

/// What is seen and said in front of the service.
#[derive(Debug)]
struct Front {
    is_older: AtomicBool,
    /// How often the stream was asked for.
    n_streams: AtomicUsize,
    /// How often a single call was made.
    n_calls: AtomicUsize,
    /// Ends the connection that was made last.
    hang_up: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
}

/// The service behind its front.
#[derive(Clone)]
struct Older {
    service: PeerServer<PeerService<FakeNode>>,
    front: Arc<Front>,
}

impl NamedService for Older {
    const NAME: &'static str = PeerServer::<PeerService<FakeNode>>::NAME;
}

impl Service<Request<Body>> for Older {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_stream = request.uri().path().ends_with("/Proposals");
        let count = match is_stream {
            true => &self.front.n_streams,
            false => &self.front.n_calls,
        };
        count.fetch_add(1, Ordering::SeqCst);
        if is_stream && self.front.is_older.load(Ordering::SeqCst) {
            // As the service answers a method that it does not know.
            return Box::pin(ready(Ok(Status::unimplemented("").into_http())));
        }
        self.service.call(request)
    }
}

/// Serves as `n2`, beside the listener of `world`.
async fn serve(world: &World) -> (Member, Arc<Front>) {
    let front = Arc::new(Front {
        is_older: AtomicBool::new(true),
        n_streams: AtomicUsize::new(0),
        n_calls: AtomicUsize::new(0),
        hang_up: Mutex::default(),
    });
    let guard = Arc::new(Guard::new(2, world.roster.subscribe()));
    let node = FakeNode(Arc::clone(&world.fake));
    let older = Older {
        service: PeerServer::new(PeerService::new(node, guard)),
        front: Arc::clone(&front),
    };
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let tls = TlsAcceptor::from(Arc::clone(&world.n2_credentials.material().grpc_server));
    let hearing = Arc::clone(&front);
    let connections = stream::unfold(tcp, move |tcp| {
        let (tls, front) = (tls.clone(), Arc::clone(&hearing));
        async move {
            let (socket, _address) = tcp.accept().await.unwrap();
            let stream = tls.accept(buffered(socket)).await.unwrap();
            let (hang_up, hung_up) = tokio::sync::oneshot::channel();
            *front.hang_up.lock().unwrap() = Some(hang_up);
            let closing = async move {
                if hung_up.await.is_err() {
                    pending::<()>().await;
                }
            };
            let io = PeerIo::new(TlsStream::Server(stream), now(), closing);
            Some((Ok::<_, std::io::Error>(io), tcp))
        }
    });
    // Detached: it ends with the runtime of the test.
    let _detached = spawn_named("older", async move {
        let server = Server::builder();
        let serving = server.serve_with_incoming(older, Box::pin(connections));
        serving.await.unwrap();
    });
    (member("n2", &address), front)
}

fn counts(front: &Front) -> (usize, usize) {
    let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    (count(&front.n_streams), count(&front.n_calls))
}

#[tokio::test]
async fn an_older_node_is_asked_by_single_calls_until_it_was_upgraded() {
    let world = World::new();
    let (n2, front) = serve(&world).await;
    let peers = Peers::new(world.links());
    let ask = async |entry: &'static str| peers.propose(2, &n2, Bytes::from(entry)).await;
    assert_eq!(ask("first").await.unwrap(), "first");
    assert_eq!(ask("second").await.unwrap(), "second");
    // The connection was not made yet when the stream was tried first, so it is tried once more.
    assert_eq!(counts(&front), (2, 2));
    for _ in 0..20 {
        ask("more").await.unwrap();
    }
    assert_eq!(counts(&front), (2, 22));
    assert_eq!(world.fake.proposed.lock().unwrap().len(), 22);

    front.is_older.store(false, Ordering::SeqCst);
    let hang_up = front.hang_up.lock().unwrap().take();
    hang_up.unwrap().send(()).unwrap();
    // The first that goes over the new connection may still be a call; one that meets the end of the old one fails.
    while counts(&front).0 == 2 {
        let _may_fail = ask("between").await;
    }
    let (n_streams, n_calls) = counts(&front);
    for _ in 0..20 {
        ask("stream").await.unwrap();
    }
    assert_eq!(counts(&front), (n_streams, n_calls));
}
