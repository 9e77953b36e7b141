//! Frames to machines that have no address yet, and ARP: a packet socket on one interface (packet(7)). Needs CAP_NET_RAW.
#![expect(unsafe_code, reason = "no safe wrapper among our dependencies builds a sockaddr_ll")]

use std::io::{self, Read as _};
use std::net::Ipv4Addr;

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wulfpack_shared::id::Mac;

use super::interfaces::Link;

/// Length of an ARP packet for IPv4 over Ethernet (RFC 826). Bytes.
const ARP: usize = 28;
const ARP_KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const EVERYBODY: Mac = Mac([0xff; 6]);
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// Sends IPv4 and ARP packets to hardware addresses, and hears ARP.
#[derive(Debug)]
pub(super) struct RawSocket {
    socket: AsyncFd<Socket>,
    index: u32,
    mac: Mac,
}

fn address(index: u32, protocol: i32, mac: Mac) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the platform's address types, and all zeros is valid for it.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    link.sll_protocol = u16::try_from(protocol).map_err(io::Error::other)?.to_be();
    link.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    link.sll_halen = 6;
    let [a, b, c, d, e, f] = mac.0;
    link.sll_addr = [a, b, c, d, e, f, 0, 0];
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage holds a sockaddr_ll, whose length this is.
    Ok(unsafe { SockAddr::new(storage, len) })
}

impl RawSocket {
    /// Opens it, inside a tokio runtime.
    pub(super) fn open(link: &Link) -> io::Result<Self> {
        let protocol = u16::try_from(libc::ETH_P_ARP).map_err(io::Error::other)?.to_be();
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(i32::from(protocol))))?;
        socket.bind(&address(link.index, libc::ETH_P_ARP, EVERYBODY)?)?;
        // SAFETY: the socket owns its descriptor, always returns the same one, and is closed only with the AsyncFd.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, index: link.index, mac: link.mac })
    }

    async fn send(&self, protocol: i32, to: Mac, packet: &[u8]) -> io::Result<()> {
        let to = address(self.index, protocol, to)?;
        self.socket.async_io(Interest::WRITABLE, |socket| socket.send_to(packet, &to)).await.map(drop)
    }

    /// Sends a UDP datagram to the machine with this hardware address.
    pub(super) async fn send_udp(&self, flow: &Flow, hardware: Mac, payload: &[u8]) -> io::Result<()> {
        self.send(libc::ETH_P_IP, hardware, &datagram(flow, payload)).await
    }

    /// Asks who has an address, as somebody who has none (RFC 5227, section 2.1.1).
    pub(super) async fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let fields = [&ARP_KIND[..], &ARP_REQUEST, &self.mac.0, &[0; 4], &[0; 6], &address.octets()];
        self.send(libc::ETH_P_ARP, EVERYBODY, &fields.concat()).await
    }

    /// The next machine that says by ARP which address it has; `None` where a packet says nothing of the kind.
    pub(super) async fn hear(&self) -> io::Result<Option<(Ipv4Addr, Mac)>> {
        let mut buffer = [0; 128];
        let len = self.socket.async_io(Interest::READABLE, |mut socket| socket.read(&mut buffer)).await?;
        Ok(sender(buffer.get(..len).unwrap_or_default()))
    }
}

/// Whoever sent an ARP packet: its address and its hardware address.
fn sender(packet: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let packet: &[u8; ARP] = packet.first_chunk()?;
    let (kind, rest) = packet.split_first_chunk::<6>()?;
    let (_, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (ip, _) = rest.split_first_chunk::<4>()?;
    (*kind == ARP_KIND && *ip != [0; 4]).then_some((Ipv4Addr::from_octets(*ip), Mac(*mac)))
}

/// Ends of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) source: (Ipv4Addr, u16),
    pub(super) to: (Ipv4Addr, u16),
}

/// An IPv4 packet with a UDP datagram (RFC 791, RFC 768).
fn datagram(flow: &Flow, payload: &[u8]) -> Vec<u8> {
    let Flow { source: (source, source_port), to: (to, to_port) } = *flow;
    let len = |header: usize| u16::try_from(payload.len() + header).unwrap_or(u16::MAX);
    let udp_len = len(UDP_HEADER);
    let mut ip = Vec::with_capacity(IP_HEADER + UDP_HEADER + payload.len());
    ip.extend([0x45, 0]);
    ip.extend(len(IP_HEADER + UDP_HEADER).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    ip.extend(source.octets());
    ip.extend(to.octets());
    let sum = checksum(&[&ip]);
    if let Some(place) = ip.get_mut(10..12) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    let mut udp = vec![];
    for word in [source_port, to_port, udp_len] {
        udp.extend(word.to_be_bytes());
    }
    let pseudo = [&source.octets()[..], &to.octets(), &[0, UDP], &udp_len.to_be_bytes()].concat();
    let sum = match checksum(&[&pseudo, &udp, payload]) {
        // Zero means that there is none.
        0 => u16::MAX,
        sum => sum,
    };
    udp.extend(sum.to_be_bytes());
    ip.extend(udp);
    ip.extend(payload);
    ip
}

/// The Internet checksum (RFC 1071). All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_sums_that_check() {
        let flow = Flow { source: ([10, 0, 0, 1].into(), 67), to: ([10, 0, 0, 7].into(), 68) };
        for payload in [&b"odd"[..], b"even", b""] {
            let packet = datagram(&flow, payload);
            assert_eq!(packet.len(), 28 + payload.len());
            // Over a header that holds its own sum the sum is zero.
            assert_eq!(checksum(&[&packet[..20]]), 0);
            let pseudo = [&packet[12..20], &[0, 17], &packet[24..26]].concat();
            assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
        }
    }

    #[test]
    fn the_known_sum_of_a_known_header() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn whoever_speaks_of_an_address_has_it_and_probes_say_nothing() {
        let packet = [&ARP_KIND[..], &[0, 2], &[2, 0, 0, 0, 0, 9], &[10, 0, 0, 9], &[0; 10]].concat();
        assert_eq!(sender(&packet), Some(([10, 0, 0, 9].into(), Mac([2, 0, 0, 0, 0, 9]))));
        let probe = [&ARP_KIND[..], &[0, 1], &[2, 0, 0, 0, 0, 9], &[0; 4], &[0; 10]].concat();
        assert_eq!((sender(&probe), sender(&packet[..27])), (None, None));
    }
}
