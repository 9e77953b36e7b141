//! The packets that the server sends.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{
    DhcpOption, Flags, HType, MIN_PACKET_SIZE, Message, MessageType, Opcode, OptionCode, UnknownOption,
};
use dhcproto::{Encodable, Encoder};
use ipnet::Ipv4Net;
use wulfpack_shared::id::Mac;

use super::packet::{Request, code};
use crate::boot::Client;

const BROADCAST_FLAG: u16 = 0x8000;
/// Hardware type of InfiniBand (RFC 4390).
const INFINIBAND: u8 = 32;
/// Longest name in the header's `file`, whose last byte is nul (RFC 2131, section 2).
const FILE_MAX: usize = 127;
/// iPXE: do not wait two seconds for a proxy DHCP server (175.176 `no-pxedhcp`).
const NO_PROXY: [u8; 3] = [176, 1, 1];
/// BIOS firmware: use the boot file, look for no boot servers (43.6 `PXE_DISCOVERY_CONTROL`, bit 3).
const USE_FILE: [u8; 4] = [6, 1, 8, 255];
/// Option 67.
const BOOT_FILE: u8 = 67;
/// What an administrator may say beside another server: nothing of addresses.
const PROXY_OPTIONS: [u8; 7] = [17, 43, 66, 67, 150, 209, 210];
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
    pub(super) hostname: Option<&'a str>,
    pub(super) mtu: Option<u16>,
    pub(super) domain: Option<&'a str>,
    pub(super) dns: &'a [Ipv4Addr],
    /// Name of a file on our TFTP server, or a URL.
    pub(super) boot_file: Option<&'a str>,
    /// Vendor class that the client wants to see in the answer: UEFI HTTP boot takes no other (EDK2, HttpBootDhcp4.c).
    pub(super) class: Option<&'a str>,
    /// Whether the client is iPXE.
    pub(super) ipxe: bool,
    /// What an administrator wants; it wins over all else.
    pub(super) options: &'a BTreeMap<u8, Vec<u8>>,
}

/// What a proxy server says: nothing of addresses, only what to boot.
#[derive(Debug)]
pub(super) struct ProxyOffer<'a> {
    /// OFFER, or ACK on port 4011.
    pub(super) kind: MessageType,
    pub(super) server: Ipv4Addr,
    pub(super) server_id: Ipv4Addr,
    pub(super) boot_file: &'a str,
    pub(super) client: Client,
    pub(super) options: &'a BTreeMap<u8, Vec<u8>>,
}

impl ProxyOffer<'_> {
    pub(super) fn packet(&self, request: &Request) -> Option<Vec<u8>> {
        let mut message = header(request, self.kind, self.server_id);
        let http = matches!(self.client, Client::HttpBoot(_));
        let class: &[u8] = if http { b"HTTPClient" } else { b"PXEClient" };
        let options = message.opts_mut();
        options.insert(DhcpOption::ClassIdentifier(class.to_vec()));
        // BIOS firmware takes the file from the offer if it is told not to look for boot servers; UEFI firmware ignores that, and
        // asks port 4011 if the option is not there at all.
        if matches!(self.client, Client::Pxe(0)) && self.kind == MessageType::Offer {
            let unknown = UnknownOption::new(OptionCode::from(43), USE_FILE.to_vec());
            options.insert(DhcpOption::Unknown(unknown));
        }
        set_boot_file(&mut message, self.server, self.boot_file, http);
        set_options(&mut message, self.options.iter().filter(|(code, _)| PROXY_OPTIONS.contains(code)));
        fit(message, request)
    }
}

/// The name of the boot file, or its URL, in all places where clients look.
fn set_boot_file(message: &mut Message, server: Ipv4Addr, file: &str, url_only: bool) {
    let options = message.opts_mut();
    if !url_only {
        options.insert(DhcpOption::TFTPServerName(server.to_string().into_bytes()));
    }
    options.insert(DhcpOption::BootfileName(file.as_bytes().to_vec()));
    message.set_siaddr(server);
    if file.len() <= FILE_MAX && !url_only {
        message.set_fname(file.as_bytes());
    }
}

fn set_options<'a>(message: &mut Message, wanted: impl Iterator<Item = (&'a u8, &'a Vec<u8>)>) {
    for (code, bytes) in wanted {
        if *code == BOOT_FILE {
            // The header must not say another name.
            message.set_fname(bytes.get(..bytes.len().min(FILE_MAX)).unwrap_or_default());
        }
        let option = UnknownOption::new(OptionCode::from(*code), bytes.clone());
        message.opts_mut().insert(DhcpOption::Unknown(option));
    }
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
        if let Some(hostname) = self.hostname {
            options.insert(DhcpOption::Hostname(hostname.to_owned()));
        }
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
            set_boot_file(&mut message, self.server, file, false);
        }
        set_options(&mut message, self.options.iter());
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
    if request.infiniband {
        message
            .set_chaddr(&[])
            .set_htype(HType::from(INFINIBAND))
            .set_flags(Flags::from(request.flags | BROADCAST_FLAG));
    }
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
