//! Well-formed inputs of each kind: what the search starts from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dhcproto::v4::{Architecture, DhcpOption, Message, MessageType, Opcode};
use dhcproto::v6;
use dhcproto::{Encodable, Encoder};
use wulfpack_head::nodeset::RegistryGroups;
use wulfpack_head::overlay::Packer;
use wulfpack_head::registry::{Defaults, Interface, Node, Registry};
use wulfpack_shared::bootargs::{BootArgs, FixedAddress};
use wulfpack_shared::id::{BootId, Hash, Mac, PublicKey, VersionId};
use wulfpack_shared::identity::{HeadAddr, SecretKey, Ticket};
use wulfpack_shared::image::{Compression, Header, HeaderError, KernelEntry, Part, Run, SignedHeader};
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind};
use wulfpack_shared::wire::{
    AwaitAdoption, BmcInfo, ChunkAsk, ControlRequest, ControlResponse, DataAddrs, DiscoverRequest, Inventory, Listen,
    Neighbour, NicInfo, NodeState, OrderDone, OrderOutcome, OverlaysAnswer, OverlaysRequest, PeerFrame, Phase,
    ReportBatch, ReportEvent, ReportKind, SwarmSummary, TrackRequest, Want, encode,
};

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

/// The node that DHCP seeds come from.
pub(super) fn node() -> Option<Node> {
    let interface = Interface {
        net: "default".into(),
        mac: Some(MAC),
        ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7))),
        prefix: Some(24),
        ip6: Some(IpAddr::V6(Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, 7))),
        prefix6: Some(64),
        ..Interface::default()
    };
    Some(Node { interfaces: vec![interface], primary: Some(0), ..Node::named("seed".parse().ok()?) })
}

/// The cluster of the manifest seeds.
pub(super) fn cluster() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

/// A header whose table would be as long as `bytes`.
pub(super) fn header(bytes: &[u8]) -> Result<Header, HeaderError> {
    let count = u32::try_from(bytes.len() / 36).unwrap_or(u32::MAX);
    let part = Part { hash: Hash::of(bytes), len: u64::from(count) * 65_536 };
    let pages = vec![Hash::of(bytes); (count as usize * 36).div_ceil(256 * 1024)];
    let kernel = KernelEntry { version: "6.1.0".into(), kernel: part, modules: part, default_args: vec![] };
    let name = "seed".parse().map_err(|_| HeaderError::Inconsistent("name"))?;
    let header = Header::new(name, part, Compression::Zstd, 1, count, pages, vec![kernel], "seed".into());
    SignedHeader::sign(&header, &cluster()).map(|_| header)
}

fn dhcp(kind: MessageType) -> Vec<u8> {
    let mut message = Message::default();
    message.set_opcode(Opcode::BootRequest).set_chaddr(&MAC.0).set_xid(7);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ClassIdentifier(b"PXEClient:Arch:00000:UNDI:002001".to_vec()));
    options.insert(DhcpOption::MaxMessageSize(1472));
    let mut bytes = vec![];
    // Writing to a vector cannot fail; an empty seed would be a weak one and nothing worse.
    let _written = message.encode(&mut Encoder::new(&mut bytes));
    bytes
}

/// A solicitation of firmware, bare and through a relay.
fn dhcp6() -> Vec<Vec<u8>> {
    let mut message = v6::Message::new_with_id(v6::MessageType::Solicit, [1, 2, 3]);
    let options = message.opts_mut();
    options.insert(v6::DhcpOption::ClientId([&[0, 3, 0, 1][..], &MAC.0].concat()));
    options.insert(v6::DhcpOption::IANA(v6::IANA { id: 1, t1: 0, t2: 0, opts: v6::DhcpOptions::new() }));
    options.insert(v6::DhcpOption::ClientArchType(vec![Architecture(16)]));
    let class = b"\0\0\x01\x57\0\x21HTTPClient:Arch:00016:UNDI:003001".to_vec();
    options.insert(v6::DhcpOption::Unknown(v6::UnknownOption::new(v6::OptionCode::VendorClass, class)));
    let mut bare = vec![];
    // As above.
    let _written = message.encode(&mut Encoder::new(&mut bare));
    let len = u16::try_from(bare.len()).unwrap_or(0).to_be_bytes();
    let mut header = vec![12, 0];
    header.extend(Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, 1).octets());
    header.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1).octets());
    let relayed = [&header[..], &[0, 18, 0, 1, 7, 0, 9], &len, &bare].concat();
    vec![bare, relayed]
}

/// A read with options, acknowledged; each packet with its length before it.
fn tftp() -> Vec<Vec<u8>> {
    let packets: [&[u8]; 5] = [
        b"\0\x01snponly.efi\0octet\0blksize\x001468\0tsize\x000\0windowsize\x004\0",
        &[0, 4, 0, 0],
        &[0, 4, 0, 4],
        &[0, 5, 0, 8, b'x', 0],
        b"\0\x01x\0octet\0",
    ];
    vec![packets.iter().flat_map(|packet| [&[packet.len() as u8], *packet].concat()).collect()]
}

/// Seeds of the target with this name.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let head = HeadAddr { key: PublicKey([7; 32]), control: ([10, 0, 0, 1], 9870).into() };
    match target {
        "trace" => [MessageType::Discover, MessageType::Request].map(dhcp).into(),
        "dhcp_server" => [MessageType::Discover, MessageType::Request, MessageType::Inform].map(dhcp).into(),
        "dhcp_client" => [MessageType::Offer, MessageType::Ack, MessageType::Nak].map(dhcp).into(),
        "dhcp6_server" => dhcp6(),
        "tftp" => tftp(),
        "boot_paths" => [
            "/grub/52:54:00:00:00:01/grub.cfg-01-52-54-00-00-00-01",
            "boot/52-54-00-00-00-01/token",
            "\\\\boot\\..\\autoexec.ipxe",
            "/files/1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d/6.1.0/modules",
            "n1 ${x} || reboot\n# '\"",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into(),
        "wire" => wire(),
        "bootargs" => {
            let address = FixedAddress { ip: [10, 0, 0, 7].into(), prefix: 24, gateway: Some([10, 0, 0, 1].into()) };
            let args = BootArgs { heads: vec![head], mac: Some(MAC), address: Some(address), ..BootArgs::default() };
            let ticket = Ticket { heads: vec![head], cluster: vec![head.key], token: vec![1; 40] };
            vec![format!("quiet {args} panic=30").into(), ticket.to_string().into()]
        }
        "manifest" => {
            let table = vec![0; 36 * 5];
            let signed = header(&table).and_then(|header| SignedHeader::sign(&header, &cluster()));
            signed.map(|signed| encode(&signed)).into_iter().chain([table]).collect()
        }
        "container" => container(),
        "discovery" => discovery(),
        "overlays" => overlays(),
        "nodeset" => [
            "n[1-4,7]",
            "n[001-100/3]!n[010-020]",
            "r[1-2]n[1-9]&r1n*^r[1-4]n[3-4],login",
            "@rack:r[1-2]!@profile:gpu&@*,@tag:a=b",
            "n1[2-3]4 , x9-ib[0-1].c",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into(),
        _ => vec![],
    }
}

/// A frame of a switch, a table of firmware with both kinds of management controllers, a list, a pattern.
fn discovery() -> Vec<Vec<u8>> {
    let frame = b"\x02\x07\x04\x52\x54\x00\x00\x00\x99\x04\x0c\x05Ethernet1/7\x06\x02\x00\x78\x0a\x05sw-r1\xfe\x06\x00\x80\xc2\x01\x00\x2a\x00\x00";
    let mut redfish = vec![0; 91];
    redfish[51..56].copy_from_slice(&[1, 169, 254, 0, 17]);
    let mut table = b"\x26\x0e\0\0\x01\x20\x20\xff\0\0\0\0\0\0\0\0\x2a\x67\0\0\x40\x03\x02\0\0\x01\x04\x5b".to_vec();
    table.extend(redfish);
    table.extend(b"\0\0\x7f\x04\0\0\0\0");
    vec![frame.to_vec(), table, b"# rack\nSN-7, n1\n52:54:00:00:00:01 n2\n".to_vec(), b"serial=ABC*".to_vec()]
}

/// A manifest, an index, and a layer whose only file has an extended header.
fn container() -> Vec<Vec<u8>> {
    let digest = format!("sha256:{}", "5".repeat(64));
    let part = format!(
        r#"{{"mediaType":"m","digest":"{digest}","size":7,"platform":{{"os":"linux","architecture":"amd64"}}}}"#
    );
    let manifest = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[{part},{part}]}}"#);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{part}]}}"#);
    let entry = |name: &[u8], kind: u8, data: &[u8]| {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[148..156].copy_from_slice(b"        ");
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        [&block[..], data, &vec![0; data.len().next_multiple_of(512) - data.len()]].concat()
    };
    let header = entry(b"x", b'x', b"28 SCHILY.xattr.user.x=1234\n22 GNU.sparse.major=1\n");
    let layer = [header, entry(b"etc/.wh.motd", b'0', b"text"), vec![0; 1024]].concat();
    vec![manifest.into(), index.into(), layer]
}

/// A hosts file that travels packed, and a small file that does not.
fn overlays() -> Vec<Vec<u8>> {
    let hosts: String = (0..200).map(|n| format!("10.0.0.{n} node{n}\n")).collect();
    let entry = |path: &str, content: String| {
        let kind = EntryKind::File(content.into());
        Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, secret: false }
    };
    let entries = vec![entry("etc/hosts", hosts), entry("etc/hostname", "n1\n".into())];
    let bundle = |name| Bundle { name, context: Context::Runtime, entries, reload: vec![] };
    let bundles = Packer::default().pack("hosts".parse().map(bundle).into_iter().collect());
    vec![encode(&ControlResponse::Overlays(OverlaysAnswer { bundles }))]
}

/// A registry with groups, for nodesets.
///
/// # Panics
/// Never: the text is a valid registry.
#[expect(clippy::expect_used, reason = "the text is a valid registry")]
pub(super) fn groups() -> RegistryGroups {
    let text = "nodeprofiles: {gpu: {}}\nnodes: {n1: {rack: r1}, n2: {rack: r2, profiles: [gpu], tags: {a: b}}, r1n1: , login: }";
    RegistryGroups::new(&Registry::parse(text, Defaults::default()).expect("it is valid"))
}

fn discover() -> DiscoverRequest {
    let neighbour = Some(Neighbour { system: "sw".into(), port: "1/7".into(), vlan: Some(2), ..Neighbour::default() });
    let (name, driver, slot) = ("eth0".into(), "e1000e".into(), "0000:01:00.0".into());
    let nic = NicInfo { name, mac: MAC, driver, slot, speed: 25_000, carrier: true, neighbour };
    let bmc = BmcInfo { address: Some([10, 9, 0, 7].into()), mac: Some(MAC), kind: "ipmi 2.0".into() };
    let inventory = Inventory { nics: vec![nic], bmc: Some(bmc), memory: 1 << 34, ..Inventory::default() };
    DiscoverRequest {
        token: vec![1; 90],
        mac: MAC,
        boot: BootId([1; 16]),
        agent: "0".into(),
        inventory,
        complete: true,
    }
}

fn wire() -> Vec<Vec<u8>> {
    let image = VersionId([9; 32]);
    let data = DataAddrs { port: 9871, ips: vec![[10, 0, 0, 7].into()] };
    let track = TrackRequest { data, images: vec![], want: 8, have: vec![PublicKey([2; 32])], leaving: false };
    let event = ReportEvent { seq: 1, at_ms: 5, kind: ReportKind::Reached(Phase::Fetch) };
    let report = ReportBatch {
        boot: BootId([1; 16]),
        events: vec![event],
        swarm: Some(SwarmSummary { sent: 1 << 33, turned_away: 3, ..SwarmSummary::default() }),
    };
    let done = vec![OrderDone { number: 7, outcome: OrderOutcome::Busy("a job runs".into()) }];
    let listen = Listen { state: NodeState::default(), done, taken: vec![8], wait_s: 300 };
    vec![
        encode(&ControlRequest::Track(track)),
        encode(&ControlRequest::Report(report)),
        encode(&ControlRequest::Listen(listen)),
        encode(&ControlRequest::Discover(Box::new(discover()))),
        encode(&ControlRequest::AwaitAdoption(AwaitAdoption { mac: MAC, boot: BootId([1; 16]), wait_s: 60 })),
        encode(&ControlRequest::Overlays(OverlaysRequest { known: vec![Hash::of(b"seed")] })),
        encode(&PeerFrame::Have { image, ranges: vec![Run { first: 0, count: 9 }, Run { first: 20, count: 1 }] }),
        encode(&PeerFrame::Hello { version: 1, images: vec![image] }),
        encode(&PeerFrame::ServesNobody),
        encode(&ChunkAsk { image, want: Want::Run(Run { first: 4, count: 2 }) }),
        encode(&ChunkAsk { image, want: Want::Rarest { max_bytes: 1 << 20, starved: true, after: 3 } }),
    ]
}
