//! The targets.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use wulfpack_agent::dhcp as client;
use wulfpack_agent::discover::{management, neighbour};
use wulfpack_agent::overlay::unpack;
use wulfpack_head::boot::{Loader, Programs, Scripts, is_template_name};
use wulfpack_head::config::DhcpConfig;
use wulfpack_head::dhcp::{self, Link, Machine, Nbps, Output};
use wulfpack_head::discover::{Match, parse_list};
use wulfpack_head::image::{Document, Platform, layer_entries};
use wulfpack_head::nodeset::{NoGroups, Resolver};
use wulfpack_head::registry::Snapshot;
use wulfpack_head::{dhcp6, tftp};
use wulfpack_shared::bootargs::BootArgs;
use wulfpack_shared::id::{Mac, PublicKey};
use wulfpack_shared::identity::{SignedMembership, Ticket, TokenKey};
use wulfpack_shared::image::{ChunkTable, SignedHeader};
use wulfpack_shared::limits::{
    CERTIFICATE_MAX, CONTROL_REQUEST_MAX, CONTROL_RESPONSE_MAX, DHCP6_PACKET_MAX, DISCOVER_TEXT_MAX, HEADER_MAX,
    OVERLAYS_MAX, PEER_FRAME_MAX,
};
use wulfpack_shared::overlay::Bundle;
use wulfpack_shared::time::{Mono, Now, UnixTime};
use wulfpack_shared::wire::{ChunkAsk, ChunkReply, ControlRequest, ControlResponse, PeerFrame, decode, encode};

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the corpus folder, and of the fuzz target.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "dhcp_server", run: dhcp_server },
    Target { name: "trace", run: trace },
    Target { name: "dhcp_client", run: dhcp_client },
    Target { name: "dhcp6_server", run: dhcp6_server },
    Target { name: "tftp", run: tftp },
    Target { name: "boot_paths", run: boot_paths },
    Target { name: "wire", run: wire },
    Target { name: "bootargs", run: bootargs },
    Target { name: "manifest", run: manifest },
    Target { name: "nodeset", run: nodeset },
    Target { name: "container", run: container },
    Target { name: "discovery", run: discovery },
    Target { name: "overlays", run: overlays },
];

fn dhcp_server(bytes: &[u8]) {
    let link = Link {
        name: "eth0".into(),
        index: 2,
        mac: Mac([0x52, 0x54, 0, 0, 0, 0xfe]),
        addresses: "10.0.0.1/24".parse().into_iter().collect(),
        addresses6: vec![],
    };
    let mut machine = Machine::new(dhcp::Settings {
        links: vec![link],
        http_port: 9872,
        lease: Duration::from_secs(3600),
        domain: Some("cluster".into()),
        dns: vec![Ipv4Addr::new(10, 0, 0, 1)],
        nbps: Nbps::default(),
        override_other: false,
        own_heads: vec![],
        seed: 1,
        policy: dhcp_policy(),
    });
    let now = Now::mono(Mono::from_millis(1));
    machine.handle_input(now, dhcp::Input::Nodes(Arc::new(Snapshot::new(super::seeds::node()))));
    // Twice: what the first packet left behind is part of what the second meets.
    for port in [dhcp::Port::Server, dhcp::Port::Pxe, dhcp::Port::Client, dhcp::Port::Server] {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 68);
        machine.handle_input(now, dhcp::Input::Packet { link: 0, port, from, bytes });
        let outputs: Vec<Output> = std::iter::from_fn(|| machine.poll_output()).collect();
        assert!(outputs.len() < 16, "one packet led to {} outputs", outputs.len());
        assert!(outputs.iter().all(|output| !matches!(output, Output::Send { bytes, .. } if bytes.len() > 1500)));
    }
}

/// What a switch says to a machine in discovery, what firmware says, and lists of serial numbers.
fn discovery(bytes: &[u8]) {
    if let Some(found) = neighbour(bytes) {
        let texts = [&found.chassis, &found.port, &found.system, &found.description];
        assert!(texts.iter().all(|text| text.len() <= DISCOVER_TEXT_MAX && !text.contains(char::is_control)));
    }
    let _management = management(bytes);
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _list = parse_list(text);
        let _pattern = text.parse::<Match>();
    }
}

fn dhcp6_server(bytes: &[u8]) {
    let link = dhcp6::Link {
        index: 2,
        mac: Mac([0x52, 0x54, 0, 0, 0, 0xfe]),
        networks: "fd42::1/64".parse().into_iter().collect(),
    };
    let mut machine = dhcp6::Machine::new(dhcp6::Settings {
        links: vec![link],
        http_port: 9872,
        lease: Duration::from_secs(3600),
        dns: vec![],
        nbps: Nbps::default(),
    });
    machine.handle_input(Mono::ZERO, dhcp6::Input::Nodes(Arc::new(Snapshot::new(super::seeds::node()))));
    // The link-local address of the node's MAC address.
    let from = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1), 546, 0, 2);
    for _ in 0..2 {
        machine.handle_input(Mono::ZERO, dhcp6::Input::Packet { link: 0, from, bytes });
        let outputs: Vec<_> = std::iter::from_fn(|| machine.poll_output()).collect();
        assert!(outputs.len() < 8, "one packet led to {} outputs", outputs.len());
        let long = |output: &dhcp6::Output| matches!(output, dhcp6::Output::Send { bytes, .. } if bytes.len() > DHCP6_PACKET_MAX);
        assert!(!outputs.iter().any(long));
    }
}

/// Packets behind each other, each with its length before it: a transfer's state is part of what the next meets.
fn tftp(bytes: &[u8]) {
    let mut machine = tftp::Machine::new(1468);
    let from = SocketAddr::from(([10, 0, 0, 7], 2000));
    let (mut rest, mut now) = (bytes, Mono::ZERO);
    while let Some((len, more)) = rest.split_first() {
        let (packet, more) = more.split_at(usize::from(*len).min(more.len()));
        machine.handle_input(now, tftp::Input::Packet { from, bytes: packet });
        let mut sent = 0;
        while let Some(output) = machine.poll_output() {
            match output {
                tftp::Output::Open { id, .. } => {
                    machine.handle_input(now, tftp::Input::Opened { id, file: Ok(vec![7; 5000].into()) });
                }
                tftp::Output::Send { bytes, .. } => {
                    sent += 1;
                    assert!(bytes.len() <= 1472, "a block of {} bytes", bytes.len());
                }
                tftp::Output::Ended { bytes, .. } => assert!(bytes <= 5000),
            }
        }
        assert!(sent <= 33, "one packet led to {sent}");
        if let Some((at, _)) = machine.poll_timeout() {
            now = at;
            machine.handle_input(now, tftp::Input::Tick);
            while machine.poll_output().is_some() {}
        }
        rest = more;
    }
    assert!(machine.counters().running <= 1);
}

/// What a boot loader asks for by name, and what it says of itself there.
fn boot_paths(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let safe = |name: &str| !name.contains('\\') && !name.starts_with('/');
    if let tftp::Wanted::Program(name) = tftp::Wanted::parse(text) {
        assert!(safe(&name), "{name}");
        assert!(Programs::default().get(&name).is_none());
    }
    assert!(!is_template_name(text) || (safe(text) && !text.contains('/') && !text.starts_with('.')));
    // Whatever a node is called and told, its script has the commands of the template alone.
    let place = (SocketAddr::from(([10, 0, 0, 1], 9872)), Mac([2, 0, 0, 0, 0, 1]));
    for loader in [Loader::Ipxe, Loader::Grub] {
        if let Ok(script) = Scripts::default().without_image(loader, "localdisk", place, text) {
            assert!(!script.contains(['\r', '\0']), "{script}");
        }
        let waiting = Scripts::default().waiting(loader, place.0, place.1, text);
        assert!(waiting.is_ok(), "{waiting:?}");
    }
}

/// A range, options and a class: whatever a packet can meet.
fn dhcp_policy() -> dhcp::Policy {
    let text = r#"{"subnets": {"10.0.0.0/24": {"range": "10.0.0.100-10.0.0.110", "discover": true}},
        "options": {"ntp-servers": "10.0.0.1"}, "classes": {"c": {"vendor": "PXE", "options": {"224": "x"}}}}"#;
    let config: Option<DhcpConfig> = serde_json::from_str(text).ok();
    config.as_ref().map(dhcp::Policy::new).unwrap_or_default()
}

/// A packet in words.
fn trace(bytes: &[u8]) {
    if let Some(decoded) = wulfpack_head::trace::decode(bytes) {
        assert!(!wulfpack_head::trace::describe(&decoded).is_empty());
    }
}

fn dhcp_client(bytes: &[u8]) {
    let id = client::ClientId { mac: Mac([0x52, 0x54, 0, 0, 0, 1]), hostname: None };
    let mut client = client::Client::new(id, ChaCha8Rng::seed_from_u64(1));
    client.handle_input(Mono::ZERO, client::Input::Tick);
    let mut now = Mono::ZERO;
    for _ in 0..4 {
        while client.poll_output().is_some() {}
        client.handle_input(now, client::Input::Packet(bytes));
        now = client.poll_timeout().map_or(now, |(at, _)| at);
        client.handle_input(now, client::Input::Tick);
    }
}

/// Every message of the protocol; one that is read must be written and read again as the same.
fn wire(bytes: &[u8]) {
    macro_rules! round_trip {
        ($kind:ty, $limit:expr) => {
            if let Ok(message) = decode::<$kind, { $limit }>(bytes) {
                let again = encode(&message);
                assert_eq!(decode::<$kind, { $limit }>(&again).as_ref(), Ok(&message));
            }
        };
    }
    round_trip!(ControlRequest, CONTROL_REQUEST_MAX);
    round_trip!(ControlResponse, CONTROL_REQUEST_MAX);
    round_trip!(PeerFrame, PEER_FRAME_MAX);
    round_trip!(ChunkAsk, 256);
    round_trip!(ChunkReply, 256);
    round_trip!(SignedMembership, CERTIFICATE_MAX);
    if let Ok(signed) = decode::<SignedMembership, CERTIFICATE_MAX>(bytes) {
        assert!(signed.verify(&[PublicKey([1; 32])], &PublicKey([1; 32]), UnixTime(0)).is_err(), "nobody signed this");
    }
    assert!(TokenKey::new([3; 32]).open(bytes, UnixTime(0)).is_err(), "nobody made this token");
}

fn bootargs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(args) = text.parse::<BootArgs>() {
        assert_eq!(args.to_string().parse::<BootArgs>().as_ref(), Ok(&args));
    }
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(ticket.to_string().parse::<Ticket>().as_ref(), Ok(&ticket));
    }
}

fn manifest(bytes: &[u8]) {
    if let Ok(signed) = decode::<SignedHeader, { 2 * HEADER_MAX }>(bytes) {
        // The signature of a stranger does not count; what a cluster's own key signed is still read with care.
        let cluster = super::seeds::cluster();
        assert!(signed.verify(&[PublicKey([1; 32])]).is_err());
        if let Ok(header) = signed.verify(&[cluster.public()]) {
            assert!(ChunkTable::parse(&header, bytes).is_err(), "a header is not its own table");
        }
    }
    if let Ok(header) = super::seeds::header(bytes) {
        let cut = ChunkTable::parse(&header, bytes.get(..bytes.len() / 36 * 36).unwrap_or_default());
        if let Ok(table) = cut {
            let total: u64 = table.entries().iter().map(|entry| u64::from(entry.len)).sum();
            assert_eq!(total, header.blob.len);
        }
    }
}

/// Manifests and indexes of container images, and their layers.
fn container(bytes: &[u8]) {
    if let Ok(Document::Index(index)) = Document::parse(bytes) {
        let chosen = Document::choose(&index, &Platform::of_head());
        assert!(chosen.is_err() || !index.is_empty());
    }
    if let Ok(entries) = layer_entries(bytes) {
        assert!(entries <= bytes.len() as u64 / 512);
    }
}

/// A head's overlays as they travel: what is unpacked is what the hashes say, and fits.
fn overlays(bytes: &[u8]) {
    let Ok(ControlResponse::Overlays(mut answer)) = decode::<_, CONTROL_RESPONSE_MAX>(bytes) else { return };
    let before: Vec<_> = answer.bundles.iter().map(Bundle::hash).collect();
    if unpack(&mut answer.bundles).is_ok() {
        assert_eq!(answer.bundles.iter().map(Bundle::hash).collect::<Vec<_>>(), before);
        assert!(answer.bundles.iter().map(Bundle::len).sum::<usize>() <= OVERLAYS_MAX + bytes.len());
    }
}

/// What is read must be read again from its folded form as the same set.
fn nodeset(bytes: &[u8]) {
    const LIMIT: usize = 2000;
    let text = String::from_utf8_lossy(bytes);
    let groups = super::seeds::groups();
    let resolver = Resolver::new(&groups).with_limit(LIMIT);
    if let Ok(set) = resolver.resolve(&text) {
        let folded = set.to_string();
        assert!(set.len() <= LIMIT && set.iter().count() == set.len() && set.is_empty() == folded.is_empty());
        let again = Resolver::new(&NoGroups).resolve(&folded);
        assert!(set.is_empty() || again.as_ref() == Ok(&set), "{folded}: {again:?}");
        assert_eq!(resolver.in_order(&[&text]).map(|names| names.len()), Ok(set.len()));
    }
}

/// Feeds the target with this name.
///
/// # Panics
/// There is none: the fuzz package and this list disagree.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "no target {name}");
    target.into_iter().for_each(|target| (target.run)(bytes));
}
