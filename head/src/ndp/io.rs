//! One raw socket for each interface.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::solicitation::{ADVERTISEMENT, MESSAGE_MAX, managed, read};
use crate::dhcp::Link;
use crate::registry::Snapshot;

/// All routers of the link (RFC 4291, section 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What neighbour discovery is sent and received with, so that it cannot come from another link.
const HOP_LIMIT: u32 = 255;
/// How long a network counts as on this link: a boot, and much of a life. Seconds.
const LIFETIME_S: u32 = 24 * 3600;
/// Pause after an interface failed, such as while it is down.
const PAUSE: Duration = Duration::from_secs(1);

/// Why an interface's solicitations cannot be heard.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot hear IPv6 router solicitations on {interface}: {source}; machines whose firmware is iPXE wait 16 s longer at each boot"
)]
pub struct BindError {
    interface: String,
    source: io::Error,
}

/// Sockets that are open.
#[derive(Debug)]
pub struct Server(Vec<(Link, UdpSocket)>);

impl Server {
    /// Opens the sockets; inside a tokio runtime. An interface without IPv6 is told of and left out.
    pub fn bind(links: &[Link]) -> (Self, Vec<BindError>) {
        let (mut open, mut failed) = (vec![], vec![]);
        for link in links {
            match socket(link) {
                Ok(socket) => open.push((link.clone(), socket)),
                Err(source) => failed.push(BindError { interface: link.name.clone(), source }),
            }
        }
        (Self(open), failed)
    }

    /// Answers known machines until dropped.
    pub async fn run(self, nodes: watch::Receiver<Arc<Snapshot>>) {
        let mut tasks = JoinSet::new();
        for (link, socket) in self.0 {
            tasks.spawn(answer(link, socket, nodes.clone()));
        }
        // Where there is nothing to hear, there is nothing to end.
        if tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}

/// A raw ICMPv6 socket (RFC 3542, section 3) in the clothes of a UDP one: both are read and written with an address.
fn socket(link: &Link) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    socket.set_unicast_hops_v6(HOP_LIMIT)?;
    socket.join_multicast_v6(&ALL_ROUTERS, link.index)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

async fn answer(link: Link, socket: UdpSocket, nodes: watch::Receiver<Arc<Snapshot>>) {
    let mut buffer = vec![0; MESSAGE_MAX + 1];
    loop {
        let outcome = match socket.recv_from(&mut buffer).await {
            Ok((len, SocketAddr::V6(from))) => {
                let known = read(buffer.get(..len).unwrap_or_default()).and_then(|mac| {
                    let node = nodes.borrow().by_mac(mac).cloned()?;
                    Some((mac, node.interface(mac).and_then(|interface| interface.ip6)))
                });
                // The answer stays on the link, and goes to an address that only this link has.
                match known {
                    Some((mac, address)) if from.ip().is_unicast_link_local() => {
                        let to = SocketAddrV6::new(*from.ip(), 0, 0, link.index);
                        let here = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if link.addresses6.iter().any(|net| net.contains(&ip)));
                        let message = match address {
                            Some(ip) if here(ip) => managed(&link.addresses6, LIFETIME_S),
                            _ => ADVERTISEMENT.to_vec(),
                        };
                        tracing::debug!(interface = %link.name, %mac, managed = message.len() > ADVERTISEMENT.len(), "router solicitation answered");
                        socket.send_to(&message, SocketAddr::V6(to)).await.map(drop)
                    }
                    _ => Ok(()),
                }
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(interface = %link.name, %error, "IPv6 router solicitations");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
