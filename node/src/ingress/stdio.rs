//! `lockgate stdio`: one client on our own standard input and output, for desktop clients. Lines in, lines out;
//! behind it stand the same doors as behind HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use lockgate_proto::jsonrpc::ParseError;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use crate::identity::Authenticated;

use super::duplex::{End, Line, Outbox, Peer};
use super::service::Gateway;

/// Path that the sessions of this transport are bound to.
const ROUTE: &str = "stdio";
/// What is still in the queue when the line has ended has this long to be taken.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Serves `who` on the two pipes until the input ends or this node shuts down; calls in flight finish either way,
/// within the node's grace. A shutdown after the end of the input cuts them off: the client has asked twice.
pub async fn serve<R, W>(gateway: Arc<Gateway>, who: Arc<Authenticated>, input: R, output: W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send,
{
    let peer = Peer {
        who,
        route: ROUTE.to_owned(),
        server: None,
    };
    let (line, outbox) = Line::open(Arc::clone(&gateway), peer);
    let heard = async {
        let end = hear(&line, input, gateway.limits.body_bytes_max).await;
        line.end_listens();
        tokio::select! {
            () = line.drain() => {}
            () = gateway.closing.cancelled() => {}
        }
        end
    };
    let writing = async {
        tokio::select! {
            // Ends early when nobody reads any more: the queue is gone then, and the line ends by that.
            () = write(output, outbox) => {}
            () = line.overdue(FLUSH_MAX) => {}
        }
    };
    let (end, ()) = join(line.live(heard), writing).await;
    tracing::debug!(?end, "the client on standard input and output is served");
}

/// Reads messages until the input ends.
async fn hear<R: AsyncRead + Unpin>(line: &Arc<Line>, input: R, bytes_max: usize) -> End {
    let mut lines = BufReader::new(input);
    let mut text = Vec::new();
    loop {
        text.clear();
        let taken = match read_line(&mut lines, &mut text, bytes_max).await {
            Read::End => return End::Gone,
            Read::Blank => continue,
            Read::TooLong { bytes } => Err(ParseError::TooLarge {
                bytes,
                max: bytes_max,
            }
            .into()),
            Read::Message => {
                let message = Bytes::copy_from_slice(text.trim_ascii());
                line.take_own(message).await
            }
        };
        if let Err(error) = taken {
            line.refuse_text(&text, &error).await;
        }
    }
}

enum Read {
    Message,
    Blank,
    TooLong { bytes: usize },
    End,
}

async fn read_line<R: AsyncRead + Unpin>(
    lines: &mut BufReader<R>,
    line: &mut Vec<u8>,
    max: usize,
) -> Read {
    let mut bytes = 0;
    loop {
        let Ok(chunk) = lines.fill_buf().await else {
            return Read::End;
        };
        if chunk.is_empty() && bytes == 0 {
            return Read::End;
        }
        if chunk.is_empty() {
            // The last line needs no end of its own.
            break;
        }
        let end = memchr::memchr(b'\n', chunk);
        let used = end.map_or(chunk.len(), |at| at + 1);
        bytes += used;
        if bytes <= max {
            line.extend_from_slice(&chunk[..used]);
        }
        lines.consume(used);
        if end.is_some() {
            break;
        }
    }
    match (bytes > max, line.trim_ascii().is_empty()) {
        (true, _) => Read::TooLong { bytes },
        (false, true) => Read::Blank,
        (false, false) => Read::Message,
    }
}

/// Writes the queue, one message a line.
async fn write<W: AsyncWrite + Unpin>(mut output: W, mut outbox: Outbox) {
    while let Some(message) = outbox.next().await {
        let written = async {
            output.write_all(&message).await?;
            output.write_all(b"\n").await?;
            output.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}
