//! What a DHCPv6 packet says (RFC 8415), through however many relays it came.

use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use wulfpack_shared::id::Mac;
use wulfpack_shared::limits::DHCP6_PACKET_MAX;

use crate::boot::{Arch, Client};

/// Message types of relays, and the length of what they put before their options (section 9).
const RELAY_FORW: u8 = 12;
const RELAY_REPL: u8 = 13;
const RELAY_HEADER: usize = 34;
/// Most relays one behind the other (section 7.6, `HOP_COUNT_LIMIT`).
const HOPS_MAX: usize = 8;
/// Options of relays: the message, the interface, and the client's link-layer address (RFC 6939).
const RELAY_MSG: u16 = 9;
const INTERFACE_ID: u16 = 18;
const LINK_ADDRESS: u16 = 79;
/// Hardware type Ethernet, and the kinds of DUID that hold a MAC address (section 11).
const ETHERNET: [u8; 2] = [0, 1];
const DUID_LLT: [u8; 2] = [0, 1];
const DUID_LL: [u8; 2] = [0, 3];
/// User class of our own network boot program.
const OUR_CLASS: &[u8] = b"wulfpack";

/// One relay on the way, as the answer has to name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hop {
    count: u8,
    link: Ipv6Addr,
    peer: Ipv6Addr,
    interface: Option<Vec<u8>>,
}

/// A client's message.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is.
    pub kind: MessageType,
    pub(super) message: Message,
    /// The machine; by its link-local address, what a relay says, or its DUID.
    pub mac: Option<Mac>,
    /// An address of the link it is on; `None` where no relay was in between.
    pub link: Option<Ipv6Addr>,
    hops: Vec<Hop>,
}

/// Why a packet is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Longer than any.
    #[error("it is longer than {DHCP6_PACKET_MAX} bytes")]
    TooLong,
    /// Cut or senseless.
    #[error("it is no DHCPv6 message")]
    Malformed,
}

impl Request {
    /// Reads a packet that came from `from`.
    pub fn parse(from: Ipv6Addr, bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() > DHCP6_PACKET_MAX {
            return Err(PacketError::TooLong);
        }
        let (mut inner, mut hops, mut told) = (bytes, vec![], None);
        while inner.first() == Some(&RELAY_FORW) {
            let (hop, link_layer, message) =
                relay(inner).filter(|_| hops.len() < HOPS_MAX).ok_or(PacketError::Malformed)?;
            told = link_layer.or(told);
            hops.push(hop);
            inner = message;
        }
        // A message without its transaction id is none, whatever the library makes of it.
        let message = Message::decode(&mut Decoder::new(inner)).map_err(|_| PacketError::Malformed)?;
        let peer = hops.last().map_or(from, |hop| hop.peer);
        let duid = match message.opts().get(OptionCode::ClientId) {
            Some(DhcpOption::ClientId(duid)) => Some(duid.as_slice()),
            _ => None,
        };
        let mac = told.or_else(|| mac_of_address(peer)).or_else(|| duid.and_then(mac_of_duid));
        let link = hops.iter().rev().map(|hop| hop.link).find(|link| !link.is_unspecified());
        Ok(Self { kind: message.msg_type(), mac, link, message, hops })
    }

    /// The client's identifier; every message but one has it.
    pub(super) fn duid(&self) -> Option<&[u8]> {
        match self.message.opts().get(OptionCode::ClientId) {
            Some(DhcpOption::ClientId(duid)) => Some(duid),
            _ => None,
        }
    }

    /// The server it is for.
    pub(super) fn server(&self) -> Option<&[u8]> {
        match self.message.opts().get(OptionCode::ServerId) {
            Some(DhcpOption::ServerId(duid)) => Some(duid),
            _ => None,
        }
    }

    /// Its identity association, and the address it names in it.
    pub(super) fn association(&self) -> Option<(u32, Option<Ipv6Addr>)> {
        let Some(DhcpOption::IANA(association)) = self.message.opts().get(OptionCode::IANA) else { return None };
        let address = match association.opts.get(OptionCode::IAAddr) {
            Some(DhcpOption::IAAddr(address)) => Some(address.addr),
            _ => None,
        };
        Some((association.id, address))
    }

    /// Whether it wants the answer at once.
    pub(super) fn rapid(&self) -> bool {
        self.message.opts().get(OptionCode::RapidCommit).is_some()
    }

    /// What kind of program asks (RFC 5970; EDK2 and iPXE).
    pub fn client(&self) -> Client {
        let options = self.message.opts();
        let arch = match options.get(OptionCode::ClientArchType) {
            Some(DhcpOption::ClientArchType(list)) => list.first().map(|arch| arch.0),
            _ => None,
        };
        let class: &[Vec<u8>] = match options.get(OptionCode::UserClass) {
            Some(DhcpOption::UserClass(class)) => &class.data,
            _ => &[],
        };
        if class.iter().any(|class| class == OUR_CLASS) {
            return Client::OurIpxe;
        }
        if class.iter().any(|class| class == b"iPXE") {
            // It does not say here what it can; what speaks IPv6 is not that old.
            return Client::ForeignIpxe { able: true, arch: arch.unwrap_or(Arch::BIOS.0) };
        }
        let vendor: &[Vec<u8>] = match options.get(OptionCode::VendorClass) {
            Some(DhcpOption::VendorClass(class)) => &class.data,
            _ => &[],
        };
        let begins = |name: &[u8]| vendor.iter().any(|class| class.starts_with(name));
        match arch {
            Some(arch) if begins(b"HTTPClient") || Arch(arch).loads_by_http() => Client::HttpBoot(arch),
            Some(arch) => Client::Pxe(arch),
            None if begins(b"HTTPClient") => Client::HttpBoot(Arch::X64_HTTP.0),
            None if begins(b"PXEClient") => Client::Pxe(7),
            None => Client::System,
        }
    }

    /// The bytes of an answer, wrapped for every relay on the way back.
    pub(super) fn answer(&self, message: &Message) -> Option<Vec<u8>> {
        let mut bytes = vec![];
        message.encode(&mut Encoder::new(&mut bytes)).ok()?;
        for hop in self.hops.iter().rev() {
            let mut outer = vec![RELAY_REPL, hop.count];
            outer.extend_from_slice(&hop.link.octets());
            outer.extend_from_slice(&hop.peer.octets());
            if let Some(interface) = &hop.interface {
                put(&mut outer, INTERFACE_ID, interface)?;
            }
            put(&mut outer, RELAY_MSG, &bytes)?;
            bytes = outer;
        }
        (bytes.len() <= DHCP6_PACKET_MAX).then_some(bytes)
    }

    /// Whether it came through a relay.
    pub(super) fn relayed(&self) -> bool {
        !self.hops.is_empty()
    }
}

fn put(packet: &mut Vec<u8>, code: u16, value: &[u8]) -> Option<()> {
    packet.extend_from_slice(&code.to_be_bytes());
    packet.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
    packet.extend_from_slice(value);
    Some(())
}

/// A relay's part, what it says of the client's hardware address, and the message in it. The library takes the message in a
/// relay's for a relay's message too, so that this is our own.
fn relay(bytes: &[u8]) -> Option<(Hop, Option<Mac>, &[u8])> {
    let (header, mut options) = bytes.split_at_checked(RELAY_HEADER)?;
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?));
    let mut hop = Hop { count: *header.get(1)?, link: address(2)?, peer: address(18)?, interface: None };
    let (mut message, mut mac) = (None, None);
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let [code_high, code_low, len_high, len_low] = *head;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([len_high, len_low])))?;
        match u16::from_be_bytes([code_high, code_low]) {
            RELAY_MSG => message = Some(value),
            INTERFACE_ID => hop.interface = Some(value.to_vec()),
            LINK_ADDRESS => mac = value.strip_prefix(&ETHERNET).and_then(|mac| mac.try_into().ok()).map(Mac),
            _ => {}
        }
        options = rest;
    }
    Some((hop, mac, message?))
}

/// The MAC address in a link-local address that was made from one (RFC 4291, appendix A), as EDK2 and iPXE make theirs.
pub fn mac_of_address(address: Ipv6Addr) -> Option<Mac> {
    let [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] = address.octets() else { return None };
    Some(Mac([a ^ 2, b, c, d, e, f]))
}

fn mac_of_duid(duid: &[u8]) -> Option<Mac> {
    let rest = duid.strip_prefix(&DUID_LL).and_then(|rest| rest.strip_prefix(&ETHERNET));
    let timed = || duid.strip_prefix(&DUID_LLT)?.strip_prefix(&ETHERNET)?.get(4..);
    rest.or_else(timed)?.try_into().ok().map(Mac)
}

/// A server's identifier made of its hardware address.
pub(super) fn server_duid(mac: Mac) -> Vec<u8> {
    [&DUID_LL[..], &ETHERNET, &mac.0].concat()
}
