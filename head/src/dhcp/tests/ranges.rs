//! Machines that are not in the registry, devices that are not nodes, options that an administrator sets.

use super::*;
use crate::dhcp::LeaseState;

const STRANGER: Mac = Mac([0x52, 0x54, 0, 0, 9, 9]);
const RANGE: &str =
    "subnets: {10.0.0.0/24: {range: 10.0.0.100-10.0.0.103, gateway: 10.0.0.254}}\nprobe_addresses: false";

fn stranger(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 9, 9, number])
}

/// The address that a machine is offered.
fn offered(machine: &mut Machine, seconds: u64, mac: Mac) -> Option<Ipv4Addr> {
    let (sent, _) = answers(machine, seconds, &bytes(&message(mac, MessageType::Discover, firmware(7))));
    sent.first().map(|(_, offer)| offer.yiaddr())
}

fn wants(mac: Mac, address: Ipv4Addr) -> Message {
    let options = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(SERVER)];
    message(mac, MessageType::Request, options)
}

#[test]
fn an_unknown_machine_gets_a_short_lease_that_is_stored_before_it_is_told() {
    let mut machine = configured(RANGE);
    let address = offered(&mut machine, 1, STRANGER).unwrap();
    machine.handle_input(at(2), heard(&bytes(&wants(STRANGER, address)), Port::Server));
    let outputs = drain(&mut machine);
    assert!(
        matches!(&outputs[0], Output::Store(record) if record.address == address && record.state == LeaseState::Bound)
    );
    let (sent, _) = sort(outputs);
    let (to, ack) = &sent[0];
    assert_eq!((kind(ack), ack.yiaddr(), to.as_str()), (MessageType::Ack, address, "@10.0.0.100:68"));
    assert_eq!(ack.opts().get(OptionCode::AddressLeaseTime), Some(&DhcpOption::AddressLeaseTime(120)));
    assert_eq!(ack.opts().get(OptionCode::Router), Some(&DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 254)])));
    assert_eq!(ack.opts().get(OptionCode::Hostname), None);
    // Discovery is off here.
    assert_eq!(boot_file(ack), None);
}

#[test]
fn a_machine_that_became_known_is_refused_its_old_address_and_gets_its_own() {
    let mut machine = configured(RANGE);
    let address = offered(&mut machine, 1, STRANGER).unwrap();
    answer(&mut machine, 2, &wants(STRANGER, address));
    let known = node("n9", STRANGER, Ipv4Addr::new(10, 0, 0, 9));
    machine.handle_input(at(3), Input::Nodes(Arc::new(Snapshot::new([known]))));
    let mut renewal = message(STRANGER, MessageType::Request, []);
    renewal.set_ciaddr(address);
    let (sent, rest) = answers(&mut machine, 4, &bytes(&renewal));
    assert_eq!(kind(&sent[0].1), MessageType::Nak);
    assert!(matches!(&rest[0], Output::Store(LeaseRecord { state: LeaseState::Released, .. })), "{rest:?}");
    assert_eq!(offered(&mut machine, 5, STRANGER), Some(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(offered(&mut machine, 5, stranger(1)), Some(Ipv4Addr::new(10, 0, 0, 101)));
}

#[test]
fn discovery_gives_unknown_machines_something_to_boot() {
    let mut machine =
        configured("subnets: {10.0.0.0/24: {range: 10.0.0.100-10.0.0.103, discover: true}}\nprobe_addresses: false");
    let request = message(STRANGER, MessageType::Discover, ipxe(7, b"iPXE", &[19, 36]));
    let (_, offer) = answer(&mut machine, 1, &request);
    assert_eq!(boot_file(&offer).as_deref(), Some("http://10.0.0.1:9872/boot/52-54-00-00-09-09/script.ipxe"));
    let (_, offer) = answer(&mut machine, 1, &message(STRANGER, MessageType::Discover, firmware(7)));
    assert_eq!(boot_file(&offer).as_deref(), Some("snponly.efi"));
}

#[test]
fn addresses_of_nodes_and_devices_in_the_range_are_not_lent() {
    let config = "subnets: {10.0.0.0/24: {range: 10.0.0.6-10.0.0.9}}\nreservations: {pdu1: {hwaddr: '52:54:00:00:00:77', ipaddr: 10.0.0.8}}\nprobe_addresses: false";
    let mut machine = configured(config);
    let addresses = [1, 2, 3].map(|number| offered(&mut machine, 1, stranger(number)));
    assert_eq!(addresses, [Some(Ipv4Addr::new(10, 0, 0, 6)), Some(Ipv4Addr::new(10, 0, 0, 9)), None]);
    assert_eq!(machine.status().counters.exhausted, 1);
    let (_, offer) =
        answer(&mut machine, 2, &message(Mac([0x52, 0x54, 0, 0, 0, 0x77]), MessageType::Discover, firmware(7)));
    assert_eq!(offer.yiaddr(), Ipv4Addr::new(10, 0, 0, 8));
    assert_eq!(offer.opts().get(OptionCode::Hostname), Some(&DhcpOption::Hostname("pdu1".into())));
    assert_eq!(boot_file(&offer), None, "it is not a node");
}

#[test]
fn an_address_that_somebody_uses_is_not_offered() {
    let mut machine = configured("subnets: {10.0.0.0/24: {range: 10.0.0.100-10.0.0.103}}");
    let request = bytes(&message(STRANGER, MessageType::Discover, firmware(7)));
    let (first, second) = (Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 0, 0, 101));
    assert_eq!(answers(&mut machine, 1, &request), (vec![], vec![Output::Probe { link: 0, address: first }]));
    machine.handle_input(at(1), Input::InUse { link: 0, address: first, by: stranger(7) });
    let outputs = drain(&mut machine);
    assert!(outputs.contains(&Output::Probe { link: 0, address: second }), "{outputs:?}");
    assert!(outputs.iter().any(|output| matches!(output, Output::Alarm(text) if text.contains("10.0.0.100"))));
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Store(record) if record.state == LeaseState::Conflict))
    );
    let (end, why) = machine.poll_timeout().unwrap();
    assert!(why.contains("nobody uses"));
    machine.handle_input(Now::mono(end), Input::Tick);
    assert_eq!(sort(drain(&mut machine)).0[0].1.yiaddr(), second);
    // Known from now on: nobody is asked again.
    assert_eq!(offered(&mut machine, 2, STRANGER), Some(second));
    assert_eq!(machine.status().counters.conflicts, 1);
}

#[test]
fn one_port_cannot_take_the_whole_range() {
    let config = "subnets: {10.9.0.0/24: {range: 10.9.0.100-10.9.0.150}}\nleases_per_port: 4";
    let mut machine = configured(config);
    let mut behind = |port: &str, number: u8| {
        let mut data = vec![1, port.len() as u8];
        data.extend(port.as_bytes());
        let mut request = message(stranger(number), MessageType::Discover, [unknown(82, &data)]);
        request.set_giaddr(Ipv4Addr::new(10, 9, 0, 1));
        let (sent, _) = answers(&mut machine, 1, &bytes(&request));
        sent.first().map(|(_, offer)| offer.yiaddr())
    };
    let flood = (0..200).filter(|number| behind("swp7", *number).is_some()).count();
    assert_eq!(flood, 4);
    assert!(behind("swp8", 250).is_some(), "others still get one");
}

#[test]
fn our_own_probe_takes_no_address_of_the_range() {
    let mut machine = configured(RANGE);
    let mut probe = message(Mac([2, 0, 0, 0, 0xff, 2]), MessageType::Discover, []);
    probe.set_xid(SEED);
    assert_eq!(answers(&mut machine, 1, &bytes(&probe)), (vec![], vec![]));
    assert_eq!(offered(&mut machine, 1, STRANGER), Some(Ipv4Addr::new(10, 0, 0, 100)));
}

#[test]
fn leases_survive_a_restart() {
    let mut machine = configured(RANGE);
    let address = offered(&mut machine, 1, STRANGER).unwrap();
    machine.handle_input(at(2), heard(&bytes(&wants(STRANGER, address)), Port::Server));
    let stored: Vec<LeaseRecord> = drain(&mut machine)
        .into_iter()
        .filter_map(|output| if let Output::Store(record) = output { Some(record) } else { None })
        .collect();
    let mut machine = configured(RANGE);
    machine.handle_input(at(3), Input::Leases(stored));
    assert_ne!(offered(&mut machine, 3, stranger(1)), Some(address));
    let mut renewal = message(STRANGER, MessageType::Request, []);
    renewal.set_ciaddr(address);
    let (to, ack) = answer(&mut machine, 4, &renewal);
    assert_eq!((kind(&ack), to.as_str()), (MessageType::Ack, "10.0.0.100:68"));
}

#[test]
fn options_of_an_administrator_are_given_and_the_narrower_wins() {
    let config = "options: {ntp-servers: 10.0.0.1, 224: site}\nsubnets: {10.0.0.0/24: {options: {ntp-servers: [10.0.0.2]}}}\nclasses: {linux: {vendor: 'dhcpcd', options: {ntp-servers: 10.0.0.3}}}";
    let class = DhcpOption::ClassIdentifier(b"dhcpcd-9.4".to_vec());
    let ntp = |last| Some(DhcpOption::NtpServers(vec![Ipv4Addr::new(10, 0, 0, last)]));
    let mut machine = configured(config);
    for (options, last) in [(vec![], 2), (vec![class], 3)] {
        let (_, offer) = answer(&mut machine, 1, &message(MAC, MessageType::Discover, options));
        assert_eq!(offer.opts().get(OptionCode::NtpServers), ntp(last).as_ref());
        assert_eq!(offer.opts().get(OptionCode::Unknown(224)), Some(&unknown(224, b"site")));
    }
    let mut tagged = node("n1", MAC, ADDRESS);
    tagged.tags.insert("dhcp.ntp-servers".into(), "10.0.0.4".into());
    tagged.interfaces[0].tags.insert("dhcp.boot-file-name".into(), "other.efi".into());
    machine.handle_input(at(2), Input::Nodes(Arc::new(Snapshot::new([tagged]))));
    let (_, offer) = answer(&mut machine, 3, &message(MAC, MessageType::Discover, firmware(7)));
    assert_eq!(offer.opts().get(OptionCode::NtpServers), ntp(4).as_ref());
    assert_eq!(boot_file(&offer).as_deref(), Some("other.efi"));
}

#[test]
fn a_machine_is_known_by_its_uuid_when_its_card_was_replaced() {
    let mut tagged = node("n1", MAC, ADDRESS);
    tagged.tags.insert("uuid".into(), "03020100-0504-0706-0809-0a0b0c0d0e0f".into());
    let mut machine = machine();
    machine.handle_input(at(1), Input::Nodes(Arc::new(Snapshot::new([tagged]))));
    let uuid =
        |first: u8| DhcpOption::ClientMachineIdentifier([&[0], &(first..first + 16).collect::<Vec<u8>>()[..]].concat());
    let (_, offer) = answer(&mut machine, 1, &message(STRANGER, MessageType::Discover, [uuid(0)]));
    assert_eq!(offer.yiaddr(), ADDRESS);
    let (sent, _) = answers(&mut machine, 1, &bytes(&message(STRANGER, MessageType::Discover, [uuid(1)])));
    assert!(sent.is_empty());
}

#[test]
fn an_infiniband_port_is_known_by_its_guid() {
    // The GUID 5254:00ff:fe00:0001 belongs to the MAC address 52:54:00:00:00:01.
    let id = [&[255, 0, 0, 0, 7, 0, 3, 0, 32][..], &[0x52, 0x54, 0, 0xff, 0xfe, 0, 0, 1]].concat();
    let mut request = message(MAC, MessageType::Discover, [DhcpOption::ClientIdentifier(id.clone())]);
    request.set_chaddr(&[]).set_htype(32.into());
    let (to, offer) = answer(&mut machine(), 1, &request);
    assert_eq!((offer.yiaddr(), to.as_str()), (ADDRESS, "255.255.255.255:68"));
    assert_eq!((u8::from(offer.htype()), offer.hlen(), offer.flags().broadcast()), (32, 0, true));
    assert_eq!(offer.opts().get(OptionCode::ClientIdentifier), Some(&DhcpOption::ClientIdentifier(id)));
    // Nothing says who it is.
    let mut nobody = message(MAC, MessageType::Discover, []);
    nobody.set_chaddr(&[]).set_htype(32.into());
    assert!(crate::dhcp::Request::parse(&bytes(&nobody)).is_err());
}

#[test]
fn a_relay_with_link_selection_and_one_of_another_network_are_understood() {
    let config = "subnets: {10.9.0.0/24: {range: 10.9.0.100-10.9.0.101, relays: [172.16.0.1]}}";
    for (giaddr, relay) in
        [(Ipv4Addr::new(172, 16, 0, 1), vec![1, 1, b'x']), (Ipv4Addr::new(192, 0, 2, 1), vec![5, 4, 10, 9, 0, 0])]
    {
        let mut machine = configured(config);
        for (mac, address) in [(STRANGER, [10, 9, 0, 100]), (Mac([0x52, 0x54, 0, 0, 0, 2]), [10, 9, 0, 7])] {
            let mut request = message(mac, MessageType::Discover, [unknown(82, &relay)]);
            request.set_giaddr(giaddr);
            let (to, offer) = answer(&mut machine, 1, &request);
            assert_eq!((offer.yiaddr(), to), (address.into(), format!("{giaddr}:67")));
        }
    }
    // Without a word on it, that relay is of no network we know, and the node is not in the one of its address.
    let mut request = message(Mac([0x52, 0x54, 0, 0, 0, 2]), MessageType::Discover, []);
    request.set_giaddr(Ipv4Addr::new(172, 16, 0, 1));
    assert_eq!(answers(&mut machine(), 1, &bytes(&request)), (vec![], vec![]));
}

#[test]
fn a_client_that_asks_again_and_again_gets_a_broadcast() {
    let mut machine = machine();
    let request = bytes(&message(MAC, MessageType::Discover, firmware(7)));
    let to: Vec<String> = (1..5).map(|second| answers(&mut machine, second, &request).0.remove(0).0).collect();
    assert_eq!(to, ["@10.0.0.7:68", "@10.0.0.7:68", "255.255.255.255:68", "255.255.255.255:68"]);
    let mut wants_broadcast = message(MAC, MessageType::Discover, firmware(7));
    broadcast(&mut wants_broadcast).set_xid(1);
    assert_eq!(answer(&mut machine, 9, &wants_broadcast).0, "255.255.255.255:68");
}

#[test]
fn a_machine_that_asks_without_end_is_not_answered() {
    let mut machine = machine();
    let answered = (0..500)
        .filter(|xid| {
            let mut request = message(MAC, MessageType::Discover, []);
            request.set_xid(*xid);
            !answers(&mut machine, 1, &bytes(&request)).0.is_empty()
        })
        .count();
    assert!(answered < 50, "{answered}");
    assert!(machine.status().counters.limited > 400);
}
