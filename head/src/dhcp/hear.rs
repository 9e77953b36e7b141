//! The ears of the server: one socket for each interface and port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use wulfpack_shared::id::Mac;

use super::act::PXE_PORT;
use super::interfaces::Link;
use super::io::Wire;
use super::machine::Port;
use super::packet::PACKET_MAX;

/// Receive buffer of a socket, for the second in which everybody is switched on. Bytes.
const BUFFER: usize = 4 * 1024 * 1024;
/// Ports from here on are anybody's (ip(7), `ip_unprivileged_port_start`).
pub(super) const UNPRIVILEGED: u16 = 1024;
/// Pause after an interface failed, such as while it is down.
const PAUSE: Duration = Duration::from_secs(1);

/// What a socket heard.
pub(super) enum Heard {
    Packet { link: usize, port: Port, from: SocketAddrV4, bytes: Vec<u8> },
    Arp { link: usize, address: Ipv4Addr, by: Mac },
}

/// A UDP socket that hears and speaks on one interface only.
pub(super) fn socket(link: &Link, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    // Several interfaces share the port; with SO_BINDTODEVICE each packet still has one receiver.
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    // The kernel gives what it may.
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

pub(super) async fn read(index: usize, wire: Arc<Wire>, port: Port, heard: mpsc::Sender<Heard>) {
    let socket = match port {
        Port::Server => Some(&wire.server),
        Port::Client => wire.client.as_ref(),
        Port::Pxe => wire.pxe.as_ref(),
    };
    let Some(socket) = socket else { return };
    let mut buffer = vec![0; PACKET_MAX + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            // Clients and relays speak from ports that need privileges (RFC 2131, section 4.1). What comes from another port may
            // come from any user of a node, who must not ask in the node's name. UEFI firmware asks port 4011 from the same port
            // (EDK2, PxeBcDhcp4.c): it is told what to boot, and nothing is believed of it.
            Ok((_, from)) if from.port() >= UNPRIVILEGED && (port != Port::Pxe || from.port() != PXE_PORT) => {
                tracing::debug!(interface = %wire.link.name, %from, "DHCP packet of an unprivileged sender ignored");
            }
            Ok((len, SocketAddr::V4(from))) => {
                let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                let packet = Heard::Packet { link: index, port, from, bytes };
                if let Err(mpsc::error::TrySendError::Closed(_)) = heard.try_send(packet) {
                    return;
                }
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::warn!(interface = %wire.link.name, %error, "DHCP socket");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

pub(super) async fn read_arp(index: usize, wire: Arc<Wire>, heard: mpsc::Sender<Heard>) {
    let Some(raw) = &wire.raw else { return };
    loop {
        match raw.hear().await {
            Ok(Some((address, by))) if by != wire.link.mac => {
                if let Err(mpsc::error::TrySendError::Closed(_)) =
                    heard.try_send(Heard::Arp { link: index, address, by })
                {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(interface = %wire.link.name, %error, "ARP");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
