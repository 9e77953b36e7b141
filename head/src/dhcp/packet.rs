//! A DHCP request as a machine on the network sent it: any bytes in, a checked value or a reason out.
//!
//! The fixed header is read by dhcproto. The options are walked here: dhcproto stops at the first option it cannot read, asserts
//! lengths in debug builds and joins only neighbouring parts of a long option, and firmware is not that orderly.

use std::net::Ipv4Addr;

use dhcproto::v4::{Message, MessageType, Opcode};
use dhcproto::{Decodable, Decoder};
use wulfpack_shared::id::Mac;

/// Fixed header and magic cookie (RFC 2131, section 2). Bytes.
const HEADER: usize = 240;
/// Position of htype, hlen, chaddr, magic cookie, sname and file in the header.
const HTYPE: usize = 1;
const HLEN: usize = 2;
const CHADDR: core::ops::Range<usize> = 28..34;
const MAGIC: core::ops::Range<usize> = 236..240;
const SNAME: core::ops::Range<usize> = 44..108;
const FILE: core::ops::Range<usize> = 108..236;
/// Longest packet that is read: more than any Ethernet frame without jumbo carries. Bytes.
pub(super) const PACKET_MAX: usize = 2048;
/// Most parts of options that are read from one packet.
const PARTS_MAX: usize = 128;
/// Hardware types (IANA "ARP Parameters").
const ETHERNET: u8 = 1;
const INFINIBAND: u8 = 32;
/// UUIDs of mainboards whose maker left them as they came; they name nobody.
const JUNK_UUIDS: [[u8; 16]; 4] = [
    [0; 16],
    [0xff; 16],
    [0x00, 0x02, 0x00, 0x03, 0x00, 0x04, 0x00, 0x05, 0x00, 0x06, 0x00, 0x07, 0x00, 0x08, 0x00, 0x09],
    [0x03, 0x00, 0x02, 0x00, 0x04, 0x00, 0x05, 0x00, 0x00, 0x06, 0x00, 0x07, 0x00, 0x08, 0x00, 0x09],
];
/// Sub-options of a relay's option 82 (RFC 3046).
const CIRCUIT_ID: u8 = 1;
const REMOTE_ID: u8 = 2;

/// Option codes (RFC 2132, 3046, 4578; 175 is iPXE's).
pub(super) mod code {
    pub(in super::super) const HOSTNAME: u8 = 12;
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
    /// Neither an Ethernet address nor what stands for one.
    #[error("its hardware address is not an Ethernet address, and nothing else names an InfiniBand port")]
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
    /// The client's hardware address. An InfiniBand port is known by the one that belongs to its GUID.
    pub mac: Mac,
    /// Whether it is an InfiniBand port: its own address does not fit the header (RFC 4390).
    pub infiniband: bool,
    /// Relays on its way.
    pub hops: u8,
    /// Seconds since the client began.
    pub secs: u16,
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
    options: Values,
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
        let message = Message::decode(&mut Decoder::new(header)).map_err(|_| PacketError::Length(bytes.len()))?;
        let options = Values::read(header, tail);
        let Some(&[kind]) = options.get(code::MESSAGE_TYPE) else {
            return Err(PacketError::NoType);
        };
        let (mac, infiniband) = match (header.get(HTYPE), header.get(HLEN)) {
            // dhcproto slices by hlen without looking.
            (Some(&ETHERNET), Some(&6)) => (message.chaddr().try_into().map(Mac).ok(), false),
            (Some(&INFINIBAND), _) => (infiniband_mac(&options), true),
            _ => (None, false),
        };
        let mac = mac.filter(is_somebody).ok_or(PacketError::Hardware)?;
        Ok(Self {
            from_server: message.opcode() == Opcode::BootReply,
            mac,
            infiniband,
            hops: message.hops(),
            secs: message.secs(),
            xid: message.xid(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            kind: MessageType::from(kind),
            options,
        })
    }

    pub(super) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(code)
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

    /// Whether it is of this user class; iPXE sends its own bare, RFC 3004 wants a length before each.
    pub(super) fn has_user_class(&self, class: &[u8]) -> bool {
        let option = self.option(code::USER_CLASS).unwrap_or_default();
        option == class
            || option.split_first().is_some_and(|(len, rest)| usize::from(*len) == class.len() && rest == class)
    }

    /// The machine's UUID (option 97 of type 0) in the order of its text; none where it names nobody.
    pub(super) fn uuid(&self) -> Option<[u8; 16]> {
        let [0, uuid @ ..] = self.option(code::UUID)? else { return None };
        // The first three fields are little-endian (RFC 4578, section 2.3, as firmware does it).
        let [a, b, c, d, e, f, g, h, rest @ ..] = <[u8; 16]>::try_from(uuid).ok()?;
        let [i, j, k, l, m, n, o, p] = rest;
        let text = [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p];
        (!JUNK_UUIDS.contains(&text)).then_some(text)
    }

    /// The host name that it gives itself, if it is one.
    pub(super) fn hostname(&self) -> Option<&str> {
        let name = core::str::from_utf8(self.option(code::HOSTNAME)?).ok()?.trim_end_matches('\0');
        name.parse::<wulfpack_shared::id::NodeName>().ok().map(|_| name)
    }

    /// The port of the switch behind which the machine is, as its relay told it (RFC 3046). A circuit without the name of its
    /// switch is one of the relay's, and other relays may call theirs the same.
    pub(super) fn port(&self) -> Option<String> {
        let text = |code| self.relay_option(code).map(readable);
        match (text(REMOTE_ID), text(CIRCUIT_ID)) {
            (Some(remote), Some(circuit)) => Some(format!("{remote} {circuit}")),
            (None, Some(circuit)) if !self.giaddr.is_unspecified() => Some(format!("{} {circuit}", self.giaddr)),
            (one, other) => one.or(other),
        }
    }

    /// Largest UDP payload that the client takes; option 57 counts the IP and UDP headers too (RFC 2132, section 9.10).
    pub(super) fn payload_max(&self) -> usize {
        let said =
            self.option(code::MAX_SIZE).and_then(|value| <[u8; 2]>::try_from(value).ok()).map(u16::from_be_bytes);
        usize::from(said.unwrap_or(0)).clamp(576, 1500) - 28
    }
}

/// Text as it is, anything else as hexadecimal digits.
pub(super) fn readable(bytes: &[u8]) -> String {
    let plain = !bytes.is_empty() && bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    if plain { String::from_utf8_lossy(bytes).into_owned() } else { data_encoding::HEXLOWER.encode(bytes) }
}

/// The MAC address that belongs to an InfiniBand port: that of its GUID, which ends the client id (RFC 4390; iPXE and dhclient put
/// it there), else one made from the machine's UUID.
fn infiniband_mac(options: &Values) -> Option<Mac> {
    let id = options.get(code::CLIENT_ID).filter(|id| id.len() > 8).and_then(|id| id.last_chunk::<8>());
    if let Some([a, b, c, _, _, d, e, f]) = id.filter(|guid| **guid != [0; 8]) {
        return Some(Mac([*a & 0xfe, *b, *c, *d, *e, *f]));
    }
    let [0, uuid @ ..] = options.get(code::UUID)? else { return None };
    let [.., a, b, c, d, e] = *<&[u8; 16]>::try_from(uuid).ok()?;
    Some(Mac([2, a, b, c, d, e]))
}

/// The options of one packet: all values one after the other, and where each lies, by code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Values {
    bytes: Vec<u8>,
    places: Vec<(u8, core::ops::Range<usize>)>,
}

impl Values {
    /// All options, the parts of a long one joined (RFC 3396), those in `file` and `sname` included (option 52).
    fn read(header: &[u8], tail: &[u8]) -> Self {
        let mut found: Vec<(u8, &[u8])> = Vec::with_capacity(24);
        found.extend(parts(tail).take(PARTS_MAX));
        let overload = found.iter().find(|(code, _)| *code == code::OVERLOAD).and_then(|(_, value)| value.first());
        let overload = overload.copied().unwrap_or(0);
        for (bit, area) in [(1, FILE), (2, SNAME)] {
            if overload & bit != 0 {
                let room = PARTS_MAX.saturating_sub(found.len());
                found.extend(parts(header.get(area).unwrap_or_default()).take(room));
            }
        }
        // Stable: parts of one option stay in their order.
        found.sort_by_key(|(code, _)| *code);
        let mut values = Self { bytes: Vec::with_capacity(tail.len()), places: Vec::with_capacity(found.len()) };
        for (code, value) in found {
            let begin = values.bytes.len();
            values.bytes.extend_from_slice(value);
            match values.places.last_mut() {
                Some((last, place)) if *last == code => place.end = values.bytes.len(),
                _ => values.places.push((code, begin..values.bytes.len())),
            }
        }
        values
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        let index = self.places.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        self.bytes.get(self.places.get(index)?.1.clone())
    }
}

/// The machine that a packet is from or to; `None` where none is named. Cheaper than reading all of it.
pub(super) fn machine_of(bytes: &[u8]) -> Option<Mac> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    match (header.get(HTYPE), header.get(HLEN), header.get(CHADDR)) {
        (Some(&ETHERNET), Some(&6), Some(chaddr)) if header.get(MAGIC) == Some(&dhcproto::v4::MAGIC[..]) => {
            chaddr.try_into().ok().map(Mac).filter(is_somebody)
        }
        _ => Request::parse(bytes).ok().map(|request| request.mac),
    }
}

/// Neither a group address nor nobody's.
fn is_somebody(mac: &Mac) -> bool {
    mac.0.first().is_some_and(|first| first & 1 == 0) && *mac != Mac([0; 6])
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

/// A packet as it stands on the wire, for a person: options in their order, nothing interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dissected {
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Whether the client wants a broadcast.
    pub broadcast: bool,
    /// The address the client has.
    pub ciaddr: Ipv4Addr,
    /// The address it is given.
    pub yiaddr: Ipv4Addr,
    /// The server of its boot file.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// Name of the boot file in the header.
    pub file: String,
    /// Message type.
    pub kind: Option<u8>,
    /// Code and value of each option.
    pub options: Vec<(u8, Vec<u8>)>,
}

/// Takes a packet apart; `None` where it is none. Zeros that were cut off at its end are made up for.
pub fn dissect(bytes: &[u8]) -> Option<Dissected> {
    if bytes.len() < HEADER || bytes.len() > PACKET_MAX {
        return None;
    }
    let (header, tail) = bytes.split_at(HEADER);
    let message = Message::decode(&mut Decoder::new(header)).ok()?;
    let options: Vec<(u8, Vec<u8>)> = parts(tail).take(PARTS_MAX).map(|(code, value)| (code, value.to_vec())).collect();
    let kind =
        options.iter().find(|(code, _)| *code == code::MESSAGE_TYPE).and_then(|(_, value)| value.first().copied());
    Some(Dissected {
        xid: message.xid(),
        secs: message.secs(),
        broadcast: u16::from(message.flags()) & 0x8000 != 0,
        ciaddr: message.ciaddr(),
        yiaddr: message.yiaddr(),
        siaddr: message.siaddr(),
        giaddr: message.giaddr(),
        file: message
            .fname()
            .map(|name| readable(name.split(|byte| *byte == 0).next().unwrap_or_default()))
            .unwrap_or_default(),
        kind,
        options,
    })
}
