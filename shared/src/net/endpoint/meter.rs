//! What passes the socket below an endpoint: counted, and marked where that is wanted.

use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::manners::Dscp;

/// Bytes below QUIC that each datagram costs on an Ethernet: frame, IP and UDP headers.
pub const HEADERS_IPV4: u64 = 14 + 20 + 8;
const HEADERS_IPV6: u64 = 14 + 40 + 8;

/// Bytes on the wire, headers included.
#[derive(Debug, Default)]
pub struct WireMeter {
    sent: AtomicU64,
    received: AtomicU64,
}

impl WireMeter {
    /// Bytes that were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes that were received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A socket that counts, and marks what it sends.
#[derive(Debug)]
pub(super) struct MeteredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    meter: Arc<WireMeter>,
    headers: u64,
    marker: Option<Marker>,
}

impl MeteredSocket {
    pub(super) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        meter: Arc<WireMeter>,
        marker: Option<Marker>,
    ) -> io::Result<Self> {
        let headers = if inner.local_addr()?.is_ipv4() { HEADERS_IPV4 } else { HEADERS_IPV6 };
        Ok(Self { inner, meter, headers, marker })
    }
}

impl AsyncUdpSocket for MeteredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // What cannot be sent marked is sent as it is: that also tells the runtime when the socket is full.
        if self.marker.as_ref().is_none_or(|marker| marker.send(transmit).is_err()) {
            self.inner.try_send(transmit)?;
        }
        let datagrams = transmit.contents.len().div_ceil(transmit.segment_size.unwrap_or(usize::MAX).max(1)) as u64;
        self.meter.sent.fetch_add(transmit.contents.len() as u64 + datagrams * self.headers, Ordering::Relaxed);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &received {
            let bytes = |meta: &RecvMeta| meta.len as u64 + meta.len.div_ceil(meta.stride.max(1)) as u64 * self.headers;
            self.meter.received.fetch_add(meta.iter().take(*count).map(bytes).sum(), Ordering::Relaxed);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Sends with a differentiated services codepoint. quinn's own socket sets the whole field anew with each packet, for the congestion
/// marks in its lower two bits (RFC 3168), so that an option of the socket would not last.
#[derive(Debug)]
pub(super) struct Marker {
    socket: UdpSocket,
    dscp: u8,
}

impl Marker {
    /// For a second handle of the same socket. None where nothing is to be marked, and where the socket has no address of its own:
    /// there each packet names its source, which this does not do.
    pub(super) fn new(socket: &UdpSocket, dscp: Dscp) -> io::Result<Option<Self>> {
        if dscp.get() == 0 || socket.local_addr()?.ip().is_unspecified() {
            return Ok(None);
        }
        Ok(Some(Self { socket: socket.try_clone()?, dscp: dscp.get() }))
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let field = self.dscp << 2 | transmit.ecn.map_or(0, |ecn| ecn as u8);
        let (class, segment) = (i32::from(field), transmit.segment_size.filter(|size| *size < transmit.contents.len()));
        let segment = segment.map(u16::try_from).transpose().map_err(io::Error::other)?;
        let mark = match transmit.destination {
            SocketAddr::V4(_) => ControlMessage::Ipv4Tos(&field),
            SocketAddr::V6(_) => ControlMessage::Ipv6TClass(&class),
        };
        let mut control = vec![mark];
        control.extend(segment.as_ref().map(ControlMessage::UdpGsoSegments));
        let to = SockaddrStorage::from(transmit.destination);
        let contents = [IoSlice::new(transmit.contents)];
        sendmsg(self.socket.as_raw_fd(), &contents, &control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, recvmsg, setsockopt, sockopt};
    use quinn::udp::EcnCodepoint;

    use super::*;

    #[test]
    fn packets_carry_the_mark_and_the_congestion_bits() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&receiver.as_fd(), sockopt::IpRecvTos, &true).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let marker = Marker::new(&sender, "cs1".parse().unwrap()).unwrap().unwrap();
        let contents = [7; 300];
        let transmit = Transmit {
            destination: receiver.local_addr().unwrap(),
            ecn: Some(EcnCodepoint::Ect0),
            contents: &contents,
            segment_size: Some(100),
            src_ip: None,
        };
        marker.send(&transmit).unwrap();
        for _ in 0..3 {
            let mut bytes = [0; 2000];
            let mut space = cmsg_space!(u8);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::empty();
            let got = recvmsg::<()>(receiver.as_raw_fd(), &mut into, Some(&mut space), flags).unwrap();
            assert_eq!(got.bytes, 100);
            assert!(got.cmsgs().unwrap().any(|message| matches!(message, ControlMessageOwned::Ipv4Tos(0b0010_0010))));
        }
    }

    #[test]
    fn nothing_is_marked_where_nobody_asked_for_it_or_the_source_is_open() {
        let (own, any) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap());
        assert!(Marker::new(&own, Dscp::default()).unwrap().is_none());
        assert!(Marker::new(&any, "ef".parse().unwrap()).unwrap().is_none());
    }
}
