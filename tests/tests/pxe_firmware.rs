//! The firmware matrix (issue 5, point 2): each way from power-on to a login that a PC has.

use std::time::Duration;

use anyhow::{Context as _, Result};
use wulfpack_head::config::NeighbourBoot;
use wulfpack_tests::cluster::{Cluster, ClusterSetup, is_there};
use wulfpack_tests::harness::{Firmware, MachineSpec};

const BOOT: Duration = Duration::from_secs(400);

fn named(name: &'static str) -> ClusterSetup {
    ClusterSetup { name, ..ClusterSetup::default() }
}

/// Boots one machine to its login and lets `look` look around in it, and at what its console said.
fn boots(setup: &ClusterSetup, firmware: Firmware, look: impl FnOnce(&Cluster, &str) -> Result<()>) -> Result<()> {
    let cluster = Cluster::prepare(setup, |_| ())?;
    let machine = cluster.power_on(0, &MachineSpec { firmware, ..MachineSpec::default() })?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", machine.console().tail(40)))?;
    assert_eq!(cluster.login(0, "hostname")?.trim(), "n1");
    look(&cluster, &machine.console().text())?;
    drop(machine);
    cluster.succeeded();
    Ok(())
}

/// Runs a command on the node that must print exactly this.
fn prints(cluster: &Cluster, script: &str, expected: &str) -> Result<()> {
    let printed = cluster.login(0, script)?;
    assert_eq!(printed.trim(), expected, "{script}");
    Ok(())
}

#[test]
fn uefi_boots_by_http_alone() -> Result<()> {
    boots(&named("http"), Firmware::UefiHttp, |cluster, console| {
        prints(cluster, "test -d /sys/firmware/efi && echo efi", "efi")?;
        assert!(console.contains("URI: http://10.42.0.1:9872/nbp/snponly.efi"), "{console}");
        let log = cluster.head.log()?.text();
        assert!(!log.contains("TFTP request"), "{log}");
        Ok(())
    })
}

/// Firmware, shim, GRUB and kernel each check the next; the kernel is locked down and takes only signed modules.
#[test]
fn secure_boot_goes_from_shim_to_a_locked_down_kernel() -> Result<()> {
    let setup = ClusterSetup { configure: |config| config.boot.grub = true, ..named("secureboot") };
    boots(&setup, Firmware::SecureBoot, |cluster, _| {
        let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        prints(cluster, &format!("od -An -tu1 -j4 -N1 {variable} | tr -d ' '"), "1")?;
        prints(cluster, "dmesg | grep -c 'Secure boot enabled'", "1")?;
        prints(cluster, "grep -o '\\[integrity\\]' /sys/kernel/security/lockdown", "[integrity]")?;
        // The agent loaded modules under lockdown, and the root stands on them.
        prints(cluster, "grep -cE '^(overlay|squashfs|loop) ' /proc/modules", "3")?;
        prints(cluster, "cat /proc/sys/kernel/tainted", "0")?;
        // Neither token nor names of archives are where every user can read them.
        prints(cluster, "grep -cE 'token|initrd=' /proc/cmdline || true", "0")?;
        prints(cluster, "systemctl is-system-running", "running")
    })
}

/// A node's template is followed at its next question, without a power cycle.
#[test]
fn a_machine_told_to_use_its_disk_goes_back_to_its_image_when_told() -> Result<()> {
    let setup = ClusterSetup { profile: &["--ipxe", "localdisk"], ..named("localdisk") };
    let cluster = Cluster::prepare(&setup, |_| ())?;
    let machine = cluster.power_on(0, &MachineSpec::small())?;
    let console = machine.console();
    console.wait_for("n1 boots from its local disk", BOOT)?;
    console.wait_for("n1 has no local disk that boots", BOOT)?;
    assert!(is_there(&cluster.head.status(0)?.nodes, "n1", |node| node.held == 0));
    cluster.head.wulf(&["profile", "set", "default", "--ipxe", "default"])?;
    cluster.ends_well(vec![machine], BOOT)
}

/// No IPv4 anywhere: firmware, iPXE, join, swarm and login by IPv6.
#[test]
fn an_ipv6_only_machine_boots_by_pxe() -> Result<()> {
    let setup = ClusterSetup { only_ipv6: true, ..named("pxe6") };
    boots(&setup, Firmware::Uefi6, |cluster, _| {
        prints(cluster, "ip -4 -o address show dev eth0 | wc -l", "0")?;
        let address = cluster.address(0)?;
        prints(cluster, "ip -6 -o address show dev eth0 scope global | awk '{print $4}'", &format!("{address}/64"))?;
        prints(cluster, "systemctl is-system-running", "running")
    })
}

#[test]
fn an_ipv6_only_machine_boots_by_http() -> Result<()> {
    let setup = ClusterSetup { only_ipv6: true, ..named("http6") };
    boots(&setup, Firmware::UefiHttp, |_, console| {
        assert!(console.contains("URI: http://[fd42::1]:9872/nbp/snponly.efi"), "{console}");
        Ok(())
    })
}

/// Neighbour boot, where it is accepted: the second machine loads kernel and modules from the first, the rest from the head.
#[test]
fn a_node_that_is_up_gives_its_kernel_to_the_next() -> Result<()> {
    let setup = ClusterSetup {
        nodes: 2,
        configure: |config| config.boot.neighbours = NeighbourBoot::Accept,
        ..named("neighbour")
    };
    let cluster = Cluster::prepare(&setup, |_| ())?;
    let mut machines = vec![cluster.power_on(0, &MachineSpec::small())?];
    cluster.wait_ready(1, BOOT)?;
    machines.push(cluster.power_on(1, &MachineSpec::small())?);
    cluster.wait_ready(2, BOOT)?;
    // iPXE breaks long lines.
    let console = machines[1].console().text().replace(['\r', '\n'], "");
    let first = cluster.address(0)?.to_string();
    // How far it is, it writes and takes back between the name and the end.
    let progress = |c: char| c.is_ascii_digit() || ".% \u{8}".contains(c);
    let loaded = |from: &str, file: &str| {
        let mut lines = console.split("http://").filter(|line| line.starts_with(&format!("{from}:9872/")));
        let ends = |line: &str| {
            line.split_once(file).is_some_and(|(_, end)| end.trim_start_matches(progress).starts_with("ok"))
        };
        lines.any(ends)
    };
    for (from, file) in [(first.as_str(), "/kernel"), (first.as_str(), "/modules"), ("10.42.0.1", "/token")] {
        assert!(loaded(from, file), "{from} {file}: {console}");
    }
    cluster.ends_well(machines, BOOT)
}
