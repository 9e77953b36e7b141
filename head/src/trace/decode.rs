//! DHCP packets in words, for whoever looks for the reason why a machine does not boot.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::dhcp::{dissect, option_name};

/// A packet in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoded {
    /// `DISCOVER`, `OFFER`, …
    pub kind: String,
    /// Transaction id.
    pub xid: u32,
    /// Fields of the header that are not empty.
    pub header: Vec<(String, String)>,
    /// Options in the order in which they stand.
    pub options: Vec<(u8, String, String)>,
}

/// The packet in words; `None` where the bytes are none.
pub fn decode(bytes: &[u8]) -> Option<Decoded> {
    let packet = dissect(bytes)?;
    let mut header = vec![];
    let mut add = |name: &str, value: String| header.push((name.to_owned(), value));
    for (name, address) in [
        ("client has", packet.ciaddr),
        ("your address", packet.yiaddr),
        ("next server", packet.siaddr),
        ("relay", packet.giaddr),
    ] {
        if !address.is_unspecified() {
            add(name, address.to_string());
        }
    }
    if packet.secs > 0 {
        add("seconds", packet.secs.to_string());
    }
    if packet.broadcast {
        add("flags", "broadcast".into());
    }
    if !packet.file.is_empty() {
        add("file", packet.file.clone());
    }
    let options = packet.options.iter().map(|(code, value)| {
        let name =
            own_name(*code).or_else(|| option_name(*code)).map_or_else(|| format!("option-{code}"), str::to_owned);
        (*code, name, value_text(*code, value))
    });
    let options = options.filter(|(code, ..)| *code != 53).collect();
    Some(Decoded { kind: kind(packet.kind), xid: packet.xid, header, options })
}

/// The same in a line.
pub fn describe(decoded: &Decoded) -> String {
    let header = decoded.header.iter().map(|(name, value)| format!("{name} {value}"));
    let options = decoded.options.iter().map(|(code, name, value)| format!("{name}({code}) {value}"));
    let all: Vec<String> = header.chain(options).collect();
    format!("{} xid {:08x}: {}", decoded.kind, decoded.xid, all.join("; "))
}

fn kind(code: Option<u8>) -> String {
    const NAMES: [&str; 8] = ["DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"];
    let name = code.and_then(|code| NAMES.get(usize::from(code).checked_sub(1)?));
    name.map_or_else(|| code.map_or("BOOTP".into(), |code| format!("type {code}")), |name| (*name).to_owned())
}

/// Options that no administrator sets.
const fn own_name(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "subnet-mask",
        50 => "requested-address",
        51 => "lease-time",
        52 => "overload",
        53 => "message-type",
        54 => "server-identifier",
        55 => "parameter-list",
        56 => "message",
        57 => "max-message-size",
        58 => "renewal-time",
        59 => "rebinding-time",
        60 => "vendor-class",
        61 => "client-id",
        77 => "user-class",
        82 => "relay-agent",
        93 => "architecture",
        94 => "network-interface",
        97 => "machine-uuid",
        175 => "ipxe",
        _ => return None,
    })
}

fn value_text(code: u8, value: &[u8]) -> String {
    let number = || value.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    match (code, value.len()) {
        (1 | 3..=9 | 16 | 28 | 32 | 41 | 42 | 44 | 48..=50 | 54 | 65 | 69 | 72 | 150, len)
            if len > 0 && len % 4 == 0 =>
        {
            let list = value.chunks_exact(4).filter_map(|four| <[u8; 4]>::try_from(four).ok()).map(Ipv4Addr::from);
            list.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
        }
        (51 | 58 | 59, 4) => format!("{} s", number()),
        (13 | 22 | 26 | 57, 2) | (23 | 37 | 46 | 52 | 116, 1) => number().to_string(),
        (55, _) => value.iter().map(u8::to_string).collect::<Vec<_>>().join(","),
        (93, len) if len % 2 == 0 => {
            value.chunks_exact(2).map(|two| format!("0x{:02x}{:02x}", two[0], two[1])).collect::<Vec<_>>().join(", ")
        }
        (43 | 82 | 175, _) => sub_options(value),
        _ => readable(value),
    }
}

/// `1 "eth7"; 2 0a0b`
fn sub_options(value: &[u8]) -> String {
    let (mut rest, mut parts) = (value, vec![]);
    while let Some((code, after)) = rest.split_first() {
        if matches!(code, 0 | 255) {
            rest = after;
            continue;
        }
        let Some((len, after)) = after.split_first() else { break };
        let Some((value, after)) = after.split_at_checked(usize::from(*len)) else { break };
        parts.push(format!("{code} {}", readable(value)));
        rest = after;
    }
    parts.join(", ")
}

/// Text in quotes, anything else as hexadecimal digits.
fn readable(bytes: &[u8]) -> String {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let plain = !text.is_empty() && text.iter().all(|byte| (b' '..=b'~').contains(byte));
    if plain { format!("{:?}", String::from_utf8_lossy(text)) } else { data_encoding::HEXLOWER.encode(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_told_with_its_options_decoded() {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[0xde, 0xad, 0, 1]);
        bytes[10] = 0x80;
        bytes[24..28].copy_from_slice(&[10, 9, 0, 1]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend([53, 1, 1, 93, 2, 0, 7, 55, 2, 1, 67, 82, 6, 1, 4, b'e', b't', b'h', b'7']);
        bytes.extend([60, 9]);
        bytes.extend(b"PXEClient");
        bytes.push(255);
        let line = describe(&decode(&bytes).unwrap());
        assert_eq!(
            line,
            "DISCOVER xid dead0001: relay 10.9.0.1; flags broadcast; architecture(93) 0x0007; parameter-list(55) 1,67; relay-agent(82) 1 \"eth7\"; vendor-class(60) \"PXEClient\""
        );
        assert!(decode(&bytes[..100]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_told_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            if let Some(decoded) = decode(&bytes) {
                describe(&decoded);
            }
        }
    }
}
