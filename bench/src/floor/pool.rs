//! Kept connections to the upstream, the most recently used first.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task};

/// Connections that wait for a request.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

/// The upstream cannot be reached, or went away.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection.
    #[error("upstream does not accept connections")]
    Connect(#[from] io::Error),
    /// A connection failed.
    #[error("connection to the upstream failed")]
    Http(#[from] hyper::Error),
}

impl Pool {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: RefCell::default(),
        }
    }

    /// Sends one request; its connection comes back when the answer's body has been read.
    pub(super) async fn send(
        self: &Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<PooledBody>, SendError> {
        let mut connection = self.take().await?;
        let response = connection.send_request(request).await?;
        Ok(response.map(|body| {
            PooledBody {
                body,
                connection: Some(connection),
                pool: Rc::clone(self),
            }
            .given_back_when_read()
        }))
    }

    async fn take(&self) -> Result<SendRequest<Incoming>, SendError> {
        loop {
            let kept = self.idle.borrow_mut().pop();
            let Some(mut connection) = kept else {
                return self.connect().await;
            };
            // Its last answer was read to the end: it is ready at once, or it was closed.
            if connection.is_ready() || connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, SendError> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; whoever uses it next learns of that from its sender.
        let _detached = task::spawn_local(async {
            let _ended = driver.await;
        });
        connection.ready().await?;
        Ok(connection)
    }
}

/// Body of an upstream's answer, which holds the connection until it has been read.
#[derive(Debug)]
pub(crate) struct PooledBody {
    body: Incoming,
    connection: Option<SendRequest<Incoming>>,
    pool: Rc<Pool>,
}

impl PooledBody {
    fn given_back_when_read(mut self) -> Self {
        self.give_back_when_read();
        self
    }

    fn give_back_when_read(&mut self) {
        if self.body.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            self.pool.idle.borrow_mut().push(connection);
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        this.give_back_when_read();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
