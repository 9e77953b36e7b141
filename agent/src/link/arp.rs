//! ARP for IPv4 over Ethernet (RFC 826), without the Ethernet header.

use core::net::{IpAddr, Ipv4Addr};

use wulfpack_shared::bootargs::FixedAddress;
use wulfpack_shared::id::Mac;

/// Length of a packet in bytes.
pub(super) const LEN: usize = 28;
/// Ethernet, IPv4, address lengths 6 and 4: the first six bytes of every packet.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// "Who has `target`? Tell `own`."
pub(super) fn request(mac: Mac, own: Ipv4Addr, target: Ipv4Addr) -> [u8; LEN] {
    let mut packet = [0; LEN];
    let fields = [&KIND[..], &REQUEST, &mac.0, &own.octets(), &[0; 6], &target.octets()];
    for (byte, value) in packet.iter_mut().zip(fields.concat()) {
        *byte = value;
    }
    packet
}

/// The owner of the address, if this is an answer to `own`; anything else is not for us.
pub(super) fn parse_reply(packet: &[u8], own: Ipv4Addr) -> Option<(Ipv4Addr, Mac)> {
    let packet: &[u8; LEN] = packet.first_chunk()?;
    let (kind, rest) = packet.split_first_chunk::<6>()?;
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_, target) = rest.split_first_chunk::<6>()?;
    (*kind == KIND && *operation == REPLY && *target == own.octets())
        .then(|| (Ipv4Addr::from_octets(*sender), Mac(*mac)))
}

/// The hosts that can be asked directly: those of `wanted` and the gateway that lie in the node's own IPv4 network,
/// each once. Empty for IPv6.
pub fn on_link_targets(address: FixedAddress, wanted: &[IpAddr]) -> Vec<Ipv4Addr> {
    let IpAddr::V4(own) = address.ip else { return vec![] };
    let mask = u32::MAX.checked_shl(32 - u32::from(address.prefix.min(32))).unwrap_or(0);
    let mut targets = vec![];
    for ip in address.gateway.iter().chain(wanted) {
        if let IpAddr::V4(ip) = *ip {
            let on_link = ip.to_bits() & mask == own.to_bits() & mask;
            // A gateway outside the network is on the link all the same: there is no other way to it.
            if (on_link || address.gateway == Some(IpAddr::V4(ip))) && ip != own && !targets.contains(&ip) {
                targets.push(ip);
            }
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
    const HEAD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    /// The answer to a request.
    fn answer(request: &[u8; LEN], mac: Mac) -> [u8; LEN] {
        let mut reply = *request;
        reply[7] = 2;
        reply[8..14].copy_from_slice(&mac.0);
        reply[14..18].copy_from_slice(&request[24..28]);
        reply[18..24].copy_from_slice(&request[8..14]);
        reply[24..28].copy_from_slice(&request[14..18]);
        reply
    }

    #[test]
    fn a_request_has_the_bytes_of_the_rfc() {
        let packet = request(Mac([2, 0, 0, 0, 0, 7]), OWN, HEAD);
        let expected = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1];
        assert_eq!(packet, expected);
    }

    #[test]
    fn only_answers_to_us_count() {
        let asked = request(Mac([2, 0, 0, 0, 0, 7]), OWN, HEAD);
        let head = Mac([2, 0, 0, 0, 0, 1]);
        let reply = answer(&asked, head);
        assert_eq!(parse_reply(&reply, OWN), Some((HEAD, head)));
        assert_eq!(parse_reply(&reply, HEAD), None);
        assert_eq!(parse_reply(&asked, OWN), None);
        assert_eq!(parse_reply(&reply[..27], OWN), None);
        let padded = [&reply[..], &[0; 18]].concat();
        assert_eq!(parse_reply(&padded, OWN), Some((HEAD, head)));
    }

    #[test]
    fn gateway_and_heads_on_the_link_are_asked() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let address = FixedAddress { ip: ip("10.0.0.7"), prefix: 24, gateway: Some(ip("10.0.0.254")) };
        let wanted = [ip("10.0.0.1"), ip("10.0.1.1"), ip("10.0.0.254"), ip("fd00::1"), ip("10.0.0.7")];
        assert_eq!(on_link_targets(address, &wanted), [Ipv4Addr::new(10, 0, 0, 254), HEAD]);
        let far = FixedAddress { prefix: 32, gateway: Some(ip("10.9.0.1")), ..address };
        assert_eq!(on_link_targets(far, &wanted), [Ipv4Addr::new(10, 9, 0, 1)]);
        assert!(on_link_targets(FixedAddress { ip: ip("fd00::7"), prefix: 64, gateway: None }, &wanted).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            parse_reply(&bytes, OWN);
        }
    }
}
