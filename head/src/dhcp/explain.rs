//! What would be answered to a machine, and why: the same judgement as for its packets, told to a person. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{Architecture, DhcpOption, Message, MessageType};
use dhcproto::{Encodable, Encoder};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::time::Mono;

use super::act::{boot_file, host_options};
use super::judge::{Origin, Uuids, Verdict, View, Who};
use super::machine::Settings;
use super::options::option_name;
use super::packet::Request;
use super::rivals::{Rivals, State};
use crate::boot::{BootFile, Client};
use crate::registry::Snapshot;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the server goes by; see [`super::Handle::settings`].
    pub settings: &'a Settings,
    /// The registry.
    pub nodes: &'a Snapshot,
    /// State of the running server, if there is one.
    pub state: Option<State>,
    /// The machine.
    pub mac: Mac,
    /// Architecture of its firmware (option 93); without one it is an operating system that asks.
    pub arch: Option<u16>,
    /// Whether its firmware is iPXE already.
    pub ipxe: bool,
    /// Interface of the head that it asks from; without: the one whose network has its address, else the first.
    pub link: Option<&'a str>,
    /// Relay that forwards it.
    pub relay: Option<Ipv4Addr>,
}

/// What would be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The node or device that it is.
    pub name: Option<NodeName>,
    /// Interface of the head.
    pub link: Option<String>,
    /// Whether there is an answer at all.
    pub answered: bool,
    /// Its address.
    pub address: Option<IpAddr>,
    /// What it is told to load.
    pub boot_file: Option<String>,
    /// Each step of the decision, in a sentence.
    pub reasons: Vec<String>,
}

/// Says what would be answered to this machine's DISCOVER, and why.
pub fn explain(question: &Question<'_>) -> Explanation {
    let Question { settings, nodes, mac, .. } = *question;
    let mut told = Explanation::default();
    if settings.links.is_empty() {
        told.reasons.push("DHCP is off: no interface serves it (`interfaces:` in wulfpack.yaml)".into());
        return told;
    }
    let link = link_of(question);
    told.link = settings.links.get(link).map(|link| link.name.clone());
    let Some(request) = discover(question) else {
        told.reasons.push(format!("{mac} is a group address: no machine has it"));
        return told;
    };
    let (mode, rivals) = (settings.policy.mode, rivals(question, link));
    let uuids = Uuids::of(nodes);
    let view = View { settings, nodes, uuids: &uuids, rivals: &rivals };
    let (who, identity) = view.who(&request);
    told.name = who.name().cloned();
    told.reasons.push(match who {
        Who::Node(node, interface) => format!("{mac} is {} (network {:?})", node.name, interface.net),
        Who::Device(device) => format!("{mac} is the device {} (dhcp: reservations)", device.name),
        Who::Unknown => format!("{mac} is in neither nodes.yaml nor `dhcp: reservations`"),
    });
    told.reasons.push(format!("mode {mode}: {}", rivals.on(link)));
    let client = Client::of(&request);
    let boot = |told: &mut Explanation, origin: Origin<'_>| {
        let boot = boot_file(settings, origin, (who, identity), client, false);
        match &boot.file {
            BootFile::Nbp(name) => told.boot_file = Some(format!("tftp://{}/{name}", origin.server)),
            BootFile::None(why) => told.reasons.push((*why).into()),
            BootFile::Script | BootFile::Http(_) => told.boot_file = boot.name().map(str::to_owned),
        }
        let host = host_options(who);
        let options = settings.policy.options(&request, origin.subnet.map(|(index, _)| index), host.as_ref());
        if !options.is_empty() {
            let names: Vec<String> =
                options.keys().map(|code| option_name(*code).map_or_else(|| code.to_string(), str::to_owned)).collect();
            told.reasons.push(format!("options of the configuration: {}", names.join(", ")));
        }
    };
    match view.judge(link, &request, false) {
        Verdict::Lend(place, _) => {
            (told.answered, told.address) = (true, Some(place.address.addr().into()));
            told.reasons.push(format!("it gets {} for {} s as {client}", place.address, place.lease.as_secs()));
            boot(&mut told, place.origin);
        }
        Verdict::Range(origin) => {
            told.answered = true;
            if let Some((_, subnet)) = origin.subnet {
                let range = subnet.range.map(|range| range.to_string()).unwrap_or_default();
                let seconds = subnet.lease.as_secs();
                told.reasons
                    .push(format!("it gets an address of {range} for {seconds} s, if one is free, as {client}"));
            }
            boot(&mut told, origin);
        }
        Verdict::Proxy(origin, ..) => {
            told.answered = true;
            told.reasons.push(format!("the other server gives its address; as {client} it is told what to boot"));
            boot(&mut told, origin);
        }
        Verdict::Silent(why) => told.reasons.push(format!("no answer: {why}")),
        // No DISCOVER leads here.
        _ => told.reasons.push("no answer".into()),
    }
    told
}

/// The other servers, as the running server knows them.
fn rivals(question: &Question<'_>, link: usize) -> Rivals {
    let settings = question.settings;
    let own: BTreeSet<Ipv4Addr> =
        settings.links.iter().flat_map(|link| link.addresses.iter().map(Ipv4Net::addr)).collect();
    let overridden = matches!(question.state, Some(State::OtherServer { withheld: false, .. }));
    let mode = settings.policy.mode;
    let mut rivals = Rivals::new(own, settings.links.len(), mode, settings.override_other || overridden);
    rivals.settle();
    if let Some(server) = question.state.and_then(State::other_server) {
        rivals.sign_of(Mono::ZERO, link, server);
    }
    rivals
}

fn link_of(question: &Question<'_>) -> usize {
    let Question { settings, nodes, mac, .. } = *question;
    let named = question.link.and_then(|name| settings.links.iter().position(|link| link.name == name));
    let interface = nodes.by_mac(mac).and_then(|node| node.interface(mac));
    let ip = interface.and_then(|interface| if let Some(IpAddr::V4(ip)) = interface.ip { Some(ip) } else { None });
    let has = |ip: &Ipv4Addr| settings.links.iter().position(|link| link.addresses.iter().any(|net| net.contains(ip)));
    named.or_else(|| ip.as_ref().and_then(has)).unwrap_or(0)
}

/// The DISCOVER that such a machine sends.
fn discover(question: &Question<'_>) -> Option<Request> {
    let none = Ipv4Addr::UNSPECIFIED;
    let relay = question.relay.unwrap_or(none);
    let mut message = Message::new_with_id(1, none, none, none, relay, &question.mac.0);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    if let Some(arch) = question.arch {
        let class = if matches!(arch, 0x0f..=0x14) { "HTTPClient" } else { "PXEClient" };
        options.insert(DhcpOption::ClassIdentifier(format!("{class}:Arch:{arch:05}:UNDI:003016").into_bytes()));
        options.insert(DhcpOption::ClientSystemArchitecture(Architecture(arch)));
        options.insert(DhcpOption::MaxMessageSize(1472));
        if question.ipxe {
            options.insert(DhcpOption::UserClass(b"wulfpack".to_vec()));
        }
    }
    let mut bytes = vec![];
    message.encode(&mut Encoder::new(&mut bytes)).ok()?;
    Request::parse(&bytes).ok()
}
