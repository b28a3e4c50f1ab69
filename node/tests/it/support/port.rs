//! Ports of the kernel's choice that are known before somebody listens on them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use tokio::net::{TcpListener, TcpSocket};

/// A port that is given to nobody else until this is dropped, whoever listens on it meanwhile. As long as nobody does,
/// connections are refused.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _held: TcpSocket,
}

impl Port {
    /// Reserves one that is free for TCP and for UDP.
    pub(crate) fn reserve() -> Self {
        loop {
            let held = socket((Ipv4Addr::LOCALHOST, 0).into());
            let address = held.local_addr().unwrap();
            if UdpSocket::bind(address).is_ok() {
                return Self {
                    address,
                    _held: held,
                };
            }
        }
    }

    /// Listens on it.
    pub(crate) fn listen(&self) -> TcpListener {
        socket(self.address).listen(1024).unwrap()
    }
}

/// A bound socket that lets others, which say the same of theirs, be bound beside it, as a listener does by default.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
