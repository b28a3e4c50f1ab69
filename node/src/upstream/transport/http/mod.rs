//! Streamable HTTP towards a server, both eras.
//!
//! ```text
//! endpoint ── session ── handshake      a session: opened, forgotten, opened again
//!    │           └────── listen_stream  its GET stream
//!    ├── probe                          which eras
//!    ├── heard ── answer                what came back, and whether it answers the request
//!    │     └── call_stream ── inbox     an event stream, message by message
//!    └── pool ── connection             reuse, without sending anything twice
//!               ├── request            what goes out: template and message
//!               └── head ── body       what comes in, cut into messages
//! ```

mod answer;
mod binding;
mod blame;
mod body;
mod call_stream;
mod connection;
mod connector;
mod endpoint;
mod events;
mod exchange;
mod forgotten;
mod handshake;
mod head;
mod heard;
mod inbox;
mod io;
mod listen_stream;
mod pool;
mod probe;
mod replay;
mod request;
mod retry_wait;
mod session;
mod settings;
mod stream;
mod template;
#[cfg(test)]
pub(super) mod tests;

pub use self::binding::Binding;
pub(super) use self::blame::Blame;
pub use self::endpoint::HttpEndpoint;
pub(super) use self::exchange::Exchange;
pub use self::probe::Verdict;
pub(super) use self::replay::Note;
pub use self::replay::Replay;
pub use self::session::HttpSession;
pub use self::settings::EndpointSettings;
pub use self::stream::HttpStream;
pub(super) use self::template::{PROTOCOL_VERSION, Template};
