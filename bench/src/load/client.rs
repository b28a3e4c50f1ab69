//! One connection used by hand, before load begins or where there is none.

use std::{io::Write as _, net::TcpStream, time::Duration};

use super::target::Target;
use crate::{
    error::{Error, Result},
    wire::{Answer, AnswerReader},
};

/// Longest wait for one answer.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A blocking connection.
#[derive(Debug)]
pub(crate) struct Client {
    target: String,
    stream: TcpStream,
    reader: AnswerReader,
}

/// An answer that outlives the buffer it was read into.
#[derive(Clone, Debug)]
pub(crate) struct OwnedAnswer {
    /// Status code.
    pub(crate) status: u16,
    /// Whether the body is an event stream.
    pub(crate) is_event_stream: bool,
    /// `Mcp-Session-Id`.
    pub(crate) session_id: Option<String>,
    /// Body without its framing.
    pub(crate) body: Vec<u8>,
}

impl OwnedAnswer {
    /// The same, borrowed.
    pub(crate) fn borrow(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            is_event_stream: self.is_event_stream,
            session_id: self.session_id.as_deref(),
            closes: false,
            body: &self.body,
        }
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(target: &Target) -> Result<Self> {
        Ok(Self {
            stream: connect(target)?,
            target: target.name.clone(),
            reader: AnswerReader::new(),
        })
    }

    /// Name of the target.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<OwnedAnswer> {
        self.send(request)?;
        loop {
            let read = |source| Error::Read {
                target: self.target.clone(),
                source,
            };
            if let Some(answer) = self.reader.answer().map_err(read)? {
                let answer = OwnedAnswer {
                    status: answer.status,
                    is_event_stream: answer.is_event_stream,
                    session_id: answer.session_id.map(str::to_owned),
                    body: answer.body.to_vec(),
                };
                self.reader.consume();
                return Ok(answer);
            }
            self.read_more()?;
        }
    }

    /// Sends the request of a stream that stays open, and waits for the head of its answer.
    pub(crate) fn open_stream(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        loop {
            let answer = self.reader.answer().map_err(|source| Error::Read {
                target: self.target.clone(),
                source,
            })?;
            if let Some(answer) = answer {
                return Err(Error::Wrong {
                    target: self.target.clone(),
                    call: "GET".to_owned(),
                    why: format!("no stream but a whole answer with status {}", answer.status),
                });
            }
            if self.reader.has_event_stream_head() {
                return Ok(());
            }
            self.read_more()?;
        }
    }

    /// The connection itself, for load. No answer is outstanding on it.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream
            .write_all(request)
            .map_err(Error::io(format!("send a request to `{}`", self.target)))
    }

    fn read_more(&mut self) -> Result<()> {
        match self.reader.fill_once(&mut self.stream) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Closed {
                target: self.target.clone(),
            }),
            Err(source) => Err(Error::Read {
                target: self.target.clone(),
                source,
            }),
        }
    }
}

/// Whether the server has closed an idle connection, which must not block. Bytes that nobody asked for are found with
/// the next answer.
pub(super) fn has_ended(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Opens a connection as every part of the load uses it.
pub(super) fn connect(target: &Target) -> Result<TcpStream> {
    let stream = TcpStream::connect(target.endpoint.address).map_err(|source| Error::Connect {
        target: target.name.clone(),
        address: target.endpoint.address,
        source,
    })?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(ANSWER_WAIT)))
        .map_err(Error::io("prepare a connection"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_idle_connection_that_its_server_closes_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(!has_ended(&stream));
        drop(server);
        // Blocks until the end is there.
        stream.set_nonblocking(false).unwrap();
        assert!(has_ended(&stream));
    }
}
