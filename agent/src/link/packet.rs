//! A packet socket for ARP on one interface (packet(7)).
#![expect(unsafe_code, reason = "no safe wrapper among our dependencies builds a sockaddr_ll")]

use std::io::{self, Read};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Sends and hears ARP packets, without Ethernet headers, on one interface. Closed when dropped.
#[derive(Debug)]
pub(super) struct ArpSocket {
    socket: AsyncFd<Socket>,
    broadcast: SockAddr,
}

/// Where to send on the interface `index`; with six bytes of `0xff`, to everybody.
fn address(index: u32) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the platform's address types, and all zeros is valid for it.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    link.sll_protocol = u16::try_from(libc::ETH_P_ARP).map_err(io::Error::other)?.to_be();
    link.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    link.sll_halen = 6;
    link.sll_addr = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage holds a sockaddr_ll, whose length this is.
    Ok(unsafe { SockAddr::new(storage, len) })
}

impl ArpSocket {
    /// Opens it. Needs CAP_NET_RAW and a tokio runtime.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let protocol = u16::try_from(libc::ETH_P_ARP).map_err(io::Error::other)?.to_be();
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(i32::from(protocol))))?;
        let broadcast = address(index)?;
        socket.bind(&broadcast)?;
        // SAFETY: the socket owns its descriptor, always returns the same one, and is closed only with the AsyncFd.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, broadcast })
    }

    /// Broadcasts one packet.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let sent = |socket: &Socket| socket.send_to(packet, &self.broadcast);
        self.socket.async_io(tokio::io::Interest::WRITABLE, sent).await.map(drop)
    }

    /// The next packet; what does not fit into the buffer is lost.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.async_io(tokio::io::Interest::READABLE, |mut socket| socket.read(buffer)).await
    }
}
