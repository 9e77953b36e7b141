//! The harness proved on servers that are not ours: a machine of either firmware boots a whole system from dnsmasq and nginx.

use std::time::Duration;

use anyhow::Result;
use wulfpack_tests::baseline::{Archive, Server};
use wulfpack_tests::harness::{
    Firmware, Flavour, KeyPair, Lab, Login, Machine, MachineSpec, debian_tar, wait_for_banner,
};

fn boots(firmware: Firmware) -> Result<()> {
    let mut lab = Lab::new("baseline")?;
    let head = lab.head_port(None)?;
    let nodes = [lab.machine_port("n1", None)?];
    let key = KeyPair::generate(lab.work(), "id")?;
    let archive = Archive::of(&debian_tar(Flavour::Cloud)?)?;
    let _server = Server::start(&lab, &head, &nodes, &archive, &key)?;
    let machine = Machine::power_on(&lab, &nodes[0], &MachineSpec { firmware, ..MachineSpec::default() })?;
    let address = nodes[0].address().into();
    let ready = wait_for_banner(&head.namespace, address, Duration::from_secs(240))?;
    assert!(ready > machine.powered_on);
    let login = Login { from: &head, key: &key };
    assert_eq!(login.run(address, "hostname")?.trim(), "n1");
    drop(machine);
    lab.succeeded();
    Ok(())
}

#[test]
fn a_bios_machine_boots_one_archive_from_one_server() -> Result<()> {
    boots(Firmware::Bios)
}

#[test]
fn a_uefi_machine_boots_one_archive_from_one_server() -> Result<()> {
    boots(Firmware::Uefi)
}
