//! Packets of TFTP (RFC 1350) and its options (RFC 2347 to 2349, 7440), as a server reads and writes them.

use wulfpack_shared::limits::TFTP_REQUEST_MAX;

/// Error codes (RFC 1350, section 5; RFC 2347).
pub(super) mod error {
    pub(crate) const UNDEFINED: u16 = 0;
    pub(crate) const NOT_FOUND: u16 = 1;
    pub(crate) const ACCESS: u16 = 2;
    pub(crate) const ILLEGAL: u16 = 4;
}

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Block size without an option (RFC 1350).
const BLOCK_DEFAULT: u16 = 512;
/// Smallest block (RFC 2348).
const BLOCK_MIN: u16 = 8;
/// Largest window (RFC 7440); EDK2 asks for 4. Blocks.
const WINDOW_MAX: u16 = 32;
/// Most options that are looked at.
const OPTIONS_MAX: usize = 16;

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Somebody wants to read a file.
    Read(ReadRequest),
    /// Somebody wants to write one.
    Write,
    /// A block was received.
    Ack(u16),
    /// The other end gives up.
    Error,
}

/// A request to read, with what the client would like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The file, as the client writes it.
    pub path: String,
    /// Bytes in a block.
    pub block: Option<u16>,
    /// Blocks before an acknowledgement.
    pub window: Option<u16>,
    /// Seconds until something is sent again.
    pub timeout: Option<u8>,
    /// Whether it wants to know the size.
    pub size: bool,
}

/// Reads a packet; `None` if it is none of TFTP's that a server understands.
pub fn parse(bytes: &[u8]) -> Option<Packet> {
    let (code, rest) = bytes.split_first_chunk()?;
    match u16::from_be_bytes(*code) {
        RRQ if bytes.len() <= TFTP_REQUEST_MAX => read(rest).map(Packet::Read),
        WRQ => Some(Packet::Write),
        ACK => rest.first_chunk().map(|number| Packet::Ack(u16::from_be_bytes(*number))),
        ERROR => Some(Packet::Error),
        _ => None,
    }
}

fn read(rest: &[u8]) -> Option<ReadRequest> {
    // Some ROMs forget the last nul.
    let rest = rest.strip_suffix(b"\0").unwrap_or(rest);
    let mut words = rest.split(|byte| *byte == 0);
    let path = core::str::from_utf8(words.next()?).ok()?.to_owned();
    let mode = words.next()?;
    if !(mode.eq_ignore_ascii_case(b"octet") || mode.eq_ignore_ascii_case(b"netascii")) {
        return None;
    }
    let mut request = ReadRequest { path, block: None, window: None, timeout: None, size: false };
    for _ in 0..OPTIONS_MAX {
        let (Some(name), Some(value)) = (words.next(), words.next()) else { break };
        // An option that makes no sense is left out of the answer, as one that is not known (RFC 2347).
        let number = core::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
        let small = number.and_then(|number| u16::try_from(number).ok());
        match name.to_ascii_lowercase().as_slice() {
            b"blksize" => request.block = number.map(|n| n.min(65_464) as u16).filter(|block| *block >= BLOCK_MIN),
            b"windowsize" => request.window = small.filter(|window| *window >= 1),
            b"timeout" => request.timeout = number.and_then(|n| u8::try_from(n).ok()).filter(|seconds| *seconds >= 1),
            b"tsize" => request.size = number.is_some(),
            _ => {}
        }
    }
    Some(request)
}

/// How a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) block: u16,
    pub(super) window: u16,
}

impl ReadRequest {
    /// What the server agrees to, where a block may have `block_max` bytes: never more than was asked for.
    pub(super) fn terms(&self, block_max: u16) -> Terms {
        Terms {
            block: self.block.map_or(BLOCK_DEFAULT, |block| block.min(block_max)),
            window: self.window.map_or(1, |window| window.min(WINDOW_MAX)),
        }
    }

    /// The answer to the options; none where none was understood. Only what was asked for is answered.
    pub(super) fn oack(&self, terms: Terms, len: u64) -> Option<Vec<u8>> {
        let mut words: Vec<(&str, u64)> = vec![];
        words.extend(self.block.map(|_| ("blksize", terms.block.into())));
        words.extend(self.size.then_some(("tsize", len)));
        words.extend(self.timeout.map(|seconds| ("timeout", seconds.into())));
        words.extend(self.window.map(|_| ("windowsize", terms.window.into())));
        if words.is_empty() {
            return None;
        }
        let mut packet = OACK.to_be_bytes().to_vec();
        for (name, value) in words {
            packet.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        Some(packet)
    }
}

/// A block of a file.
pub(super) fn data(number: u16, block: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(block.len() + 4);
    packet.extend_from_slice(&DATA.to_be_bytes());
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend_from_slice(block);
    packet
}

/// A refusal.
pub(super) fn refusal(code: u16, why: &str) -> Vec<u8> {
    let mut packet = ERROR.to_be_bytes().to_vec();
    packet.extend_from_slice(&code.to_be_bytes());
    packet.extend(why.bytes().filter(|byte| *byte != 0).take(200));
    packet.push(0);
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_read_with_the_noise_of_firmware() {
        let read = |bytes: &[u8]| match parse(bytes) {
            Some(Packet::Read(request)) => request,
            other => panic!("{other:?}"),
        };
        let plain = read(b"\0\x01\\boot\\x.efi\0OCTET\0");
        assert_eq!((plain.path.as_str(), plain.oack(plain.terms(1468), 5)), ("\\boot\\x.efi", None));
        let all = read(b"\0\x01x\0octet\0BLKSIZE\x0065464\0tsize\x000\0windowsize\x0064\0timeout\x003\0multicast\0\0");
        let terms = all.terms(1468);
        assert_eq!(terms, Terms { block: 1468, window: 32 });
        let oack = all.oack(terms, 5000).unwrap();
        assert_eq!(oack, b"\0\x06blksize\x001468\0tsize\x005000\0timeout\x003\0windowsize\x0032\0");
        let odd = read(b"\0\x01x\0octet\0blksize\x007\0windowsize\x000\0timeout\x00x");
        assert_eq!((odd.block, odd.window, odd.timeout, odd.terms(1468).block), (None, None, None, 512));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(Packet::Read(request)) = parse(&bytes) {
                let terms = request.terms(1468);
                prop_assert!((8..=1468).contains(&terms.block) && (1..=WINDOW_MAX).contains(&terms.window));
            }
        }
    }
}
