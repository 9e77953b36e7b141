//! Exchanges as EDK2, iPXE and a running system have them.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use dhcproto::v4::Architecture;
use dhcproto::v6::{DhcpOption, IANA, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use proptest::prelude::*;
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::Mono;

use super::*;
use crate::boot::Nbps;
use crate::registry::{Interface, Node, Snapshot};

const MAC: Mac = Mac([0x52, 0x54, 0, 0x42, 0, 1]);
const CLIENT: &str = "fe80::5054:ff:fe42:1";
const ADDRESS: &str = "fd42::101";
/// As EDK2 and iPXE make theirs, of the machine's UUID.
const DUID: [u8; 18] = [0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn machine() -> Machine {
    let link = Link { index: 2, mac: Mac([2, 0, 0, 0, 0, 9]), networks: vec!["fd42::1/64".parse().unwrap()] };
    let mut machine = Machine::new(Settings {
        links: vec![link],
        http_port: 9872,
        lease: Duration::from_secs(3600),
        dns: vec!["fd42::53".parse().unwrap()],
        nbps: Nbps::default(),
    });
    let interface = Interface {
        net: "default".into(),
        mac: Some(MAC),
        ip6: Some(ADDRESS.parse().unwrap()),
        prefix6: Some(64),
        ..Interface::default()
    };
    let node = Node { interfaces: vec![interface], ..Node::named("n1".parse().unwrap()) };
    machine.handle_input(Mono::ZERO, Input::Nodes(Arc::new(Snapshot::new([node]))));
    machine
}

fn message(kind: MessageType, options: Vec<DhcpOption>) -> Message {
    let mut message = Message::new_with_id(kind, [1, 2, 3]);
    message.opts_mut().insert(DhcpOption::ClientId(DUID.to_vec()));
    let none = dhcproto::v6::DhcpOptions::new();
    message.opts_mut().insert(DhcpOption::IANA(IANA { id: 7, t1: 0, t2: 0, opts: none }));
    options.into_iter().for_each(|option| message.opts_mut().insert(option));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = vec![];
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn exchange(machine: &mut Machine, seconds: u64, from: &str, packet: &[u8]) -> Vec<Output> {
    let from = SocketAddrV6::new(from.parse().unwrap(), 546, 0, 2);
    machine.handle_input(Mono::from_millis(seconds * 1000), Input::Packet { link: 0, from, bytes: packet });
    std::iter::from_fn(|| machine.poll_output()).collect()
}

fn sent(outputs: &[Output]) -> Option<(SocketAddrV6, &[u8])> {
    outputs.iter().find_map(|output| match output {
        Output::Send { to, bytes, .. } => Some((*to, bytes.as_slice())),
        _ => None,
    })
}

fn answer(outputs: &[Output]) -> Message {
    Message::decode(&mut Decoder::new(sent(outputs).expect("it is answered").1)).unwrap()
}

fn url(message: &Message) -> Option<String> {
    match message.opts().get(OptionCode::Unknown(59)) {
        Some(DhcpOption::Unknown(option)) => Some(String::from_utf8(option.data().to_vec()).unwrap()),
        _ => None,
    }
}

fn given(message: &Message) -> Option<Ipv6Addr> {
    let Some(DhcpOption::IANA(association)) = message.opts().get(OptionCode::IANA) else { return None };
    assert_eq!(association.id, 7);
    match association.opts.get(OptionCode::IAAddr) {
        Some(DhcpOption::IAAddr(address)) => Some(address.addr),
        _ => None,
    }
}

/// A text with its length before it, as user and vendor classes have them.
fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn firmware(arch: u16, class: &str) -> Vec<DhcpOption> {
    let class = text(&format!("{class}:Arch:{arch:05}:UNDI:003001"));
    let class = UnknownOption::new(OptionCode::VendorClass, [&343u32.to_be_bytes()[..], &class].concat());
    vec![DhcpOption::ClientArchType(vec![Architecture(arch)]), DhcpOption::Unknown(class)]
}

fn class(name: &str) -> Vec<DhcpOption> {
    let class = UnknownOption::new(OptionCode::UserClass, text(name));
    [firmware(7, "PXEClient"), vec![DhcpOption::Unknown(class)]].concat()
}

#[test]
fn each_kind_of_client_gets_its_address_and_the_file_it_can_run() {
    let script = Some("http://[fd42::1]:9872/boot/52-54-00-42-00-01/script.ipxe");
    for (name, options, file) in [
        ("EDK2 PXE", firmware(7, "PXEClient"), Some("tftp://[fd42::1]/snponly.efi")),
        ("EDK2 HTTP boot", firmware(0x10, "HTTPClient"), Some("http://[fd42::1]:9872/nbp/snponly.efi")),
        ("iPXE", class("iPXE"), script),
        ("our iPXE", class("wulfpack"), script),
        ("a system", vec![], None),
    ] {
        let mut machine = machine();
        let solicit = bytes(&message(MessageType::Solicit, options.clone()));
        let outputs = exchange(&mut machine, 1, CLIENT, &solicit);
        let advertise = answer(&outputs);
        assert_eq!((advertise.msg_type(), outputs.len()), (MessageType::Advertise, 1), "{name}");
        assert_eq!((given(&advertise), url(&advertise).as_deref()), (Some(ADDRESS.parse().unwrap()), file), "{name}");
        let server = advertise.opts().get(OptionCode::ServerId).unwrap().clone();
        let request = bytes(&message(MessageType::Request, [options, vec![server]].concat()));
        let outputs = exchange(&mut machine, 2, CLIENT, &request);
        let reply = answer(&outputs);
        assert_eq!((reply.msg_type(), given(&reply)), (MessageType::Reply, Some(ADDRESS.parse().unwrap())), "{name}");
        assert_eq!(url(&reply).as_deref(), file, "{name}");
        let boots = name != "a system";
        let address = ADDRESS.parse().unwrap();
        assert_eq!(outputs[0], Output::Given { mac: MAC, address, boots }, "{name}");
        assert_eq!(outputs.iter().any(|output| matches!(output, Output::Event(_))), boots, "{name}");
        // HTTP boot takes no other answer, and looks at this very place (EDK2, HttpBootDhcp6.c).
        let Some((_, packet)) = sent(&outputs) else { panic!("{name}") };
        let class = [&[0, 16, 0, 16, 0, 0, 1, 0x57, 0, 10][..], b"HTTPClient"].concat();
        assert_eq!(packet.windows(class.len()).any(|window| window == class), name == "EDK2 HTTP boot");
    }
}

#[test]
fn who_is_unknown_or_meant_another_server_is_not_answered() {
    let mut machine = machine();
    let solicit = bytes(&message(MessageType::Solicit, firmware(7, "PXEClient")));
    assert!(exchange(&mut machine, 1, "fe80::5054:ff:fe42:2", &solicit).is_empty(), "another machine");
    assert!(exchange(&mut machine, 1, "fe80::1:2:3:4", &solicit).is_empty(), "an address that says nothing");
    let other = DhcpOption::ServerId(vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
    assert!(exchange(&mut machine, 1, CLIENT, &bytes(&message(MessageType::Request, vec![other]))).is_empty());
    assert!(exchange(&mut machine, 1, CLIENT, b"").is_empty());
    assert_eq!((machine.counters().unknown, machine.counters().malformed), (2, 1));
    let duid = DhcpOption::ClientId([&[0, 3, 0, 1][..], &MAC.0].concat());
    let mut named = message(MessageType::Solicit, vec![]);
    named.opts_mut().remove(OptionCode::ClientId);
    named.opts_mut().insert(duid);
    assert!(!exchange(&mut machine, 1, "fe80::1:2:3:4", &bytes(&named)).is_empty(), "known by its DUID");
}

/// A packet as a relay of the network fd42:0:0:5::/64 sends it on.
fn relayed(inner: &[u8], extra: &[u8]) -> Vec<u8> {
    let mut packet = vec![12, 0];
    packet.extend("fd42::1:ffff".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(CLIENT.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend([0, 18, 0, 4, b'p', b'o', b'r', b't']);
    packet.extend(extra);
    packet.extend([0, 9]);
    packet.extend(u16::try_from(inner.len()).unwrap().to_be_bytes());
    packet.extend(inner);
    packet
}

#[test]
fn an_answer_goes_back_through_every_relay() {
    let mut machine = machine();
    let solicit = bytes(&message(MessageType::Solicit, firmware(7, "PXEClient")));
    let twice = relayed(&relayed(&solicit, &[]), &[]);
    let outputs = exchange(&mut machine, 1, "fd42::99", &twice);
    let (to, mut packet) = sent(&outputs).unwrap();
    assert_eq!((to.ip().to_string().as_str(), to.port()), ("fd42::99", 547));
    for _ in 0..2 {
        assert_eq!((packet[0], &packet[34..42]), (13, &[0, 18, 0, 4, b'p', b'o', b'r', b't'][..]));
        packet = &packet[46..];
    }
    assert_eq!(given(&Message::decode(&mut Decoder::new(packet)).unwrap()), Some(ADDRESS.parse().unwrap()));
    // What the relay knows of the hardware counts more than what the client calls itself.
    let mac = [&[0, 79, 0, 8, 0, 1][..], &[2, 2, 2, 2, 2, 2]].concat();
    assert!(exchange(&mut machine, 1, "fd42::99", &relayed(&solicit, &mac)).is_empty());
    let mut deep = solicit;
    for _ in 0..9 {
        deep = relayed(&deep, &[]);
    }
    assert!(exchange(&mut machine, 1, "fd42::99", &deep).is_empty());
}

#[test]
fn addresses_are_confirmed_renewed_and_given_back() {
    let mut machine = machine();
    for kind in [MessageType::Renew, MessageType::Rebind] {
        let reply = answer(&exchange(&mut machine, 1, CLIENT, &bytes(&message(kind, vec![]))));
        assert_eq!(given(&reply), Some(ADDRESS.parse().unwrap()));
    }
    for kind in [MessageType::Confirm, MessageType::Release, MessageType::Decline] {
        let reply = answer(&exchange(&mut machine, 1, CLIENT, &bytes(&message(kind, vec![]))));
        assert!(reply.opts().get(OptionCode::StatusCode).is_some() && given(&reply).is_none(), "{kind:?}");
    }
    let info =
        answer(&exchange(&mut machine, 1, CLIENT, &bytes(&message(MessageType::InformationRequest, class("iPXE")))));
    assert!(given(&info).is_none() && url(&info).is_some());
}

#[test]
fn link_local_addresses_tell_the_hardware() {
    assert_eq!(mac_of_address(CLIENT.parse().unwrap()), Some(MAC));
    assert_eq!(mac_of_address(ADDRESS.parse().unwrap()), None);
    assert_eq!(mac_of_address("fe80::1".parse().unwrap()), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(packet in prop::collection::vec(any::<u8>(), 0..200), relays in 0usize..12) {
        let mut machine = machine();
        let mut packet = packet;
        for _ in 0..relays {
            packet = relayed(&packet, &[]);
        }
        for output in exchange(&mut machine, 1, CLIENT, &packet) {
            if let Output::Send { to, .. } = output {
                prop_assert!(!IpAddr::from(*to.ip()).is_unspecified());
            }
        }
    }
}
