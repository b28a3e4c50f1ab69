//! Settings of QUIC, the same in both directions.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ServerConfig, TransportConfig, VarInt};

use crate::tls::Material;

/// Conversations of one connection at once. More wait at the one who opens them.
const STREAMS_MAX: u32 = 64;
/// How much of one stream, and of all of a connection, may be on the way.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const SEND_WINDOW_BYTES: u64 = 16 << 20;
/// A silent connection is tried so often, and given up after so long.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(1);
const IDLE_MAX_MS: u32 = 4_000;
/// Connections whose handshake is not done yet.
const INCOMING_MAX: usize = 64;

/// Settings for connections that come in.
pub(super) fn server(material: &Material) -> Result<ServerConfig, NoInitialCipherSuite> {
    let crypto = QuicServerConfig::try_from(Arc::clone(&material.plane_server))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    config.max_incoming(INCOMING_MAX);
    // A member keeps its address; a connection that moves is somebody else's.
    config.migration(false);
    Ok(config)
}

/// Settings for connections to others.
pub(super) fn client(material: &Material) -> Result<ClientConfig, NoInitialCipherSuite> {
    let crypto = QuicClientConfig::try_from(Arc::clone(&material.plane_client))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE_EVERY))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MAX_MS).into()));
    transport
}
