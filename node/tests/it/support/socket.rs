//! A raw WebSocket client: shakes hands by hand, and hears every frame.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::client::LATEST;
use super::within;

/// An open WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::shake(address, "/ws", &[("sec-websocket-protocol", "mcp")])
            .await
            .unwrap()
    }

    /// Asks for a WebSocket at `path`; `headers` replace those that every request has. A refusal is told by its head.
    pub(crate) async fn shake(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let host = address.to_string();
        let mut all = vec![
            ("host", host.as_str()),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
        all.extend(headers);
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        for (name, value) in all {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        // Byte by byte: what follows the head belongs to the frames.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("head", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        if !head.starts_with("http/1.1 101") {
            return Err(head);
        }
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
        let stream = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Ok(Self { stream })
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        within("send", self.stream.send(message)).await.unwrap();
    }

    /// Bytes that are no frame of the protocol machine.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        within("send", stream.write_all(bytes)).await.unwrap();
    }

    /// Next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<Message> {
        within("frame", self.stream.next()).await?.ok()
    }

    /// Next message.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            match self.frame().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Nothing is said for a moment.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let moment = Duration::from_millis(200);
        timeout(moment, self.stream.next()).await.is_err()
    }

    /// Hears until the close frame; its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.frame().await {
                Some(Message::Close(Some(frame))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Message::Close(None)) | None => panic!("the end says nothing"),
                Some(_) => {}
            }
        }
    }

    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer
    }

    /// Begins the connection's session.
    pub(crate) async fn initialize(&mut self, capabilities: Value) -> Value {
        let params = json!({"protocolVersion": LATEST, "capabilities": capabilities,
            "clientInfo": {"name": "it", "version": "1"}});
        let answer = self.ask("initialize", params).await;
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        answer
    }

    /// The stream of its frames.
    pub(crate) fn into_stream(self) -> WebSocketStream<TcpStream> {
        self.stream
    }

    /// The raw connection.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream.into_inner()
    }
}

/// A text frame of a client; the mask changes nothing.
pub(crate) fn text_frame(payload: &[u8]) -> Bytes {
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame.into()
}
