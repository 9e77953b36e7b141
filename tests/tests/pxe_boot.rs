//! Machines of every kind we can make boot over the network to a login.

use std::time::Duration;

use anyhow::{Context as _, Result};
use wulfpack_tests::cluster::{Cluster, ClusterSetup, is_complete, is_ready};
use wulfpack_tests::harness::{Firmware, Flavour, MachineSpec, Nic};

const BOOT: Duration = Duration::from_secs(400);

/// Boots one machine to its login and lets `look` look around in it.
fn boots(setup: &ClusterSetup, spec: &MachineSpec, look: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let cluster = Cluster::prepare(setup, |_| ())?;
    let machine = cluster.power_on(0, spec)?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", machine.console().tail(25)))?;
    assert_eq!(cluster.login(0, "hostname")?.trim(), "n1");
    look(&cluster)?;
    drop(machine);
    cluster.succeeded();
    Ok(())
}

fn named(name: &'static str) -> ClusterSetup {
    ClusterSetup { name, ..ClusterSetup::default() }
}

/// Runs a command on the node that must print exactly this.
fn prints(cluster: &Cluster, script: &str, expected: &str) -> Result<()> {
    let printed = cluster.login(0, script)?;
    assert_eq!(printed.trim(), expected, "{script}");
    Ok(())
}

#[test]
fn a_bios_machine_becomes_the_node_that_it_is() -> Result<()> {
    boots(&named("bios"), &MachineSpec::default(), |cluster| {
        prints(cluster, "systemctl is-system-running", "running")?;
        is_complete(&cluster.head.report()?, &cluster.sizes)?;
        identity(cluster)?;
        secrets(cluster)?;
        containers(cluster)?;
        the_image_lies_in_memory_once(cluster)?;
        a_full_root(cluster)
    })
}

/// Overlays, address and machine id.
fn identity(cluster: &Cluster) -> Result<()> {
    let address = cluster.address(0)?;
    prints(cluster, "ip -4 -o address show dev eth0 | awk '{print $4}'", &format!("{address}/16"))?;
    prints(cluster, "getent hosts n1 | awk '{print $1}'", &address.to_string())?;
    prints(cluster, "grep -c . /etc/machine-id", "1")?;
    prints(cluster, "systemctl is-active wulf-agent", "active")?;
    prints(cluster, "findmnt -no FSTYPE /", "overlay")?;
    prints(cluster, "ping -c1 -W5 10.42.0.1 >/dev/null && echo head", "head")
}

/// Nothing secret is where a user of the node can read it.
fn secrets(cluster: &Cluster) -> Result<()> {
    prints(cluster, "grep -c 'wulf.token' /proc/cmdline || true", "0")?;
    prints(cluster, "stat -c %a /run/wulfpack/private", "700")?;
    prints(cluster, "stat -c %a /etc/ssh/ssh_host_ed25519_key", "600")?;
    prints(cluster, "stat -c %a /root/.ssh/authorized_keys", "600")?;
    // Whatever of ours any user could read.
    prints(
        cluster,
        "su -s /bin/sh nobody -c 'find /run/wulfpack -type f -readable ! -name wulf-agent 2>/dev/null | wc -l'",
        "0",
    )?;
    let arguments = cluster.login(0, "tr '\\0' ' ' < /proc/$(systemctl show -p MainPID --value wulf-agent)/cmdline")?;
    assert_eq!(arguments.trim().rsplit('/').next(), Some("wulf-agent serve"));
    Ok(())
}

/// A container engine's directory can be the upper layer of another overlay (REAL-CLUSTERS rule 21).
fn containers(cluster: &Cluster) -> Result<()> {
    for dir in ["/tmp", "/var/tmp", "/var/lib/containers", "/var/lib/docker", "/var/lib/containerd"] {
        let script = format!(
            "set -e; d=$(mktemp -d {dir}/test.XXXXXX); mkdir $d/lower $d/upper $d/work $d/merged; \
             mount -t overlay overlay -o lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work $d/merged; \
             touch $d/merged/file; test -e $d/upper/file; umount $d/merged; rm -r $d; echo fine"
        );
        prints(cluster, &script, "fine")?;
    }
    Ok(())
}

/// Reading the whole root must not copy it: shared memory holds the image, and stays as it is (SWARM.md, "The stored image").
fn the_image_lies_in_memory_once(cluster: &Cluster) -> Result<()> {
    let shmem = "awk '/^Shmem:/ {print $2}' /proc/meminfo";
    let before: u64 = cluster.login(0, shmem)?.trim().parse()?;
    cluster.login(0, "tar -C / --one-file-system -cf - . 2>/dev/null | cat > /dev/null")?;
    let after: u64 = cluster.login(0, shmem)?.trim().parse()?;
    assert!(after < before + 2048, "shared memory grew from {before} to {after} KiB");
    Ok(())
}

/// A full upper layer is an error of whoever fills it; node and agent live on (rule 18).
fn a_full_root(cluster: &Cluster) -> Result<()> {
    let fill = "dd if=/dev/zero of=/root/big bs=1M 2>&1 | grep -o 'No space left on device'; rm /root/big";
    prints(cluster, fill, "No space left on device")?;
    prints(cluster, "systemctl is-active wulf-agent", "active")?;
    prints(cluster, "systemctl is-system-running", "running")
}

#[test]
fn a_uefi_machine_boots_with_its_firmwares_own_pxe() -> Result<()> {
    let spec = MachineSpec { firmware: Firmware::Uefi, ..MachineSpec::default() };
    boots(&named("uefi"), &spec, |cluster| prints(cluster, "test -d /sys/firmware/efi && echo efi", "efi"))
}

#[test]
fn a_card_that_only_the_generic_kernel_knows_boots() -> Result<()> {
    let setup = ClusterSetup { flavour: Flavour::Generic, ..named("e1000e") };
    let spec = MachineSpec { nic: Nic::E1000e, ..MachineSpec::default() };
    boots(&setup, &spec, |cluster| prints(cluster, "basename $(readlink /sys/class/net/eth0/device/driver)", "e1000e"))
}

#[test]
fn a_root_in_memory_and_a_clock_of_2001() -> Result<()> {
    let setup = ClusterSetup { profile: &["--root", "tmpfs"], ..named("tmpfs") };
    let spec = MachineSpec { clock: Some("2001-01-01T00:00:00".into()), memory_mib: 3072, ..MachineSpec::default() };
    boots(&setup, &spec, |cluster| {
        prints(cluster, "findmnt -no FSTYPE /", "tmpfs")?;
        prints(cluster, "systemctl is-system-running", "running")?;
        close_to_now(cluster)
    })
}

#[test]
fn a_clock_of_2090_is_set_right() -> Result<()> {
    let spec = MachineSpec { clock: Some("2090-01-01T00:00:00".into()), ..MachineSpec::default() };
    boots(&named("clock"), &spec, close_to_now)
}

fn close_to_now(cluster: &Cluster) -> Result<()> {
    let node: i64 = cluster.login(0, "date +%s")?.trim().parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64;
    assert!((node - now).abs() < 120, "the node's clock says {node}, it is {now}");
    Ok(())
}

#[test]
fn reboot_typed_inside_brings_the_same_node_back() -> Result<()> {
    boots(&named("reboot"), &MachineSpec::default(), |cluster| {
        let facts = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ip -4 -o address show dev eth0";
        let boot_id = "cat /proc/sys/kernel/random/boot_id";
        let (before, first) = (cluster.login(0, facts)?, cluster.login(0, boot_id)?);
        let started = cluster.head.status(0)?.nodes[0].started;
        // The connection ends with the system.
        drop(cluster.login(0, "systemctl reboot"));
        cluster.head.wait_for(BOOT, |nodes| nodes[0].started != started && is_ready(&nodes[0]))?;
        assert_ne!(cluster.login(0, boot_id)?, first);
        assert_eq!(cluster.login(0, facts)?, before);
        Ok(())
    })
}
