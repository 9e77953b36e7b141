//! The machine against packets as real clients send them.

mod answers;
mod boot_files;
mod explained;
mod limits;
mod others;
mod proxy;
mod ranges;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::v4::{Architecture, DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::{Mono, Now};

use super::{Input, LeaseRecord, Link, Machine, Nbps, Output, Policy, Port, Settings, State};
use crate::config::DhcpConfig;
use crate::fleet::BootEvent;
use crate::registry::{Interface, Node, Snapshot};

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SEED: u32 = 0x5eed;
const SCRIPT: &str = "http://10.0.0.1:9872/boot/52-54-00-00-00-01/script.ipxe";

fn node(name: &str, mac: Mac, ip: Ipv4Addr) -> Node {
    let interface = Interface {
        net: "default".into(),
        mac: Some(mac),
        ip: Some(ip.into()),
        prefix: Some(24),
        gateway: Some("10.0.0.254".parse().unwrap()),
        mtu: Some(9000),
        ..Interface::default()
    };
    Node { interfaces: vec![interface], primary: Some(0), ..Node::named(name.parse().unwrap()) }
}

fn settings() -> Settings {
    let link = |name: &str, index, address: &str| Link {
        name: name.into(),
        index,
        mac: Mac([2, 0, 0, 0, 0xff, index as u8]),
        addresses: vec![address.parse().unwrap()],
        addresses6: vec![],
    };
    Settings {
        links: vec![link("eth0", 2, "10.0.0.1/24"), link("eth1", 3, "192.168.5.1/24")],
        http_port: 9872,
        lease: core::time::Duration::from_secs(3600),
        domain: Some("cluster.example".into()),
        dns: vec![SERVER],
        nbps: Nbps::default(),
        override_other: false,
        own_heads: vec![Ipv4Addr::new(10, 0, 0, 2)],
        seed: SEED,
        policy: Policy::default(),
    }
}

/// A machine with this configuration, below `dhcp:`, that knows one node, after its first probes.
fn configured(yaml: &str) -> Machine {
    let config: DhcpConfig = crate::config::yaml::parse(yaml).unwrap();
    config.check().unwrap();
    started(Settings { policy: Policy::new(&config), ..settings() })
}

/// A machine that knows one node, after its first probes.
fn machine() -> Machine {
    started(settings())
}

fn started(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings);
    let far = node("far", Mac([0x52, 0x54, 0, 0, 0, 2]), Ipv4Addr::new(10, 9, 0, 7));
    machine.handle_input(at(0), Input::Nodes(Arc::new(Snapshot::new([node("n1", MAC, ADDRESS), far]))));
    machine.handle_input(at(0), Input::Tick);
    drain(&mut machine);
    machine
}

fn at(seconds: u64) -> Now {
    Now::mono(Mono::from_millis(seconds * 1000))
}

fn drain(machine: &mut Machine) -> Vec<Output> {
    std::iter::from_fn(|| machine.poll_output()).collect()
}

fn message(mac: Mac, kind: MessageType, options: impl IntoIterator<Item = DhcpOption>) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(77, none, none, none, none, &mac.0);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option);
    }
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = vec![];
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// A packet that came to this port of the first interface.
fn heard(bytes: &[u8], port: Port) -> Input<'_> {
    Input::Packet { link: 0, port, from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), bytes }
}

/// Splits what is sent from what else is done: where to (with `@` where the hardware address is given), and the packet.
fn sort(outputs: Vec<Output>) -> (Vec<(String, Message)>, Vec<Output>) {
    let (mut sent, mut rest) = (vec![], vec![]);
    for output in outputs {
        match output {
            Output::Send { to, bytes, source, link, hardware, .. } => {
                assert_eq!((source, link), (SERVER, 0));
                assert!(bytes.len() >= 300);
                let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
                assert!(hardware.is_none_or(|mac| mac.0 == message.chaddr()));
                let to = hardware.map_or_else(|| to.to_string(), |_| format!("@{to}"));
                sent.push((to, message));
            }
            // What is told of decisions is for reading.
            Output::Note { .. } => {}
            other => rest.push(other),
        }
    }
    (sent, rest)
}

/// The answers to a packet, and what else it led to.
fn answers(machine: &mut Machine, seconds: u64, bytes: &[u8]) -> (Vec<(String, Message)>, Vec<Output>) {
    machine.handle_input(at(seconds), heard(bytes, Port::Server));
    sort(drain(machine))
}

/// The one answer to a message.
fn answer(machine: &mut Machine, seconds: u64, request: &Message) -> (String, Message) {
    let (mut sent, _) = answers(machine, seconds, &bytes(request));
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0)
}

fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

fn boot_file(message: &Message) -> Option<String> {
    let Some(DhcpOption::BootfileName(name)) = message.opts().get(OptionCode::BootfileName) else { return None };
    let name = String::from_utf8(name.clone()).unwrap();
    // Both forms say the same.
    assert_eq!(message.fname().unwrap().strip_suffix(&[0]).unwrap(), name.as_bytes());
    assert_eq!(message.siaddr(), SERVER);
    assert_eq!(message.opts().get(OptionCode::TFTPServerName), Some(&DhcpOption::TFTPServerName(b"10.0.0.1".to_vec())));
    Some(name)
}

fn unknown(code: u8, data: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(code), data.to_vec()))
}

fn uuid() -> DhcpOption {
    DhcpOption::ClientMachineIdentifier((0..17).collect())
}

fn selecting() -> [DhcpOption; 2] {
    [DhcpOption::RequestedIpAddress(ADDRESS), DhcpOption::ServerIdentifier(SERVER)]
}

/// Option 60, 93, 94, 97 and 57 as PXE firmware sends them.
fn firmware(arch: u16) -> Vec<DhcpOption> {
    vec![
        DhcpOption::ClassIdentifier(format!("PXEClient:Arch:{arch:05}:UNDI:003016").into_bytes()),
        DhcpOption::ClientSystemArchitecture(Architecture(arch)),
        DhcpOption::ClientNetworkInterface(1, 3, 16),
        DhcpOption::MaxMessageSize(1472),
        uuid(),
    ]
}

/// iPXE repeats the firmware's options and adds its user class and features.
fn ipxe(arch: u16, class: &[u8], features: &[u8]) -> Vec<DhcpOption> {
    let mut options = firmware(arch);
    options.push(DhcpOption::UserClass(class.to_vec()));
    let mut encapsulated = vec![177, 5, 1, 0x80, 0x86, 0x10, 0x0e, 235, 3, 1, 20, 1];
    for feature in features {
        encapsulated.extend([*feature, 1, 1]);
    }
    options.push(unknown(175, &encapsulated));
    options
}

fn events(outputs: &[Output]) -> Vec<&BootEvent> {
    outputs.iter().filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None }).collect()
}

fn state(machine: &Machine) -> State {
    machine.status().state
}

fn broadcast(message: &mut Message) -> &mut Message {
    message.set_flags(Flags::default().set_broadcast())
}
