//! The UDP socket below an endpoint.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffers each way, in bytes; the kernel gives less where `net.core.rmem_max` says so (not to
/// root, for receiving), and drops what does not fit.
const BUFFER: usize = 8 << 20;

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for the swarm on UDP {addr}{}: {source}", .device.as_ref().map(|d| format!(" of interface {d}")).unwrap_or_default())]
pub struct BindError {
    /// The wanted address.
    pub addr: SocketAddr,
    /// The wanted interface.
    pub device: Option<String>,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// A bound UDP socket for the data plane. It is bound before a member joins, because the join tells the port.
#[derive(Debug)]
pub struct DataSocket {
    socket: UdpSocket,
    addr: SocketAddr,
}

impl DataSocket {
    /// Binds `addr` (port 0: any), on the interface `device` only if one is named (needs `CAP_NET_RAW` or root).
    ///
    /// # Errors
    /// The address is not this machine's or in use, or the interface does not exist.
    pub fn bind(addr: SocketAddr, device: Option<&str>) -> Result<Self, BindError> {
        let fail = |source| BindError { addr, device: device.map(str::to_owned), source };
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP)).map_err(fail)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true).map_err(fail)?;
        }
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes())).map_err(fail)?;
        }
        socket.bind(&addr.into()).map_err(fail)?;
        Self::adopt(socket.into()).map_err(fail)
    }

    /// Takes over a socket that is bound already (handed over by the process that served before).
    ///
    /// # Errors
    /// It is not a bound socket.
    pub fn adopt(socket: UdpSocket) -> io::Result<Self> {
        let raw = Socket::from(socket);
        // With CAP_NET_ADMIN the kernel's limit does not count: the agent of a node has it, a head does not.
        let received = sockopt::set_socket_recv_buffer_size_force(&raw, BUFFER)
            .map_err(io::Error::from)
            .or_else(|_| raw.set_recv_buffer_size(BUFFER));
        for (what, result) in [("receive", received), ("send", raw.set_send_buffer_size(BUFFER))] {
            if let Err(error) = result {
                tracing::debug!(%error, "the kernel keeps its own size of the {what} buffer");
            }
        }
        raw.set_nonblocking(true)?;
        let socket = UdpSocket::from(raw);
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn into_std(self) -> UdpSocket {
        self.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_gets_the_whole_receive_buffer() {
        let socket = DataSocket::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        if rustix::process::geteuid().is_root() {
            // The kernel doubles it, for what it keeps beside the bytes (socket(7)).
            assert_eq!(Socket::from(socket.into_std()).recv_buffer_size().unwrap(), 2 * BUFFER);
        }
    }

    #[test]
    fn a_taken_port_is_named_in_the_error() {
        let first = DataSocket::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let error = DataSocket::bind(first.local_addr(), None).unwrap_err();
        assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
    }
}
