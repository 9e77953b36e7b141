//! MTU and speed of the link towards a head.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Bytes; `None` where unknown.
    pub mtu: Option<u16>,
    /// Bits per second; `None` where the driver does not know (virtual links).
    pub speed: Option<u64>,
}

/// The facts of the interface through which the kernel would reach `to`. No packet is sent.
pub fn link_towards(to: SocketAddr) -> LinkFacts {
    interface_towards(to).map(|name| facts(&name)).unwrap_or_default()
}

fn interface_towards(to: SocketAddr) -> Option<String> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    let local = socket.local_addr().ok()?.ip();
    let has = |address: Option<SockaddrStorage>| address.as_ref().and_then(ip).is_some_and(|ip| ip == local);
    getifaddrs().ok()?.find(|entry| has(entry.address)).map(|entry| entry.interface_name)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn facts(interface: &str) -> LinkFacts {
    let read = |what: &str| -> Option<i64> {
        let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/{what}")).ok()?;
        text.trim().parse().ok()
    };
    let mtu = read("mtu").map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    // Megabits; -1 where the link is down or has no speed.
    let speed = read("speed").and_then(|megabits| u64::try_from(megabits).ok()).filter(|megabits| *megabits > 0);
    LinkFacts { mtu, speed: speed.map(|megabits| megabits * 1_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_mtu_and_no_speed() {
        let facts = link_towards("127.0.0.1:9".parse().unwrap());
        assert_eq!(facts.speed, None);
        assert!(facts.mtu.is_some_and(|mtu| mtu >= 1500), "{facts:?}");
    }
}
