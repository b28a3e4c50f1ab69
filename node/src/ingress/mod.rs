//! Where clients come in: HTTP (`http`), with HTTP+SSE (`sse`) and WebSocket (`websocket`) beside it, and pipes (`stdio`).
//! Guards, limits and the shape of answers stand here; what a
//! message means is decided behind the doors of the two eras.

mod body;
mod cors;
mod drain;
mod duplex;
mod event_writer;
mod guard;
mod head_timer;
pub mod http;
mod read;
mod refusals;
mod respond;
mod service;
mod sse;
pub mod stdio;
mod takeover;
pub mod tls;
mod ways;
mod websocket;

pub use self::body::{Body, EventBody};
pub use self::guard::Guard;
pub use self::service::{Gateway, Service};
pub use self::sse::StreamBody;
