//! Discovery on a machine (issue 5, point 5): from power-on without a registry entry to a login, with one boot.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wulfpack_head::admin::DiscoverList;
use wulfpack_head::config::{Config, SubnetConfig};
use wulfpack_shared::wire::Inventory;
use wulfpack_tests::cluster::{Cluster, ClusterSetup, is_there};
use wulfpack_tests::harness::{MachineSpec, Port};

const BOOT: Duration = Duration::from_secs(400);

fn discover(config: &mut Config) {
    let range = "10.42.9.1-10.42.9.20".parse().ok();
    let subnet = SubnetConfig { range, discover: true, ..SubnetConfig::default() };
    config.dhcp.subnets.extend("10.42.0.0/16".parse().ok().map(|net| (net, Some(subnet))));
}

/// A frame as a switch sends it (IEEE 802.1AB, clause 9): chassis, port, time to live, name, end.
const FRAME: &str =
    "\\x02\\x07\\x04\\x02\\0\\0\\0\\0\\x99\\x04\\x0c\\x05Ethernet1/7\\x06\\x02\\0\\x78\\x0a\\x05sw-r1\\0\\0";

/// Sends it to the machine on this port, once; packet(7).
fn speak_as_a_switch(port: &Port) -> Result<()> {
    let script = format!(
        "use Socket; my $group = \"\\x01\\x80\\xc2\\0\\0\\x0e\"; open(my $f, '<', '/sys/class/net/tap0/ifindex') or die $!;
         socket(my $s, 17, SOCK_DGRAM, 0) or die $!; chomp(my $index = <$f>);
         send($s, \"{FRAME}\", 0, pack('SnlSCCa8', 17, 0x88cc, $index, 0, 0, 6, $group)) or die $!;"
    );
    port.namespace.run("perl", &["-e", &script]).map(drop)
}

/// What the head knows of the one machine on its list, once it is as wanted; the switch speaks meanwhile.
fn heard(cluster: &Cluster, wanted: impl Fn(&Inventory) -> bool) -> Result<Inventory> {
    let end = Instant::now() + BOOT;
    loop {
        let listed: DiscoverList = cluster.head.json(&["discover", "list"])?;
        let inventory = listed.machines.into_iter().next().context("the list is empty")?.machine.inventory;
        if wanted(&inventory) {
            return Ok(inventory);
        }
        ensure!(Instant::now() < end, "{inventory:?}");
        speak_as_a_switch(&cluster.nodes[0])?;
    }
}

#[test]
fn a_machine_without_a_registry_entry_waits_is_adopted_and_goes_on_to_its_login() -> Result<()> {
    let setup = ClusterSetup { name: "discover", configure: discover, ..ClusterSetup::default() };
    let cluster = Cluster::prepare(&setup, |_| ())?;
    let (head, address, mac) = (&cluster.head, cluster.address(0)?.to_string(), cluster.nodes[0].mac());
    head.wulf(&["node", "delete", "n1", "--yes"])?;
    head.wait_for(BOOT, |nodes| nodes.is_empty())?;

    let spec = MachineSpec { serial: Some("SN-4711".into()), memory_mib: 1024, ..MachineSpec::default() };
    let machine = cluster.power_on(0, &spec)?;
    let console = machine.console();
    console.wait_for("tells the head what it is", BOOT)?;
    console.wait_for(&format!("wulf node adopt {mac} NAME"), BOOT)?;

    let listed: DiscoverList = head.json(&["discover", "list"])?;
    let [one] = listed.machines.as_slice() else { anyhow::bail!("{listed:?}") };
    let inventory = &one.machine.inventory;
    ensure!(one.node.is_none() && one.machine.mac.to_string() == mac, "{one:?}");
    ensure!(inventory.system.serial == "SN-4711" && inventory.system.product == "Lab", "{inventory:?}");
    ensure!((800 << 20..1024 << 20).contains(&inventory.memory), "{inventory:?}");
    ensure!(inventory.nics.iter().any(|nic| nic.mac == one.machine.mac && nic.carrier), "{inventory:?}");
    ensure!(inventory.cpu.threads == 1 && !inventory.cpu.model.is_empty(), "{inventory:?}");
    let table = head.wulf(&["discover", "list"])?;
    ensure!(table.contains(&mac) && table.contains("SN-4711") && table.contains("MiB"), "{table}");
    let switched = heard(&cluster, |inventory| inventory.nics.iter().any(|nic| nic.neighbour.is_some()))?;
    let neighbour = switched.nics.iter().find_map(|nic| nic.neighbour.as_ref()).context("a neighbour")?;
    ensure!((neighbour.system.as_str(), neighbour.port.as_str()) == ("sw-r1", "Ethernet1/7"), "{neighbour:?}");
    // Nothing of the cluster is on it: no name, no image, no certificate.
    let said = console.text();
    ensure!(!said.contains("joined as") && !said.contains("wulf.node"), "{said}");

    head.wulf(&[
        "node",
        "adopt",
        "--match",
        "serial=SN-4711",
        "--match",
        "switch=sw-r1",
        "n1",
        "--ipaddr",
        &address,
        "--yes",
    ])?;
    console.wait_for("this machine is n1 now, and goes on", BOOT)?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", console.tail(40)))?;
    ensure!(cluster.login(0, "hostname")?.trim() == "n1");
    ensure!(cluster.login(0, "ip -4 -o address show dev eth0 scope global | awk '{print $4}'")?.contains(&address));
    let boots = console.text().matches("Linux version").count();
    ensure!(boots <= 1 && console.text().matches("Wulfpack agent").count() == 1, "it was started again");
    // Its token is spent and nothing is claimed beside the file.
    let listed: DiscoverList = head.json(&["discover", "list", "--all"])?;
    ensure!(listed.claims.is_empty() && listed.machines[0].node.as_ref().is_some_and(|node| node.as_str() == "n1"));

    // As a node it is never discovered again.
    machine.reset()?;
    head.wait_for(BOOT, |nodes| is_there(nodes, "n1", |node| node.state.is_some() && node.held == 0))?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", console.tail(40)))?;
    ensure!(console.text().matches("tells the head what it is").count() == 1, "it was discovered again");
    drop(machine);
    cluster.succeeded();
    Ok(())
}
