//! Machines that boot while something breaks. Nobody types anything; every node must end at its login.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wulfpack_head::fleet::NodeStatus;
use wulfpack_shared::wire::Phase;
use wulfpack_tests::cluster::{Cluster, ClusterSetup, is_ready};
use wulfpack_tests::harness::{Fetch, Machine, MachineSpec, Rate, wait_for_all};

const BOOT: Duration = Duration::from_secs(500);

/// A cluster whose links are slow enough that something can break half-way.
fn slow(name: &'static str, nodes: usize) -> Result<Cluster> {
    let setup = ClusterSetup { name, nodes, rate: Some(Rate(50_000_000)), ..ClusterSetup::default() };
    Cluster::prepare(&setup, |_| ())
}

fn power_on(cluster: &Cluster) -> Result<Vec<Machine>> {
    // Small, so that several fit beside each other.
    let spec = MachineSpec { memory_mib: 1024, ..MachineSpec::default() };
    (0..cluster.nodes.len()).map(|index| cluster.power_on(index, &spec)).collect()
}

fn held(node: &NodeStatus, part: u32) -> bool {
    node.total > 0 && node.held > node.total / part
}

/// Every machine lets root in, whoever is alive to say so.
fn logins(cluster: &Cluster, machines: &[Machine]) -> Result<()> {
    wait_for_all(&cluster.head.port.namespace, &cluster.nodes, BOOT).with_context(|| {
        let ends: Vec<_> = machines.iter().map(|machine| machine.console().tail(10)).collect();
        ends.join("\n---\n")
    })?;
    for (index, port) in cluster.nodes.iter().enumerate() {
        assert_eq!(cluster.login(index, "hostname")?.trim(), port.name);
    }
    Ok(())
}

#[test]
fn the_head_is_killed_once_the_image_is_covered() -> Result<()> {
    let mut cluster = slow("covered", 2)?;
    let machines = power_on(&cluster)?;
    let covered = |cluster: &Cluster| -> Result<bool> {
        Ok(cluster.head.events()?.iter().any(|event| event.text.contains("is covered")))
    };
    let deadline = Instant::now() + BOOT;
    let mut version = 0;
    while !covered(&cluster)? {
        ensure!(Instant::now() < deadline, "the image was never covered");
        version = cluster.head.status(version)?.version;
    }
    cluster.head.kill()?;
    logins(&cluster, &machines)?;
    // What the nodes had to say waits for the head, and none of it is lost.
    cluster.head.serve()?;
    cluster.wait_ready(2, BOOT)?;
    for node in cluster.head.report()?.nodes {
        for phase in [Phase::Dhcp, Phase::Script, Phase::Join, Phase::Fetch, Phase::Mount, Phase::Pivot, Phase::Ready] {
            assert!(node.reached_s.get(&phase).copied().flatten().is_some(), "{}: {phase} is unknown", node.name);
        }
    }
    drop(machines);
    cluster.succeeded();
    Ok(())
}

#[test]
fn the_head_is_killed_before_the_image_is_out() -> Result<()> {
    let mut cluster = slow("uncovered", 2)?;
    let machines = power_on(&cluster)?;
    let nodes = cluster.wait_for(BOOT, |nodes| nodes.iter().all(|node| held(node, 8)))?;
    cluster.head.kill()?;
    for machine in &machines {
        machine.console().wait_for("nobody reachable holds", BOOT)?;
    }
    cluster.head.serve()?;
    let ready = cluster.wait_ready(2, BOOT)?;
    for (before, after) in nodes.iter().zip(&ready) {
        assert_eq!(before.started, after.started, "{} began again", after.name);
    }
    // No chunk twice: what the head sent and the peers moved is an image for each node.
    for node in cluster.head.report()?.nodes {
        let moved = node.bytes_from_head + node.bytes_from_peers;
        let image = cluster.sizes.image_bytes;
        assert!(moved <= image + image / 50, "{} took {moved} bytes for an image of {image}", node.name);
    }
    logins(&cluster, &machines)?;
    drop(machines);
    cluster.succeeded();
    Ok(())
}

#[test]
fn a_node_loses_power_in_the_middle_and_comes_back() -> Result<()> {
    let cluster = slow("power", 2)?;
    let mut machines = power_on(&cluster)?;
    cluster.wait_for(BOOT, |nodes| nodes.iter().all(|node| held(node, 4)))?;
    let unlucky = machines.pop().context("no machine")?;
    unlucky.power_off()?;
    cluster.wait_for(BOOT, |nodes| is_ready(&nodes[0]))?;
    drop(unlucky);
    machines.push(cluster.power_on(1, &MachineSpec { memory_mib: 1024, ..MachineSpec::default() })?);
    cluster.wait_ready(2, BOOT)?;
    logins(&cluster, &machines)?;
    drop(machines);
    cluster.succeeded();
    Ok(())
}

#[test]
fn a_dead_switch_is_waited_for() -> Result<()> {
    let cluster = slow("switch", 1)?;
    let machines = power_on(&cluster)?;
    let console = machines[0].console();
    console.wait_for("Wulfpack agent", BOOT)?;
    cluster.lab.set_cable(&cluster.nodes[0], false)?;
    console.wait_for("waiting for 10.42.0.1", BOOT)?;
    cluster.lab.set_cable(&cluster.nodes[0], true)?;
    cluster.wait_ready(1, BOOT)?;
    logins(&cluster, &machines)?;
    drop(machines);
    cluster.succeeded();
    Ok(())
}

#[test]
fn too_little_memory_is_said_with_the_figures() -> Result<()> {
    let setup = ClusterSetup { name: "memory", ..ClusterSetup::default() };
    let cluster = Cluster::prepare(&setup, |_| ())?;
    let machine = cluster.power_on(0, &MachineSpec { memory_mib: 256, ..MachineSpec::default() })?;
    machine.console().wait_for("fetching the image failed", BOOT)?;
    machine.console().wait_for("trying again in", BOOT)?;
    let said = machine.console().text();
    let reason = said.lines().find(|line| line.contains("fetching the image failed")).unwrap_or_default();
    assert_eq!(reason.matches("MiB").count(), 4, "total, image, root and reserve: {reason}");
    cluster.wait_for(BOOT, |nodes| nodes[0].message.as_deref().is_some_and(|message| message.contains("MiB")))?;
    drop(machine);
    cluster.succeeded();
    Ok(())
}

/// A host that fetches slowly while its only source pivots and hands over to the service of the running system.
#[test]
fn serving_goes_on_across_the_pivot() -> Result<()> {
    let setup = ClusterSetup { name: "pivot", ..ClusterSetup::default() };
    let mut cluster = Cluster::prepare(&setup, |_| ())?;
    let rate = Rate(16_000_000);
    let host = cluster.lab.process_port("h1", Some(rate))?;
    cluster.head.add_nodes(std::slice::from_ref(&host), wulfpack_tests::cluster::IMAGE)?;
    // The running head follows the file; a moment later it knows.
    cluster.wait_for(BOOT, |nodes| nodes.iter().any(|node| node.name.as_str() == "h1"))?;
    let ticket = cluster.head.ticket(wulfpack_head::admin::TicketFor::Node("h1".parse()?))?;
    let machine = cluster.power_on(0, &MachineSpec::default())?;
    cluster.wait_for(BOOT, |nodes| nodes.iter().any(|node| node.name.as_str() == "n1" && held(node, 2)))?;
    let fetch = Fetch::start(&cluster.lab, &host, &ticket, Duration::ZERO)?;
    cluster.wait_for(BOOT, |nodes| {
        nodes.iter().any(|node| node.name.as_str() == "h1" && node.held > 0)
            && nodes.iter().any(|node| node.name.as_str() == "n1" && node.phase >= Some(Phase::Mount))
    })?;
    // From now on n1 is the only source.
    cluster.head.kill()?;
    let report = fetch.report(BOOT)?;
    assert!(report.from_peers > report.bytes / 2, "{report:?}");
    let said = fetch.process.console().text();
    assert!(!said.contains("nobody reachable holds"), "{said}");
    // It spanned pivot and hand-over: the service of the running system served the end of it.
    let journal = cluster.login(0, "systemctl is-active wulf-agent; journalctl -b -u wulf-agent -o cat --no-pager")?;
    assert!(journal.starts_with("active"), "{journal}");
    drop(machine);
    cluster.succeeded();
    Ok(())
}
