//! Addresses: what is lent, renewed, refused, and where the answer goes.

use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};

use super::*;

#[test]
fn an_operating_system_gets_the_network_of_the_registry() {
    let asked = DhcpOption::ParameterRequestList(vec![OptionCode::SubnetMask, OptionCode::InterfaceMtu]);
    let id = DhcpOption::ClientIdentifier(vec![255, 1, 2, 3]);
    let (_, offer) = answer(&mut machine(), 1, &message(MAC, MessageType::Discover, [asked, id.clone()]));
    let options = [
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 254)]),
        DhcpOption::BroadcastAddr(Ipv4Addr::new(10, 0, 0, 255)),
        DhcpOption::Hostname("n1".into()),
        DhcpOption::DomainName("cluster.example".into()),
        DhcpOption::DomainNameServer(vec![SERVER]),
        DhcpOption::InterfaceMtu(9000),
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::AddressLeaseTime(3600),
        DhcpOption::Renewal(1800),
        DhcpOption::Rebinding(3150),
        id,
    ];
    for option in options {
        assert_eq!(offer.opts().get(OptionCode::from(&option)), Some(&option));
    }
}

#[test]
fn firmware_is_not_told_a_large_mtu() {
    let asked = DhcpOption::ParameterRequestList(vec![OptionCode::InterfaceMtu]);
    let request = message(MAC, MessageType::Discover, firmware(7).into_iter().chain([asked]));
    assert_eq!(answer(&mut machine(), 1, &request).1.opts().get(OptionCode::InterfaceMtu), None);
}

#[test]
fn requests_are_answered_by_their_state() {
    let other = Ipv4Addr::new(10, 0, 0, 99);
    let wants = DhcpOption::RequestedIpAddress;
    let none = Ipv4Addr::UNSPECIFIED;
    // (what, ciaddr, options, answer, where to)
    let cases = [
        ("selecting", none, selecting().to_vec(), MessageType::Ack, "@10.0.0.7:68"),
        ("init-reboot", none, vec![wants(ADDRESS)], MessageType::Ack, "@10.0.0.7:68"),
        ("init-reboot, wrong address", none, vec![wants(other)], MessageType::Nak, "255.255.255.255:68"),
        ("renewing", ADDRESS, vec![], MessageType::Ack, "10.0.0.7:68"),
        ("renewing, wrong address", other, vec![], MessageType::Nak, "255.255.255.255:68"),
        ("no address at all", none, vec![], MessageType::Nak, "255.255.255.255:68"),
    ];
    for (what, ciaddr, options, expected, to) in cases {
        let mut request = message(MAC, MessageType::Request, options);
        request.set_ciaddr(ciaddr);
        let (sent_to, reply) = answer(&mut machine(), 1, &request);
        assert_eq!((kind(&reply), sent_to.as_str()), (expected, to), "{what}");
        assert_eq!(reply.xid(), 77);
        if expected == MessageType::Nak {
            assert_eq!((reply.yiaddr(), reply.opts().get(OptionCode::AddressLeaseTime)), (none, None));
        }
    }
}

#[test]
fn inform_gets_options_but_no_lease() {
    let mut request = message(MAC, MessageType::Inform, []);
    request.set_ciaddr(ADDRESS);
    let mut machine = machine();
    let (sent, rest) = answers(&mut machine, 1, &bytes(&request));
    let (to, reply) = &sent[0];
    assert_eq!((kind(reply), to.as_str()), (MessageType::Ack, "10.0.0.7:68"));
    assert_eq!(reply.yiaddr(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(reply.opts().get(OptionCode::AddressLeaseTime), None);
    assert_eq!(rest, [], "it proves nothing about who has the address");
}

#[test]
fn release_and_decline_take_the_evidence_back() {
    for kind in [MessageType::Release, MessageType::Decline] {
        let mut machine = machine();
        let request = message(MAC, kind, selecting());
        let (sent, rest) = answers(&mut machine, 1, &bytes(&request));
        assert!(sent.is_empty() && rest.contains(&Output::Released { mac: MAC }), "{rest:?}");
        let told =
            rest.iter().any(|output| matches!(output, Output::Alarm(text) if text.contains("n1 found its address")));
        assert_eq!(told, kind == MessageType::Decline);

        let wrong = message(MAC, kind, [DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 0, 0, 8))]);
        assert_eq!(answers(&mut machine, 2, &bytes(&wrong)), (vec![], vec![]));
    }
}

#[test]
fn a_relayed_request_goes_back_to_the_relay_with_its_option() {
    let mut relay = RelayAgentInformation::default();
    relay.insert(RelayInfo::AgentCircuitId(b"port 7".to_vec()));
    relay.insert(RelayInfo::ServerIdentifierOverride(Ipv4Addr::new(10, 9, 0, 1)));
    let relay = DhcpOption::RelayAgentInformation(relay);
    let mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
    let mut request = message(mac, MessageType::Discover, firmware(0).into_iter().chain([relay.clone()]));
    request.set_giaddr(Ipv4Addr::new(10, 9, 0, 1));
    let mut machine = machine();
    let (to, offer) = answer(&mut machine, 1, &request);
    assert_eq!((to.as_str(), offer.yiaddr()), ("10.9.0.1:67", Ipv4Addr::new(10, 9, 0, 7)));
    assert_eq!(offer.giaddr(), Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(offer.opts().get(OptionCode::RelayAgentInformation), Some(&relay));
    // The relay is the server as the client sees it (RFC 5107), boot files still come from us.
    let id = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(offer.opts().get(OptionCode::ServerIdentifier), Some(&id));
    assert_eq!(boot_file(&offer).as_deref(), Some("undionly.kpxe"));

    let chosen = [DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 9, 0, 7)), id, relay.clone()];
    let mut request = message(mac, MessageType::Request, chosen);
    request.set_giaddr(Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(kind(&answer(&mut machine, 2, &request).1), MessageType::Ack);

    let mut request = message(mac, MessageType::Request, [DhcpOption::RequestedIpAddress(ADDRESS), relay]);
    request.set_giaddr(Ipv4Addr::new(10, 9, 0, 1));
    let (to, nak) = answer(&mut machine, 3, &request);
    assert_eq!((kind(&nak), to.as_str(), nak.flags().broadcast()), (MessageType::Nak, "10.9.0.1:67", true));
}

#[test]
fn strangers_and_misplaced_nodes_get_no_answer() {
    let mut machine = machine();
    let stranger = message(Mac([0x52, 0x54, 0, 0, 0, 9]), MessageType::Discover, firmware(0));
    let (sent, rest) = answers(&mut machine, 1, &bytes(&stranger));
    assert!(sent.is_empty() && events(&rest)[0].node.is_none(), "it is shown as a machine that asked: {rest:?}");
    let misplaced = message(Mac([0x52, 0x54, 0, 0, 0, 2]), MessageType::Discover, firmware(0));
    assert_eq!(answers(&mut machine, 1, &bytes(&misplaced)), (vec![], vec![]));
    let counters = machine.status().counters;
    assert_eq!((counters.unknown, counters.misplaced), (1, 1));
}
