//! *The floor*: a bare HTTP/1.1 pass-through on hyper. It reads no body, knows no protocol, decides
//! nothing; what it costs is what any proxy on this stack has to cost, and every ratio refers to it.

mod pool;

use std::{net::SocketAddr, rc::Rc};

use http_body_util::{Either, Empty};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, UPGRADE},
};

use self::pool::Pool;
use crate::{
    error::{Error, Result},
    serve::Service,
    wire::Endpoint,
};

pub(crate) use self::pool::PooledBody;

/// Headers that belong to one connection (RFC 9110, section 7.6.1); hyper frames the body itself.
const HOP_BY_HOP: [HeaderName; 4] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TE,
    UPGRADE,
];

/// Pass-through to one upstream.
#[derive(Debug)]
pub(crate) struct Floor {
    pool: Rc<Pool>,
    host: HeaderValue,
}

impl Floor {
    /// A proxy to the server that `url` names; the path of each request is kept.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::parse(url)?;
        let host =
            HeaderValue::from_str(&endpoint.authority).map_err(|_invalid| Error::Argument {
                key: "--to",
                value: url.to_owned(),
                why: "its host is not a header value".to_owned(),
            })?;
        Ok(Self::to(endpoint.address, host))
    }

    fn to(address: SocketAddr, host: HeaderValue) -> Self {
        Self {
            pool: Rc::new(Pool::new(address)),
            host,
        }
    }

    fn for_upstream(&self, mut request: Request<Incoming>) -> Request<Incoming> {
        strip(request.headers_mut());
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }
}

/// An upstream's body, or the empty one of a refusal.
pub(crate) type FloorBody = Either<PooledBody, Empty<bytes::Bytes>>;

impl Service for Floor {
    type Body = FloorBody;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<FloorBody> {
        let request = self.for_upstream(request);
        match self.pool.send(request).await {
            Ok(mut response) => {
                strip(response.headers_mut());
                response.map(FloorBody::Left)
            }
            Err(_unreachable) => {
                let mut response = Response::new(FloorBody::Right(Empty::new()));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
