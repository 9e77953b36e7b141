//! The packets that the server sends.

use core::time::Duration;
use std::net::Ipv4Addr;

use dhcproto::v4::{
    DhcpOption, Flags, HType, MIN_PACKET_SIZE, Message, MessageType, Opcode, OptionCode, UnknownOption,
};
use dhcproto::{Encodable, Encoder};
use ipnet::Ipv4Net;
use wulfpack_shared::id::Mac;

use super::packet::{Request, code};

const BROADCAST_FLAG: u16 = 0x8000;
/// Longest name in the header's `file`, whose last byte is nul (RFC 2131, section 2).
const FILE_MAX: usize = 127;
/// iPXE: do not wait two seconds for a proxy DHCP server (175.176 `no-pxedhcp`).
const NO_PROXY: [u8; 3] = [176, 1, 1];
/// What is left out, in this order, of an answer that is too long for the client.
const SPARE: [OptionCode; 8] = [
    OptionCode::DomainName,
    OptionCode::DomainNameServer,
    OptionCode::BroadcastAddr,
    OptionCode::Renewal,
    OptionCode::Rebinding,
    OptionCode::InterfaceMtu,
    OptionCode::TFTPServerName,
    OptionCode::Hostname,
];

/// What an OFFER or ACK says.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pub(super) kind: MessageType,
    /// The node's address and network.
    pub(super) address: Ipv4Net,
    /// Our address, for boot files.
    pub(super) server: Ipv4Addr,
    /// Server identifier, which a relay may have replaced (RFC 5107).
    pub(super) server_id: Ipv4Addr,
    pub(super) lease: Duration,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) hostname: &'a str,
    pub(super) mtu: Option<u16>,
    pub(super) domain: Option<&'a str>,
    pub(super) dns: &'a [Ipv4Addr],
    /// Name of a file on our TFTP server, or a URL.
    pub(super) boot_file: Option<&'a str>,
    /// Vendor class that the client wants to see in the answer: UEFI HTTP boot takes no other (EDK2, HttpBootDhcp4.c).
    pub(super) class: Option<&'a str>,
    /// Whether the client is iPXE.
    pub(super) ipxe: bool,
}

impl Lease<'_> {
    pub(super) fn packet(&self, request: &Request) -> Option<Vec<u8>> {
        let mut message = header(request, self.kind, self.server_id);
        let inform = request.kind == MessageType::Inform;
        if !inform {
            message.set_yiaddr(self.address.addr());
            let seconds = u32::try_from(self.lease.as_secs()).unwrap_or(u32::MAX);
            let options = message.opts_mut();
            options.insert(DhcpOption::AddressLeaseTime(seconds));
            options.insert(DhcpOption::Renewal(seconds / 2));
            options.insert(DhcpOption::Rebinding(seconds / 8 * 7));
        }
        let options = message.opts_mut();
        options.insert(DhcpOption::SubnetMask(self.address.netmask()));
        options.insert(DhcpOption::BroadcastAddr(self.address.broadcast()));
        if let Some(router) = self.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        options.insert(DhcpOption::Hostname(self.hostname.to_owned()));
        if let Some(domain) = self.domain {
            options.insert(DhcpOption::DomainName(domain.to_owned()));
        }
        if !self.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServer(self.dns.to_vec()));
        }
        if let Some(mtu) = self.mtu {
            options.insert(DhcpOption::InterfaceMtu(mtu));
        }
        if let Some(class) = self.class {
            options.insert(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
        }
        if self.ipxe {
            let unknown = UnknownOption::new(OptionCode::Unknown(code::IPXE), NO_PROXY.to_vec());
            options.insert(DhcpOption::Unknown(unknown));
        }
        if let Some(file) = self.boot_file {
            options.insert(DhcpOption::TFTPServerName(self.server.to_string().into_bytes()));
            options.insert(DhcpOption::BootfileName(file.as_bytes().to_vec()));
            message.set_siaddr(self.server);
            if file.len() <= FILE_MAX {
                message.set_fname(file.as_bytes());
            }
        }
        fit(message, request)
    }
}

/// The refusal of an address (RFC 2131, section 4.3.2).
pub(super) fn nak(request: &Request, server_id: Ipv4Addr, why: &str) -> Option<Vec<u8>> {
    let mut message = header(request, MessageType::Nak, server_id);
    message.opts_mut().insert(DhcpOption::Message(why.to_owned()));
    message.set_ciaddr(Ipv4Addr::UNSPECIFIED);
    // The client may have no address that works: the relay is to broadcast it.
    if !request.giaddr.is_unspecified() {
        message.set_flags(Flags::from(request.flags | BROADCAST_FLAG));
    }
    fit(message, request)
}

/// A DISCOVER of our own, to find other servers.
pub(super) fn probe(mac: Mac, xid: u32) -> Option<Vec<u8>> {
    let mut message = Message::new_with_id(
        xid,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        &mac.0,
    );
    message.set_flags(Flags::from(BROADCAST_FLAG));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ParameterRequestList(vec![OptionCode::SubnetMask, OptionCode::Router]));
    encode(&message, None)
}

fn header(request: &Request, kind: MessageType, server_id: Ipv4Addr) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(request.xid, request.ciaddr, none, none, request.giaddr, &request.mac.0);
    message.set_opcode(Opcode::BootReply).set_htype(HType::Eth).set_flags(Flags::from(request.flags));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server_id));
    // Echoed: the client id (RFC 6842) and the machine's UUID (RFC 4578, section 2.3).
    if let Some(id) = request.option(code::CLIENT_ID) {
        options.insert(DhcpOption::ClientIdentifier(id.to_vec()));
    }
    if let Some(uuid) = request.option(code::UUID).filter(|uuid| uuid.len() == 17) {
        options.insert(DhcpOption::ClientMachineIdentifier(uuid.to_vec()));
    }
    message
}

/// Encodes, leaving out what can be spared until it is short enough for the client.
fn fit(mut message: Message, request: &Request) -> Option<Vec<u8>> {
    let relay = request.option(code::RELAY);
    let mut packet = encode(&message, relay)?;
    for spare in SPARE {
        if packet.len() <= request.payload_max() {
            return Some(packet);
        }
        message.opts_mut().remove(spare);
        packet = encode(&message, relay)?;
    }
    (packet.len() <= request.payload_max()).then_some(packet)
}

/// The relay's option goes back byte for byte, as the last (RFC 3046, section 2.2); dhcproto would sort what is in it.
fn encode(message: &Message, relay: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(MIN_PACKET_SIZE);
    message.encode(&mut Encoder::new(&mut packet)).ok()?;
    if let Some(relay) = relay {
        packet.pop_if(|last| *last == u8::from(OptionCode::End));
        for part in relay.chunks(255) {
            packet.push(code::RELAY);
            packet.push(u8::try_from(part.len()).ok()?);
            packet.extend_from_slice(part);
        }
        packet.push(OptionCode::End.into());
    }
    // Some relays and old firmware drop anything shorter than BOOTP.
    packet.resize(packet.len().max(MIN_PACKET_SIZE), 0);
    Some(packet)
}
