//! LLDP (IEEE 802.1AB-2016, clause 8): the neighbour that a frame tells of. Pure; nothing is allocated but its short texts.

use core::fmt::Write as _;
use core::net::{Ipv4Addr, Ipv6Addr};

use wulfpack_shared::limits::LLDP_FRAME_MAX;
use wulfpack_shared::wire::{Neighbour, printable};

/// Types of TLVs (table 8-1).
const END: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const TTL: u8 = 3;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const ORGANISATION: u8 = 127;
/// IEEE 802.1's own, subtype 1: the VLAN of untagged frames (annex D.2.1).
const PORT_VLAN: [u8; 4] = [0x00, 0x80, 0xc2, 1];
/// Address families of a network address (IANA "Address Family Numbers").
const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// Reads the frame behind its Ethernet header. `None`: not LLDP, or a neighbour that says that it goes away (time to live 0).
pub fn neighbour(frame: &[u8]) -> Option<Neighbour> {
    if frame.len() > LLDP_FRAME_MAX {
        return None;
    }
    let (chassis, rest) = mandatory(frame, CHASSIS)?;
    let (port, rest) = mandatory(rest, PORT)?;
    let (ttl, mut rest) = mandatory(rest, TTL)?;
    let ttl = u16::from_be_bytes(*ttl.first_chunk()?);
    if ttl == 0 {
        return None;
    }
    let mut found = Neighbour { chassis: id(chassis, 4, 5)?, port: id(port, 3, 4)?, ..Neighbour::default() };
    // What is broken behind the mandatory part is left out; the rest of it counts.
    while let Some((kind, value, more)) = tlv(rest) {
        match kind {
            END => break,
            PORT_DESCRIPTION if found.description.is_empty() => found.description = text(value),
            SYSTEM_NAME if found.system.is_empty() => found.system = text(value),
            ORGANISATION => {
                if let Some(vlan) = value.strip_prefix(&PORT_VLAN).and_then(<[u8]>::first_chunk) {
                    // 0: the port has none.
                    found.vlan = Some(u16::from_be_bytes(*vlan)).filter(|vlan| (1..=4094).contains(vlan));
                }
            }
            _ => {}
        }
        rest = more;
    }
    Some(found)
}

/// Type, value and what follows: seven bits of type, nine of length.
fn tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<2>()?;
    let header = u16::from_be_bytes(*header);
    let (value, rest) = rest.split_at_checked(usize::from(header & 0x1ff))?;
    Some((u8::try_from(header >> 9).ok()?, value, rest))
}

fn mandatory(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    tlv(bytes).filter(|(kind, ..)| *kind == wanted).map(|(_, value, rest)| (value, rest))
}

/// A chassis or port id, whose subtypes for MAC and network addresses differ (tables 8-2 and 8-3).
fn id(value: &[u8], mac: u8, network: u8) -> Option<String> {
    let (subtype, value) = value.split_first()?;
    if value.is_empty() {
        return None;
    }
    if *subtype == mac && value.len() == 6 {
        return Some(hex(value));
    }
    if *subtype == network {
        return Some(match value.split_first()? {
            (&IPV4, ip) if ip.len() == 4 => Ipv4Addr::from(*ip.first_chunk::<4>()?).to_string(),
            (&IPV6, ip) if ip.len() == 16 => Ipv6Addr::from(*ip.first_chunk::<16>()?).to_string(),
            _ => hex(value),
        });
    }
    let plain = core::str::from_utf8(value).is_ok_and(|text| !text.trim_end_matches('\0').contains(char::is_control));
    Some(if plain { text(value) } else { hex(value) })
}

fn text(value: &[u8]) -> String {
    printable(&String::from_utf8_lossy(value))
}

fn hex(value: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in value.iter().take(32).enumerate() {
        // Writing to a string does not fail.
        let _written = write!(text, "{}{byte:02x}", if index == 0 { "" } else { ":" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: u8, value: &[u8]) -> Vec<u8> {
        let header = (u16::from(kind) << 9) | u16::try_from(value.len()).unwrap();
        [&header.to_be_bytes()[..], value].concat()
    }

    fn frame(ttl: u16, more: &[Vec<u8>]) -> Vec<u8> {
        let chassis = item(CHASSIS, &[4, 0x52, 0x54, 0, 0, 0, 0x99]);
        let port = item(PORT, b"\x05Ethernet1/7");
        [chassis, port, item(TTL, &ttl.to_be_bytes()), more.concat(), item(END, &[])].concat()
    }

    #[test]
    fn a_switch_tells_its_name_and_port() {
        let more = [
            item(PORT_DESCRIPTION, b"to node 7"),
            item(SYSTEM_NAME, b"sw-r1\0"),
            item(6, b"Some OS"),
            item(ORGANISATION, &[0, 0x80, 0xc2, 1, 0, 42]),
            item(ORGANISATION, &[0, 0x12, 0x0f, 1, 3]),
        ];
        let found = neighbour(&frame(120, &more)).unwrap();
        let expected = Neighbour {
            chassis: "52:54:00:00:00:99".into(),
            port: "Ethernet1/7".into(),
            system: "sw-r1".into(),
            description: "to node 7".into(),
            vlan: Some(42),
        };
        assert_eq!(found, expected);
        assert_eq!(neighbour(&frame(0, &more)), None, "it goes away");
    }

    #[test]
    fn ids_of_every_kind_are_read() {
        assert_eq!(id(&[5, 1, 10, 0, 0, 1], 4, 5).unwrap(), "10.0.0.1");
        assert_eq!(id(&[[5, 2].as_slice(), &[0; 15], &[1]].concat(), 4, 5).unwrap(), "::1");
        assert_eq!(id(&[5, 9, 1, 2], 4, 5).unwrap(), "09:01:02");
        assert_eq!(id(b"\x07swp3", 3, 4).unwrap(), "swp3");
        assert_eq!(id(&[7, 1, 0xff], 3, 4).unwrap(), "01:ff");
        assert_eq!(id(&[3, 1, 2, 3, 4, 5, 6], 3, 4).unwrap(), "01:02:03:04:05:06");
        assert_eq!(id(&[7], 3, 4), None);
    }

    #[test]
    fn a_frame_that_is_cut_says_no_more_than_it_has() {
        let whole = frame(120, &[item(SYSTEM_NAME, b"sw-r1")]);
        let mandatory = frame(120, &[]).len() - 2;
        for len in 0..whole.len() {
            let found = neighbour(&whole[..len]);
            assert_eq!(found.is_some(), len >= mandatory, "{len}");
        }
        assert_eq!(neighbour(&vec![0; LLDP_FRAME_MAX + 1]), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(found) = neighbour(&bytes) {
                let texts = [&found.chassis, &found.port, &found.system, &found.description];
                proptest::prop_assert!(texts.iter().all(|text| !text.contains(char::is_control)));
            }
        }
    }
}
