//! Against a small server of 2024-11-05 on loopback.

mod calls;
mod faults;
mod handshake;
pub(in crate::upstream::transport) mod peer;

use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::jsonrpc::Limits;
use std::time::Duration;
use tokio::time::timeout;

use self::peer::Peer;
use super::SseEndpoint;
use crate::error::UpstreamError;
use crate::upstream::link::{Heard, MessageStream, Outgoing, Reply};
use crate::upstream::transport::channel::ChannelSession;
use crate::upstream::transport::http::tests::client::{init, settings};
use crate::upstream::transport::http::{EndpointSettings, HttpEndpoint};

/// No test waits longer for anything; a machine under load may need most of it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, Box::pin(future)).await.expect("in time")
}

fn endpoint_with(settings: EndpointSettings) -> SseEndpoint {
    SseEndpoint::new(HttpEndpoint::new(settings).unwrap())
}

fn endpoint(peer: &Peer) -> SseEndpoint {
    endpoint_with(settings(&peer.url()))
}

async fn open(peer: &Peer) -> ChannelSession {
    soon(endpoint(peer).open(init())).await.unwrap()
}

fn out(text: &str) -> Outgoing {
    Outgoing {
        frame: Frame::parse(text.to_owned().into(), &Limits::default()).unwrap(),
        headers: Vec::new(),
        timeout: PATIENCE,
    }
}

/// A request with raw id and params.
fn request(id: &str, method: &str, params: &str) -> Outgoing {
    out(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
    ))
}

/// A `tools/call` with raw id.
fn tool(id: &str, name: &str) -> Outgoing {
    request(id, "tools/call", &format!(r#"{{"name":"{name}"}}"#))
}

/// All messages of a reply.
async fn all(reply: Result<Reply, UpstreamError>) -> Result<Vec<String>, UpstreamError> {
    let reply = reply?;
    match reply {
        Reply::Single { frame, .. } => Ok(vec![frame.text().to_owned()]),
        Reply::Stream(mut stream) => {
            let mut texts = Vec::new();
            while let Some(text) = next(&mut stream).await? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
}

async fn next(stream: &mut MessageStream) -> Result<Option<String>, UpstreamError> {
    let frame = soon(stream.next()).await?;
    Ok(frame.map(|frame| frame.text().to_owned()))
}

/// The answer to a call.
async fn ask(session: &ChannelSession, out: Outgoing) -> Result<String, UpstreamError> {
    let texts = soon(async { all(session.call(&out).await).await }).await?;
    Ok(texts.last().cloned().unwrap_or_default())
}
