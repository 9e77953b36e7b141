//! A DHCP request as a machine on the network sent it: any bytes in, a checked value or a reason out.
//!
//! The fixed header is read by dhcproto. The options are walked here: dhcproto stops at the first option it cannot read, asserts
//! lengths in debug builds and joins only neighbouring parts of a long option, and firmware is not that orderly.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{HType, Message, MessageType, Opcode};
use dhcproto::{Decodable, Decoder};
use wulfpack_shared::id::Mac;

/// Fixed header and magic cookie (RFC 2131, section 2). Bytes.
const HEADER: usize = 240;
/// Position of hlen, magic cookie, sname and file in the header.
const HLEN: usize = 2;
const MAGIC: core::ops::Range<usize> = 236..240;
const SNAME: core::ops::Range<usize> = 44..108;
const FILE: core::ops::Range<usize> = 108..236;
/// Longest packet that is read: more than any Ethernet frame without jumbo carries. Bytes.
pub(super) const PACKET_MAX: usize = 2048;
/// Most parts of options that are read from one packet.
const PARTS_MAX: usize = 128;

/// Option codes (RFC 2132, 3046, 4578; 175 is iPXE's).
pub(super) mod code {
    pub(in super::super) const REQUESTED_ADDRESS: u8 = 50;
    pub(in super::super) const OVERLOAD: u8 = 52;
    pub(in super::super) const MESSAGE_TYPE: u8 = 53;
    pub(in super::super) const SERVER_ID: u8 = 54;
    pub(in super::super) const PARAMETERS: u8 = 55;
    pub(in super::super) const MAX_SIZE: u8 = 57;
    pub(in super::super) const CLASS: u8 = 60;
    pub(in super::super) const CLIENT_ID: u8 = 61;
    pub(in super::super) const USER_CLASS: u8 = 77;
    pub(in super::super) const RELAY: u8 = 82;
    pub(in super::super) const ARCHITECTURE: u8 = 93;
    pub(in super::super) const UUID: u8 = 97;
    pub(in super::super) const IPXE: u8 = 175;
}

/// Why a packet is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Too short or too long for DHCP.
    #[error("its {0} bytes are no DHCP packet")]
    Length(usize),
    /// Not the magic cookie of RFC 2131.
    #[error("it is BOOTP without the DHCP cookie")]
    NotDhcp,
    /// Not an Ethernet address.
    #[error("its hardware address is not an Ethernet address")]
    Hardware,
    /// No or an unknown message type.
    #[error("it has no message type")]
    NoType,
}

/// A DHCP message, from a client or (for finding other servers) from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether a server sent it (BOOTREPLY).
    pub from_server: bool,
    /// The client's hardware address.
    pub mac: Mac,
    /// Transaction id.
    pub xid: u32,
    /// Flags, of which the highest bit asks for a broadcast.
    pub flags: u16,
    /// The address the client has and uses.
    pub ciaddr: Ipv4Addr,
    /// The relay that forwarded it.
    pub giaddr: Ipv4Addr,
    /// What it wants.
    pub kind: MessageType,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Request {
    /// Reads a packet.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() < HEADER || bytes.len() > PACKET_MAX {
            return Err(PacketError::Length(bytes.len()));
        }
        let (header, tail) = bytes.split_at(HEADER);
        if header.get(MAGIC) != Some(&dhcproto::v4::MAGIC[..]) {
            return Err(PacketError::NotDhcp);
        }
        // dhcproto slices by hlen without looking.
        if header.get(HLEN) != Some(&6) {
            return Err(PacketError::Hardware);
        }
        let message = Message::decode(&mut Decoder::new(header)).map_err(|_| PacketError::Length(bytes.len()))?;
        if message.htype() != HType::Eth {
            return Err(PacketError::Hardware);
        }
        let mac = Mac(message.chaddr().try_into().map_err(|_| PacketError::Hardware)?);
        // Neither a group address nor nobody's.
        if mac.0.first().is_none_or(|first| first & 1 == 1) || mac == Mac([0; 6]) {
            return Err(PacketError::Hardware);
        }
        let options = options(header, tail);
        let Some(&[kind]) = options.get(&code::MESSAGE_TYPE).map(Vec::as_slice) else {
            return Err(PacketError::NoType);
        };
        Ok(Self {
            from_server: message.opcode() == Opcode::BootReply,
            mac,
            xid: message.xid(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            kind: MessageType::from(kind),
            options,
        })
    }

    pub(super) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    pub(super) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(bytes.into()).filter(|address: &Ipv4Addr| !address.is_unspecified())
    }

    /// The address that the client asks for, or says it has.
    pub(super) fn wanted(&self) -> Option<Ipv4Addr> {
        Some(self.ciaddr).filter(|address| !address.is_unspecified()).or_else(|| self.address(code::REQUESTED_ADDRESS))
    }

    pub(super) fn asks_for(&self, code: u8) -> bool {
        self.option(code::PARAMETERS).is_some_and(|list| list.contains(&code))
    }

    /// A sub-option of the relay's option 82.
    pub(super) fn relay_option(&self, code: u8) -> Option<&[u8]> {
        parts(self.option(code::RELAY)?).find_map(|(found, value)| (found == code).then_some(value))
    }

    /// Largest UDP payload that the client takes; option 57 counts the IP and UDP headers too (RFC 2132, section 9.10).
    pub(super) fn payload_max(&self) -> usize {
        let said =
            self.option(code::MAX_SIZE).and_then(|value| <[u8; 2]>::try_from(value).ok()).map(u16::from_be_bytes);
        usize::from(said.unwrap_or(0)).clamp(576, 1500) - 28
    }
}

/// All options, the parts of a long one joined (RFC 3396), those in `file` and `sname` included (option 52).
fn options(header: &[u8], tail: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut found: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let mut room = PARTS_MAX;
    let mut read = |area: &[u8], found: &mut BTreeMap<u8, Vec<u8>>| {
        for (code, value) in parts(area) {
            let Some(left) = room.checked_sub(1) else { return };
            room = left;
            found.entry(code).or_default().extend_from_slice(value);
        }
    };
    read(tail, &mut found);
    let overload = found.get(&code::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
    if overload & 1 != 0 {
        read(header.get(FILE).unwrap_or_default(), &mut found);
    }
    if overload & 2 != 0 {
        read(header.get(SNAME).unwrap_or_default(), &mut found);
    }
    found
}

/// The tag-length-value parts of an area, up to the end tag or the first that does not fit.
pub(super) fn parts(area: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = area;
    core::iter::from_fn(move || {
        loop {
            let (&code, after) = rest.split_first()?;
            match code {
                0 => rest = after,
                255 => return None,
                _ => {
                    let (&len, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(usize::from(len))?;
                    rest = after;
                    return Some((code, value));
                }
            }
        }
    })
}
