//! DHCP packets of a client: dhcproto writes them and reads their fixed part. Bytes from the network never panic.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use wulfpack_shared::id::{Mac, NodeName};

use super::lease::Lease;

/// Largest packet that is read. Bytes; more does not come through Ethernet in one piece.
pub(super) const PACKET_MAX: usize = 1500;
/// Option 60, by which a site's server can tell the agent from firmware.
const VENDOR_CLASS: &[u8] = b"wulf-agent";
/// Most name servers kept.
const DNS_MAX: usize = 4;
/// Smallest MTU that every IPv4 host takes (RFC 791); a server that says less is wrong.
const MTU_MIN: u16 = 576;
/// Length of all before the options, with the cookie that ends it (RFC 2131, section 3). Bytes.
const FIXED: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const PAD: u8 = 0;
const END: u8 = 255;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId {
    /// MAC address of the interface. The client id is made of it as firmware does, so that both get one address.
    pub mac: Mac,
    /// Name told to the server, if it is known.
    pub hostname: Option<NodeName>,
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// Who has an address for me?
    Discover,
    /// I take this address of this server.
    Request { ip: Ipv4Addr, server: Ipv4Addr },
    /// I have this address and want to keep it.
    Extend { ip: Ipv4Addr },
}

/// The packet that says it. `secs`: since the client began to ask.
pub(super) fn build(client: &ClientId, xid: u32, secs: u16, say: Say) -> Option<Vec<u8>> {
    let none = Ipv4Addr::UNSPECIFIED;
    let (kind, ciaddr) = match say {
        Say::Discover => (MessageType::Discover, none),
        Say::Request { .. } => (MessageType::Request, none),
        Say::Extend { ip } => (MessageType::Request, ip),
    };
    let mut message = Message::new_with_id(xid, ciaddr, none, none, none, &client.mac.0);
    message.set_secs(secs);
    if ciaddr == none {
        // Without an address the kernel would drop a unicast answer.
        message.set_flags(Flags::default().set_broadcast());
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ClientIdentifier([&[1][..], &client.mac.0].concat()));
    options.insert(DhcpOption::ClassIdentifier(VENDOR_CLASS.to_vec()));
    options.insert(DhcpOption::MaxMessageSize(1472));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::ClasslessStaticRoute,
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::Hostname,
        OptionCode::DomainName,
        OptionCode::InterfaceMtu,
        OptionCode::AddressLeaseTime,
        OptionCode::ServerIdentifier,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ]));
    if let Some(hostname) = &client.hostname {
        options.insert(DhcpOption::Hostname(hostname.to_string()));
    }
    if let Say::Request { ip, server } = say {
        options.insert(DhcpOption::RequestedIpAddress(ip));
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    message.to_vec().ok()
}

/// What a server says to this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An offer.
    Offer(Lease),
    /// The address is ours.
    Ack(Lease),
    /// It is not.
    Nak,
}

/// What the packet says, if it is an answer to `xid` for this client and makes sense.
pub(super) fn parse(client: &ClientId, xid: u32, bytes: &[u8]) -> Option<Heard> {
    let (fixed, options) = bytes.get(..bytes.len().min(PACKET_MAX))?.split_at_checked(FIXED)?;
    let message = Message::from_bytes(fixed).ok()?;
    if message.opcode() != Opcode::BootReply || message.xid() != xid || message.hlen() != 6 {
        return None;
    }
    if message.chaddr() != client.mac.0 || !fixed.ends_with(&MAGIC) {
        return None;
    }
    let options = Options::read(options);
    match MessageType::from(options.byte(OptionCode::MessageType)?) {
        MessageType::Offer => lease(message.yiaddr(), &options).map(Heard::Offer),
        MessageType::Ack => lease(message.yiaddr(), &options).map(Heard::Ack),
        MessageType::Nak => Some(Heard::Nak),
        _ => None,
    }
}

/// Options by code. dhcproto asserts on some lengths and ends at the first option that it cannot read, so they are
/// walked here; several of one code are one that was cut (RFC 3396).
struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    fn read(mut bytes: &[u8]) -> Self {
        let mut found = BTreeMap::<u8, Vec<u8>>::new();
        while let Some((&code, rest)) = bytes.split_first() {
            match code {
                PAD => bytes = rest,
                END => break,
                _ => {
                    let Some((&len, rest)) = rest.split_first() else { break };
                    let Some((value, rest)) = rest.split_at_checked(usize::from(len)) else { break };
                    found.entry(code).or_default().extend_from_slice(value);
                    bytes = rest;
                }
            }
        }
        Self(found)
    }

    fn get(&self, code: OptionCode) -> Option<&[u8]> {
        self.0.get(&u8::from(code)).map(Vec::as_slice)
    }

    fn byte(&self, code: OptionCode) -> Option<u8> {
        self.get(code)?.first().copied()
    }

    /// A number of exactly four bytes.
    fn number(&self, code: OptionCode) -> Option<u32> {
        self.get(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// All addresses, as many as are whole.
    fn addresses(&self, code: OptionCode) -> impl Iterator<Item = Ipv4Addr> {
        let (whole, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        whole.iter().map(|octets| Ipv4Addr::from_octets(*octets))
    }

    /// A name that is fit for files and for the kernel; anything else a server says is left out.
    fn name(&self, code: OptionCode) -> Option<String> {
        let text = core::str::from_utf8(self.get(code)?).ok()?;
        text.trim_end_matches(['.', '\0']).parse::<NodeName>().ok().map(|name| name.to_string())
    }

    /// The gateway of the route to everywhere (RFC 3442), or the first router. With classless routes the router option
    /// must be ignored.
    fn gateway(&self) -> Option<Ipv4Addr> {
        let Some(mut routes) = self.get(OptionCode::ClasslessStaticRoute) else {
            return self.addresses(OptionCode::Router).next();
        };
        while let Some((&prefix, rest)) = routes.split_first() {
            let (_, rest) = rest.split_at_checked(usize::from(prefix.div_ceil(8)))?;
            let (gateway, rest) = rest.split_first_chunk::<4>()?;
            if prefix == 0 {
                return Some(Ipv4Addr::from_octets(*gateway));
            }
            routes = rest;
        }
        None
    }
}

/// A host that an address may be.
const fn is_host(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback())
}

/// The prefix of a network where the server says nothing: by class (RFC 950).
const fn class_prefix(ip: Ipv4Addr) -> u8 {
    match ip.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// The prefix of a mask; a mask with gaps is none.
fn prefix(mask: u32) -> Option<u8> {
    let ones = mask.leading_ones();
    (ones == mask.count_ones()).then(|| u8::try_from(ones).ok()).flatten().filter(|prefix| *prefix > 0)
}

fn lease(ip: Ipv4Addr, options: &Options) -> Option<Lease> {
    let mut lease = Lease {
        ip: Some(ip).filter(|ip| is_host(*ip))?,
        prefix: match options.number(OptionCode::SubnetMask) {
            Some(mask) => prefix(mask)?,
            None => class_prefix(ip),
        },
        gateway: options.gateway().filter(|ip| is_host(*ip)),
        mtu: options
            .get(OptionCode::InterfaceMtu)
            .and_then(|bytes| bytes.try_into().ok().map(u16::from_be_bytes))
            .filter(|mtu| *mtu >= MTU_MIN),
        dns: options.addresses(OptionCode::DomainNameServer).take(DNS_MAX).collect(),
        domain: options.name(OptionCode::DomainName),
        hostname: options.name(OptionCode::Hostname),
        server: options.addresses(OptionCode::ServerIdentifier).next().filter(|ip| is_host(*ip))?,
        lease_s: 0,
        renew_s: 0,
        rebind_s: 0,
    };
    let (renew, rebind) = (options.number(OptionCode::Renewal), options.number(OptionCode::Rebinding));
    lease.set_times(options.number(OptionCode::AddressLeaseTime)?, renew, rebind);
    Some(lease)
}
