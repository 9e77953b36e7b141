//! Long names, small clients, and bytes that mean nothing.

use proptest::prelude::*;

use super::*;
use crate::boot::Arch;
use crate::dhcp::{PacketError, Request};

#[test]
fn an_answer_fits_the_client_by_leaving_out_what_can_be_spared() {
    // Length of the file's name, what the client takes; whether it is answered, with the domain name, with the name in the header
    let cases = [
        (200, None, Some((false, false))),
        (200, Some(0), Some((false, false))),
        (100, Some(1472), Some((true, true))),
        // A long name stands in option 67 alone, in parts that the reader joins (RFC 3396).
        (300, Some(u16::MAX), Some((true, false))),
        (300, None, None),
    ];
    for (len, max, expected) in cases {
        let mut settings = settings();
        settings.domain = Some("d".repeat(200));
        settings.nbps = Nbps::of(&Default::default(), [(Arch(7), "u".repeat(len))].into(), false);
        let mut machine = Machine::new(settings);
        machine.handle_input(at(0), Input::Nodes(Arc::new(Snapshot::new([node("n1", MAC, ADDRESS)]))));
        let mut options = firmware(7);
        options.retain(|option| !matches!(option, DhcpOption::MaxMessageSize(_)));
        options.extend(max.map(DhcpOption::MaxMessageSize));
        let (sent, _) = answers(&mut machine, 1, &bytes(&message(MAC, MessageType::Discover, options)));
        let found = sent.first().map(|(_, offer)| {
            let name = DhcpOption::BootfileName(vec![b'u'; len]);
            assert_eq!(offer.opts().get(OptionCode::BootfileName), Some(&name));
            (offer.opts().get(OptionCode::DomainName).is_some(), offer.fname().is_some())
        });
        assert_eq!(found, expected, "{len} {max:?}");
    }
}

#[test]
fn a_long_option_is_joined_and_options_in_the_name_fields_are_read() {
    let mut packet = bytes(&message(MAC, MessageType::Discover, []));
    packet.truncate(240);
    // The rest of the options stands in `file` (108) and `sname` (44).
    packet.extend([52, 1, 3, 77, 2, b'i', b'P', 255]);
    packet[108..115].copy_from_slice(&[53, 1, 1, 77, 1, b'X', 255]);
    packet[44..48].copy_from_slice(&[77, 1, b'E', 255]);
    let request = Request::parse(&packet).unwrap();
    assert_eq!((request.kind, request.option(77)), (MessageType::Discover, Some(&b"iPXE"[..])));
}

#[test]
fn one_unreadable_option_does_not_hide_the_others() {
    // A host name that is no UTF-8, and an empty rapid commit with a length: dhcproto refuses both.
    let mut packet = bytes(&message(MAC, MessageType::Discover, []));
    packet.truncate(240);
    packet.extend([53, 1, 1, 12, 2, 0xff, 0xfe, 80, 1, 0, 93, 2, 0, 7, 60, 9]);
    packet.extend(*b"PXEClient");
    let (sent, _) = answers(&mut machine(), 1, &packet);
    assert_eq!(boot_file(&sent[0].1).as_deref(), Some("snponly.efi"));
}

#[test]
fn what_is_not_a_dhcp_request_is_refused_by_name() {
    let good = bytes(&message(MAC, MessageType::Discover, []));
    let changed = |position: usize, byte| {
        let mut packet = good.clone();
        packet[position] = byte;
        Request::parse(&packet).unwrap_err()
    };
    assert_eq!(changed(1, 32), PacketError::Hardware);
    assert_eq!(changed(2, 255), PacketError::Hardware);
    assert_eq!(changed(28, 0x53), PacketError::Hardware, "group address");
    assert_eq!(changed(236, 0), PacketError::NotDhcp);
    assert_eq!(changed(240, 54), PacketError::NoType);
    assert_eq!(Request::parse(&good[..239]), Err(PacketError::Length(239)));
    assert_eq!(Request::parse(&[0; 4096]), Err(PacketError::Length(4096)));
}

fn harmless(packet: &[u8]) {
    let mut machine = machine();
    machine.handle_input(at(1), heard(packet, Port::Server));
    let outputs = drain(&mut machine);
    assert!(outputs.len() <= 4);
    for output in outputs {
        if let Output::Send { bytes, .. } = output {
            assert!(bytes.len() <= 1472);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        harmless(&packet);
    }

    #[test]
    fn any_options_of_a_known_machine_are_harmless(
        kind in 0u8..9,
        options in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)), 0..24),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut packet = bytes(&message(MAC, MessageType::Discover, []));
        packet.truncate(240);
        packet.extend([53, 1, kind]);
        for (code, value) in options {
            packet.extend([code, value.len() as u8]);
            packet.extend(value);
        }
        packet.extend(tail);
        harmless(&packet);
    }
}
