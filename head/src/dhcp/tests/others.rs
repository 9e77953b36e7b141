//! Other DHCP servers on the network.

use super::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 250);

fn probes(machine: &mut Machine) -> Vec<(usize, Message)> {
    drain(machine)
        .into_iter()
        .filter_map(|output| match output {
            Output::Send { link, source_port: 68, to, bytes, .. } => {
                assert_eq!(to.to_string(), "255.255.255.255:67");
                Some((link, Message::decode(&mut Decoder::new(&bytes)).unwrap()))
            }
            _ => None,
        })
        .collect()
}

fn offer(server: Ipv4Addr, probe: &Message) -> Vec<u8> {
    let mut offer = probe.clone();
    offer.set_opcode(dhcproto::v4::Opcode::BootReply);
    offer.opts_mut().insert(DhcpOption::MessageType(MessageType::Offer));
    offer.opts_mut().insert(DhcpOption::ServerIdentifier(server));
    bytes(&offer)
}

fn is_answered(machine: &mut Machine, seconds: u64) -> bool {
    !answers(machine, seconds, &bytes(&message(MAC, MessageType::Discover, firmware(0)))).0.is_empty()
}

#[test]
fn an_offer_to_the_probe_withholds_answers_until_the_other_is_gone() {
    let mut machine = Machine::new(settings());
    machine.handle_input(at(0), Input::Nodes(Arc::new(Snapshot::new([node("n1", MAC, ADDRESS)]))));
    assert_eq!(machine.poll_timeout().unwrap().0, Mono::ZERO);
    machine.handle_input(at(0), Input::Tick);
    let probes = probes(&mut machine);
    assert_eq!(probes.iter().map(|(link, _)| *link).collect::<Vec<_>>(), [0, 1]);
    assert!(is_answered(&mut machine, 1));

    machine.handle_input(at(2), heard(&offer(OTHER, &probes[0].1), Port::Client));
    assert_eq!(state(&machine), State::OtherServer { address: OTHER, withheld: true });
    assert!(!is_answered(&mut machine, 3));
    assert_eq!(machine.status().counters.withheld, 1);

    machine.handle_input(at(4), Input::Override(true));
    assert_eq!(state(&machine), State::OtherServer { address: OTHER, withheld: false });
    assert!(is_answered(&mut machine, 5));
    machine.handle_input(at(6), Input::Override(false));
    assert!(!is_answered(&mut machine, 7));

    let again = machine.poll_timeout().unwrap().0;
    machine.handle_input(Now::mono(again), Input::Tick);
    assert_eq!(self::probes(&mut machine).len(), 2);
    assert!(!is_answered(&mut machine, 400), "one lost answer is no proof");
    machine.handle_input(at(700), Input::Tick);
    assert_eq!(self::probes(&mut machine).len(), 2);
    assert_eq!(state(&machine), State::Serving);
    assert!(is_answered(&mut machine, 701));
}

#[test]
fn a_broadcast_request_that_names_another_server_shows_it() {
    for (server, giaddr, seen) in [
        (OTHER, Ipv4Addr::UNSPECIFIED, true),
        (OTHER, Ipv4Addr::new(10, 9, 0, 1), false), // the relay may serve other networks
        (SERVER, Ipv4Addr::UNSPECIFIED, false),
        (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::UNSPECIFIED, false), // another head of this cluster
    ] {
        let stranger = Mac([0x52, 0x54, 0, 0, 0, 9]);
        let chosen = [DhcpOption::RequestedIpAddress(ADDRESS), DhcpOption::ServerIdentifier(server)];
        let mut request = message(stranger, MessageType::Request, chosen);
        broadcast(&mut request).set_giaddr(giaddr);
        let mut machine = machine();
        answers(&mut machine, 1, &bytes(&request));
        assert_eq!(state(&machine) != State::Serving, seen, "{server} {giaddr}");
    }
}

#[test]
fn only_offers_to_our_own_probe_count() {
    let mut machine = Machine::new(settings());
    machine.handle_input(at(0), Input::Tick);
    let (_, probe) = probes(&mut machine).remove(0);
    let mut other_client = probe.clone();
    other_client.set_chaddr(&MAC.0);
    let mut other_exchange = probe.clone();
    other_exchange.set_xid(1);
    for bytes in [offer(OTHER, &other_client), offer(OTHER, &other_exchange), offer(SERVER, &probe)] {
        machine.handle_input(at(1), heard(&bytes, Port::Client));
        assert_eq!(state(&machine), State::Serving);
    }
}
