//! What each kind of client is given to boot.

use super::*;

#[test]
fn each_kind_of_client_gets_the_file_it_can_run() {
    let (http, bzimage, efi) = (19, 24, 36);
    let cases = [
        ("BIOS PXE ROM", firmware(0), Some("undionly.kpxe")),
        ("OVMF", firmware(7), Some("snponly.efi")),
        ("UEFI that says EBC", firmware(9), Some("snponly.efi")),
        ("UEFI 32 bit", firmware(6), Some("ipxe-snponly-i386.efi")),
        ("UEFI ARM", firmware(11), Some("snponly-arm64.efi")),
        ("iPXE ROM, BIOS", ipxe(0, b"iPXE", &[http, bzimage, 18]), Some(SCRIPT)),
        ("iPXE ROM, UEFI", ipxe(7, b"iPXE", &[http, efi]), Some(SCRIPT)),
        ("iPXE ROM, RFC 3004", ipxe(0, b"\x04iPXE", &[http, bzimage]), Some(SCRIPT)),
        ("iPXE ROM without HTTP, BIOS", ipxe(0, b"iPXE", &[bzimage]), Some("ipxe.pxe")),
        ("iPXE ROM without HTTP, UEFI", ipxe(7, b"iPXE", &[efi]), Some("snponly.efi")),
        ("our iPXE", ipxe(0, b"wulfpack", &[]), Some(SCRIPT)),
        ("our iPXE, RFC 3004", ipxe(7, b"\x08wulfpack", &[]), Some(SCRIPT)),
        ("Linux", vec![DhcpOption::ClassIdentifier(b"dhcpcd-9.4".to_vec())], None),
        ("systemd-networkd", vec![], None),
    ];
    for (name, options, file) in cases {
        let mut machine = machine();
        let (to, offer) = answer(&mut machine, 1, &message(MAC, MessageType::Discover, options.clone()));
        assert_eq!((kind(&offer), offer.yiaddr(), to.as_str()), (MessageType::Offer, ADDRESS, "@10.0.0.7:68"));
        assert_eq!(boot_file(&offer).as_deref(), file, "{name}");
        let request = message(MAC, MessageType::Request, options.into_iter().chain(selecting()));
        let (_, ack) = answer(&mut machine, 2, &request);
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, ADDRESS));
        assert_eq!(boot_file(&ack).as_deref(), file, "{name}");
        // With option 60 in a full server's answer, EDK2 asks port 4011.
        assert!(ack.opts().get(OptionCode::ClassIdentifier).is_none(), "{name}");
    }
}

#[test]
fn firmware_gets_its_uuid_back_and_ipxe_is_told_not_to_wait_for_a_proxy() {
    let (_, offer) = answer(&mut machine(), 1, &message(MAC, MessageType::Discover, ipxe(0, b"iPXE", &[19, 24])));
    assert_eq!(offer.opts().get(OptionCode::ClientMachineIdentifier), Some(&uuid()));
    assert_eq!(offer.opts().get(OptionCode::Unknown(175)), Some(&unknown(175, &[176, 1, 1])));
    let (_, offer) = answer(&mut machine(), 1, &message(MAC, MessageType::Discover, firmware(7)));
    assert_eq!(offer.opts().get(OptionCode::Unknown(175)), None);
}

#[test]
fn a_machine_that_keeps_coming_back_as_ipxe_gets_the_script() {
    let mut machine = machine();
    let mut round = |seconds, xid| {
        let mut request = message(MAC, MessageType::Request, ipxe(0, b"iPXE", &[]).into_iter().chain(selecting()));
        request.set_xid(xid);
        boot_file(&answer(&mut machine, seconds, &request).1).unwrap()
    };
    assert_eq!(round(1, 1), "ipxe.pxe");
    assert_eq!(round(2, 1), "ipxe.pxe", "a repeated request is no second round");
    assert_eq!(round(10, 2), "ipxe.pxe");
    assert_eq!(round(20, 3), SCRIPT);
    assert_eq!(round(1000, 4), "ipxe.pxe", "a boot much later begins anew");
}

#[test]
fn boots_are_reported_and_renewals_of_running_systems_are_not() {
    let mut machine = machine();
    let request = message(MAC, MessageType::Request, firmware(7).into_iter().chain(selecting()));
    let (_, rest) = answers(&mut machine, 1, &bytes(&request));
    assert_eq!(rest[0], Output::Given { mac: MAC, address: ADDRESS, boots: true });
    assert_eq!(events(&rest)[0].detail, "10.0.0.7 for PXE UEFI x64: snponly.efi");
    assert_eq!(events(&rest)[0].node, Some("n1".parse().unwrap()));

    let (_, rest) = answers(&mut machine, 2, &bytes(&message(MAC, MessageType::Request, selecting())));
    assert_eq!(rest, [Output::Given { mac: MAC, address: ADDRESS, boots: false }]);

    let odd = message(MAC, MessageType::Request, firmware(2).into_iter().chain(selecting()));
    let (_, rest) = answers(&mut machine, 3, &bytes(&odd));
    assert!(events(&rest)[0].detail.contains("nobody makes a boot program"), "{rest:?}");
}

#[test]
fn uefi_http_boot_is_told_a_url_and_sees_its_class() {
    let mut machine = machine();
    let options = || {
        let class = DhcpOption::ClassIdentifier(b"HTTPClient:Arch:00016:UNDI:003001".to_vec());
        firmware(0x10).into_iter().filter(|option| !matches!(option, DhcpOption::ClassIdentifier(_))).chain([class])
    };
    let (_, offer) = answer(&mut machine, 1, &message(MAC, MessageType::Discover, options()));
    assert_eq!(boot_file(&offer).as_deref(), Some("http://10.0.0.1:9872/nbp/snponly.efi"));
    let class = DhcpOption::ClassIdentifier(b"HTTPClient".to_vec());
    assert_eq!(offer.opts().get(OptionCode::ClassIdentifier), Some(&class));
}
