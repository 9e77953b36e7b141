//! One machine: EDK2's PXE client, then iPXE.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{Architecture, DhcpOption, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use wulfpack_shared::id::Mac;

/// EDK2 waits this long for each answer by DHCP, then gives the card up (NetworkPkg/Dxe, `PcdDhcp…`; Dhcp4Dxe: 4, 8, 16, 32 s).
const EDK2_DHCP: [u64; 4] = [4, 8, 16, 32];
/// iPXE: from one second, doubled, up to ten (src/config/dhcp.h, src/net/retry.c).
const IPXE_DHCP: [u64; 4] = [1, 2, 4, 8];
/// EDK2's MTFTP: 4 s, six times (PxeBcMtftp.h).
const TFTP_WAIT: u64 = 4;
const TFTP_TRIES: usize = 6;
/// Blocks that EDK2 wants before it acknowledges (`PcdPxeTftpWindowSize`).
const WINDOW: u16 = 4;
const BLOCK: usize = 1468;

/// Where a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// DHCP: in which program, and whether it has an offer.
    Dhcp { ipxe: bool, server: Option<Ipv4Addr> },
    /// Loading the boot program: blocks that it has.
    Nbp(u64),
    /// Has asked for its script, or waits to ask again.
    Script,
    /// Loading kernel and archives.
    Files,
    /// It starts its kernel.
    Done,
    /// It gave up.
    Lost,
}

/// What a machine does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Dhcp(Vec<u8>),
    Tftp(Vec<u8>),
    AskScript,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) mac: Mac,
    pub(super) step: Step,
    /// Counts up with each word from the head: an older timer means nothing.
    pub(super) epoch: u32,
    /// Times in a row that nothing came.
    pub(super) tries: usize,
    /// Retries in its whole boot.
    pub(super) retries: u32,
    address: Ipv4Addr,
}

impl Client {
    pub(super) fn new(mac: Mac, address: Ipv4Addr) -> Self {
        let step = Step::Dhcp { ipxe: false, server: None };
        Self { mac, step, epoch: 0, tries: 0, retries: 0, address }
    }

    /// How long it waits for the next word; `None` when its patience is at its end.
    pub(super) fn patience(&self) -> Option<Duration> {
        let seconds = match self.step {
            Step::Dhcp { ipxe: false, .. } => EDK2_DHCP.get(self.tries).copied(),
            Step::Dhcp { ipxe: true, .. } => IPXE_DHCP.get(self.tries).copied(),
            Step::Nbp(_) => (self.tries < TFTP_TRIES).then_some(TFTP_WAIT),
            _ => Some(3600),
        };
        seconds.map(Duration::from_secs)
    }

    /// Says, or says again, what it says at this step.
    pub(super) fn speak(&self) -> Act {
        match self.step {
            Step::Dhcp { ipxe, server } => Act::Dhcp(self.dhcp(ipxe, server)),
            Step::Nbp(0) => Act::Tftp(
                [b"\0\x01snponly.efi\0octet\0blksize\x001468\0windowsize\x00", WINDOW.to_string().as_bytes(), b"\0"]
                    .concat(),
            ),
            Step::Nbp(blocks) => Act::Tftp(ack(blocks)),
            Step::Script => Act::AskScript,
            Step::Files | Step::Done | Step::Lost => Act::Nothing,
        }
    }

    fn dhcp(&self, ipxe: bool, server: Option<Ipv4Addr>) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let xid = u32::from(self.address) ^ u32::from(ipxe);
        let mut message = Message::new_with_id(xid, none, none, none, none, &self.mac.0);
        let options = message.opts_mut();
        let kind = if server.is_some() { MessageType::Request } else { MessageType::Discover };
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()));
        options.insert(DhcpOption::ClientSystemArchitecture(Architecture(7)));
        options.insert(DhcpOption::MaxMessageSize(1472));
        if ipxe {
            let feature = |code| [code, 1, 1];
            let features = [feature(19), feature(36)].concat();
            options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(77), b"iPXE".to_vec())));
            options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(175), features)));
        }
        if let Some(server) = server {
            options.insert(DhcpOption::ServerIdentifier(server));
            options.insert(DhcpOption::RequestedIpAddress(self.address));
        }
        let mut bytes = vec![];
        // A message of ours is never too long to be written.
        drop(message.encode(&mut Encoder::new(&mut bytes)));
        bytes
    }

    /// A DHCP packet came. What it does now.
    pub(super) fn hear_dhcp(&mut self, packet: &[u8]) -> Option<Act> {
        let Step::Dhcp { ipxe, server } = self.step else { return None };
        let message = Message::decode(&mut Decoder::new(packet)).ok()?;
        match (message.opts().msg_type()?, server) {
            (MessageType::Offer, None) => {
                let Some(DhcpOption::ServerIdentifier(id)) = message.opts().get(OptionCode::ServerIdentifier) else {
                    return None;
                };
                self.step = Step::Dhcp { ipxe, server: Some(*id) };
            }
            (MessageType::Ack, Some(_)) => self.step = if ipxe { Step::Script } else { Step::Nbp(0) },
            _ => return None,
        }
        self.tries = 0;
        Some(self.speak())
    }

    /// A TFTP packet came. What it does now.
    pub(super) fn hear_tftp(&mut self, packet: &[u8]) -> Option<Act> {
        let Step::Nbp(blocks) = self.step else { return None };
        match *packet {
            [0, 6, ..] if blocks == 0 => {
                self.tries = 0;
                Some(Act::Tftp(vec![0, 4, 0, 0]))
            }
            [0, 3, high, low, ref data @ ..] => {
                let number = u64::from(u16::from_be_bytes([high, low]));
                if number != blocks + 1 {
                    return None;
                }
                self.tries = 0;
                self.step = Step::Nbp(number);
                let last = data.len() < BLOCK;
                let act = (last || number.is_multiple_of(u64::from(WINDOW))).then(|| Act::Tftp(ack(number)));
                if last {
                    self.step = Step::Dhcp { ipxe: true, server: None };
                }
                Some(act.unwrap_or(Act::Nothing))
            }
            _ => None,
        }
    }
}

fn ack(number: u64) -> Vec<u8> {
    let [high, low] = (number as u16).to_be_bytes();
    vec![0, 4, high, low]
}
