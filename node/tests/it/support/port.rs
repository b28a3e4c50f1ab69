//! Ports of the kernel's choice that are known before somebody listens on them.

use std::io::{self, ErrorKind};
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
            let held = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = held.local_addr().unwrap();
            if UdpSocket::bind(address).is_ok() {
                return Self {
                    address,
                    _held: held,
                };
            }
        }
    }

    /// Listens on it, once nobody else does: a process that is being started has copies of all our sockets until its
    /// own program runs, that of a server which has just ended among them.
    pub(crate) fn listen(&self) -> TcpListener {
        loop {
            match bind(self.address).and_then(|socket| socket.listen(1024)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => std::thread::yield_now(),
                listening => return listening.unwrap(),
            }
        }
    }
}

/// A bound socket that lets others, which say the same of theirs, be bound beside it, as a listener does by default.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
