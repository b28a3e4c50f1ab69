//! HTTP/1.1 listener shared by `echo` and `floor`: one thread, one task a connection.

use std::{convert::Infallible, future::Future, io::Write as _, process::ExitCode, rc::Rc};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    runtime,
    task::{JoinSet, LocalSet},
};

use crate::{
    affinity,
    cli::ListenerArgs,
    error::{Error, Result},
};

/// What answers the requests.
pub(crate) trait Service: 'static {
    /// Body of its answers.
    type Body: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + 'static;

    /// Answers one request.
    fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>>;
}

/// Serves on the listener until the process is ended.
pub(crate) fn run<S: Service>(listener: &ListenerArgs, service: S) -> Result<ExitCode> {
    if let Some(cpu) = listener.cpu {
        affinity::pin(cpu)?;
    }
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))?
        .block_on(LocalSet::new().run_until(accept(listener, Rc::new(service))))
}

/// Takes connections. Their tasks end with their connection, or with this one.
async fn accept<S: Service>(args: &ListenerArgs, service: Rc<S>) -> Result<ExitCode> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(Error::io(format!("listen on {}", args.listen)))?;
    if args.print_addr {
        let address = listener
            .local_addr()
            .map_err(Error::io("read the address of the listener"))?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{address}")
            .and_then(|()| out.flush())
            .map_err(Error::io("print the address"))?;
    }
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _peer) = accepted.map_err(Error::io("accept a connection"))?;
                stream.set_nodelay(true).map_err(Error::io("set TCP_NODELAY"))?;
                let service = Rc::clone(&service);
                connections.spawn_local(async move {
                    let answer = service_fn(|request| {
                        let service = Rc::clone(&service);
                        async { Ok::<_, Infallible>(service.answer(request).await) }
                    });
                    // A client that goes away ends its connection, and that is all it ends.
                    let _ended = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
