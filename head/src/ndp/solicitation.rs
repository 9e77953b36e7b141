//! Router solicitations, read; the one advertisement, written.

use ipnet::Ipv6Net;
use wulfpack_shared::id::Mac;

/// Longest message that is looked at, in bytes: a link's MTU.
pub(super) const MESSAGE_MAX: usize = 1500;

/// Router Solicitation (RFC 4861, section 4.1).
const SOLICITATION: u8 = 133;
/// Type, code, checksum, reserved.
const HEADER: usize = 8;
/// Source link-layer address (section 4.6.1).
const SOURCE_ADDRESS: u8 = 1;

/// Router Advertisement (section 4.2): no hop limit to use, neither managed nor other configuration, a router lifetime of 0,
/// which says that the sender is no default router, and no options. The kernel fills the checksum in (raw(7), icmp(7)).
pub const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Flags: addresses and further configuration by DHCPv6 (section 4.2).
const MANAGED: u8 = 0xc0;
/// Prefix information (section 4.6.2), and its flag "on link".
const PREFIX: [u8; 2] = [3, 4];
const ON_LINK: u8 = 0x80;

/// What a node with an IPv6 address is told: ask by DHCPv6, these networks are on this link, and for `seconds` to come. Still no
/// router: the lifetime of that is 0.
pub(super) fn managed(networks: &[Ipv6Net], seconds: u32) -> Vec<u8> {
    let mut message = ADVERTISEMENT.to_vec();
    if let Some(flags) = message.get_mut(5) {
        *flags = MANAGED;
    }
    for network in networks {
        message.extend_from_slice(&PREFIX);
        message.extend_from_slice(&[network.prefix_len(), ON_LINK]);
        message.extend_from_slice(&seconds.to_be_bytes());
        message.extend_from_slice(&seconds.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&network.network().octets());
    }
    message
}

/// Who sent this ICMPv6 message, if it is a router solicitation that says so.
pub fn read(message: &[u8]) -> Option<Mac> {
    if message.len() > MESSAGE_MAX || !matches!(message, [SOLICITATION, 0, ..]) {
        return None;
    }
    let mut options = message.get(HEADER..)?;
    let mut source = None;
    while let [kind, units, ..] = *options {
        // In units of eight bytes; a length of zero makes the whole message invalid (section 6.1.1).
        let len = usize::from(units) * 8;
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if kind == SOURCE_ADDRESS
            && let Some(Ok(mac)) = option.get(2..8).map(<[u8; 6]>::try_from)
            && len == 8
        {
            source = Some(Mac(mac));
        }
        options = options.get(len..)?;
    }
    source.filter(|_| options.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As iPXE sends it.
    const FROM_IPXE: [u8; 16] = [133, 0, 0x12, 0x34, 0, 0, 0, 0, 1, 1, 0x52, 0x54, 0, 0x42, 0, 1];

    #[test]
    fn a_solicitation_names_its_sender() {
        assert_eq!(read(&FROM_IPXE), Some(Mac([0x52, 0x54, 0, 0x42, 0, 1])));
    }

    #[test]
    fn who_has_an_address_is_led_to_dhcp() {
        let message = managed(&["fd42::1/64".parse().unwrap()], 3600);
        assert_eq!((message.len(), message[0], message[5], &message[6..8]), (48, 134, 0xc0, &[0, 0][..]));
        assert_eq!(message[16..20], [3, 4, 64, 0x80], "on link, and no address is made of it");
        assert_eq!(message[32..48], [0xfd, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn everything_else_is_nobodys() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&FROM_IPXE[..8]), None, "no option");
        assert_eq!(read(&FROM_IPXE[..15]), None, "cut short");
        let mut other = FROM_IPXE;
        other[0] = 134;
        assert_eq!(read(&other), None, "an advertisement");
        let mut endless = FROM_IPXE;
        endless[9] = 0;
        assert_eq!(read(&endless), None, "an option without length");
        let mut infiniband = FROM_IPXE.to_vec();
        infiniband[9] = 3;
        infiniband.extend([0; 16]);
        assert_eq!(read(&infiniband), None, "an address of another length");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut message = message;
            read(&message);
            if let [kind, code, ..] = message.as_mut_slice() {
                (*kind, *code) = (SOLICITATION, 0);
            }
            read(&message);
        }
    }
}
