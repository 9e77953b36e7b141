//! Beside a server that gives the addresses: modes `proxy` and `auto`.

use super::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 250);

/// An OFFER of the other server to our probe, which shows it.
fn show_other(machine: &mut Machine, seconds: u64) {
    machine.handle_input(at(seconds), Input::Tick);
    drain(machine);
    let mut offer = message(Mac([2, 0, 0, 0, 0xff, 2]), MessageType::Offer, [DhcpOption::ServerIdentifier(OTHER)]);
    offer.set_opcode(dhcproto::v4::Opcode::BootReply).set_xid(SEED);
    machine.handle_input(at(seconds), heard(&bytes(&offer), Port::Client));
    drain(machine);
}

fn class(message: &Message) -> Option<&DhcpOption> {
    message.opts().get(OptionCode::ClassIdentifier)
}

#[test]
fn a_proxy_says_what_to_boot_and_nothing_of_addresses() {
    let mut machine = configured("mode: proxy");
    let pxe = DhcpOption::ClassIdentifier(b"PXEClient".to_vec());
    for (options, file, no_boot_servers) in [
        (firmware(0), "undionly.kpxe", true),
        (firmware(7), "snponly.efi", false),
        (ipxe(7, b"iPXE", &[19, 36]), SCRIPT, false),
    ] {
        let (to, offer) = answer(&mut machine, 1, &message(MAC, MessageType::Discover, options));
        assert_eq!((kind(&offer), to.as_str()), (MessageType::Offer, "255.255.255.255:68"));
        assert_eq!((offer.yiaddr(), class(&offer)), (Ipv4Addr::UNSPECIFIED, Some(&pxe)));
        assert_eq!(boot_file(&offer).as_deref(), Some(file));
        assert_eq!(offer.opts().get(OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(SERVER)));
        assert_eq!(offer.opts().get(OptionCode::ClientMachineIdentifier), Some(&uuid()));
        for code in [OptionCode::SubnetMask, OptionCode::Router, OptionCode::AddressLeaseTime, OptionCode::Hostname] {
            assert_eq!(offer.opts().get(code), None);
        }
        let vendor = offer.opts().get(OptionCode::from(43)).is_some();
        assert_eq!(vendor, no_boot_servers, "UEFI asks port 4011, BIOS takes the file from the offer");
    }
    assert_eq!(state(&machine), State::Proxy { beside: None });
}

#[test]
fn firmware_is_answered_on_port_4011_where_it_is() {
    let mut machine = configured("mode: proxy");
    let mut request = message(MAC, MessageType::Request, firmware(7));
    request.set_ciaddr(Ipv4Addr::new(10, 0, 0, 77));
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 68);
    machine.handle_input(at(1), Input::Packet { link: 0, port: Port::Pxe, from, bytes: &bytes(&request) });
    let outputs = drain(&mut machine);
    let sent = outputs.iter().find(|output| matches!(output, Output::Send { .. }));
    assert!(matches!(sent, Some(Output::Send { source_port: 4011, to, .. }) if *to == from), "{sent:?}");
    let (sent, rest) = sort(outputs);
    assert_eq!((kind(&sent[0].1), boot_file(&sent[0].1).as_deref()), (MessageType::Ack, Some("snponly.efi")));
    assert_eq!(rest[0], Output::Given { mac: MAC, address: *from.ip(), boots: true });
    assert_eq!(events(&rest).len(), 1);
    // EDK2 asks from the port that it asks, which needs no privilege: it is answered, and nothing is believed of it.
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 4011);
    machine.handle_input(at(2), Input::Packet { link: 0, port: Port::Pxe, from, bytes: &bytes(&request) });
    let outputs = drain(&mut machine);
    assert!(outputs.iter().any(|output| matches!(output, Output::Send { to, .. } if *to == from)), "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Given { .. })), "{outputs:?}");
}

#[test]
fn requests_for_addresses_are_the_other_servers_and_tell_where_a_machine_is() {
    let mut machine = configured("mode: proxy");
    let lent = Ipv4Addr::new(10, 0, 0, 77);
    let chosen = [DhcpOption::RequestedIpAddress(lent), DhcpOption::ServerIdentifier(OTHER)];
    let request = message(MAC, MessageType::Request, firmware(7).into_iter().chain(chosen));
    let (sent, rest) = answers(&mut machine, 1, &bytes(&request));
    assert!(sent.is_empty());
    assert!(rest.contains(&Output::Given { mac: MAC, address: lent, boots: true }), "{rest:?}");
    assert_eq!(state(&machine), State::Proxy { beside: Some(OTHER) });
    for kind in [MessageType::Discover, MessageType::Request, MessageType::Inform] {
        assert!(answers(&mut machine, 2, &bytes(&message(MAC, kind, []))).0.is_empty(), "an operating system");
    }
    let unknown = message(Mac([0x52, 0x54, 0, 0, 0, 9]), MessageType::Discover, firmware(7));
    assert!(answers(&mut machine, 2, &bytes(&unknown)).0.is_empty());
}

#[test]
fn unknown_machines_are_led_to_discovery_beside_another_server() {
    let mut machine = configured("mode: proxy\nsubnets: {10.0.0.0/24: {discover: true}}");
    let unknown = message(Mac([0x52, 0x54, 0, 0, 0, 9]), MessageType::Discover, firmware(7));
    assert_eq!(boot_file(&answer(&mut machine, 1, &unknown).1).as_deref(), Some("snponly.efi"));
}

#[test]
fn auto_gives_addresses_only_once_it_knows_that_nobody_else_does() {
    let mut machine = configured("mode: auto");
    let request = bytes(&message(MAC, MessageType::Discover, firmware(7)));
    assert_eq!(state(&machine), State::Looking);
    assert!(answers(&mut machine, 1, &request).0.is_empty());
    machine.handle_input(at(5), Input::Tick);
    drain(&mut machine);
    assert_eq!(answers(&mut machine, 6, &request).0[0].1.yiaddr(), ADDRESS);
    show_other(&mut machine, 7);
    assert_eq!(state(&machine), State::Proxy { beside: Some(OTHER) });
    assert_eq!(answers(&mut machine, 8, &request).0[0].1.yiaddr(), Ipv4Addr::UNSPECIFIED);
    // Gone for ten minutes.
    machine.handle_input(at(700), Input::Tick);
    drain(&mut machine);
    assert_eq!(answers(&mut machine, 701, &request).0[0].1.yiaddr(), ADDRESS);
    show_other(&mut machine, 702);
    machine.handle_input(at(703), Input::Override(true));
    assert_eq!(answers(&mut machine, 704, &request).0[0].1.yiaddr(), ADDRESS);
}

#[test]
fn another_server_on_one_network_does_not_concern_the_others() {
    let mut machine = machine();
    show_other(&mut machine, 1);
    let mut second = node("n2", Mac([0x52, 0x54, 0, 0, 0, 3]), Ipv4Addr::new(192, 168, 5, 7));
    second.interfaces[0].gateway = None;
    machine.handle_input(at(2), Input::Nodes(Arc::new(Snapshot::new([second]))));
    let request = bytes(&message(Mac([0x52, 0x54, 0, 0, 0, 3]), MessageType::Discover, firmware(7)));
    let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    machine.handle_input(at(3), Input::Packet { link: 1, port: Port::Server, from, bytes: &request });
    assert!(drain(&mut machine).iter().any(|output| matches!(output, Output::Send { link: 1, .. })));
}

#[test]
fn a_new_server_is_told_once() {
    let mut machine = machine();
    let alarms = |machine: &mut Machine| {
        let chosen = [DhcpOption::RequestedIpAddress(ADDRESS), DhcpOption::ServerIdentifier(OTHER)];
        let (_, rest) = answers(machine, 1, &bytes(&message(MAC, MessageType::Request, chosen)));
        rest.into_iter().filter(|output| matches!(output, Output::Alarm(text) if text.contains("10.0.0.250"))).count()
    };
    assert_eq!((alarms(&mut machine), alarms(&mut machine)), (1, 0));
}
