//! Machines that boot while something breaks. Nobody types anything; every node must end at its login.

use std::time::Duration;

use anyhow::{Context as _, Result};
use wulfpack_shared::wire::Phase;
use wulfpack_tests::cluster::{Cluster, ClusterSetup, holds, is_complete, is_ready, is_there};
use wulfpack_tests::harness::{Fetch, Machine, MachineSpec, PauseMeter, Rate};

const BOOT: Duration = Duration::from_secs(500);

/// A cluster whose links are slow enough that something can break half-way, and its machines, switched on.
fn slow(name: &'static str, nodes: usize) -> Result<(Cluster, Vec<Machine>)> {
    let cluster = Cluster::prepare(&ClusterSetup::slow(name, nodes), |_| ())?;
    let machines = cluster.power_on_all(&MachineSpec::small())?;
    Ok((cluster, machines))
}

#[test]
fn the_head_is_killed_once_the_image_is_covered() -> Result<()> {
    let (mut cluster, machines) = slow("covered", 2)?;
    cluster.head.wait_event("is covered", BOOT)?;
    cluster.head.kill()?;
    cluster.wait_logins(&machines, BOOT)?;
    // What the nodes had to say waits for the head, and none of it is lost.
    cluster.head.serve()?;
    cluster.wait_ready(2, BOOT)?;
    is_complete(&cluster.head.report()?, &cluster.sizes)?;
    cluster.ends_well(machines, BOOT)
}

#[test]
fn the_head_is_killed_before_the_image_is_out() -> Result<()> {
    let (mut cluster, machines) = slow("uncovered", 2)?;
    let nodes = cluster.head.wait_for(BOOT, |nodes| nodes.iter().all(|node| holds(node, 8)))?;
    cluster.head.kill()?;
    for machine in &machines {
        machine.console().wait_for("nobody reachable holds", BOOT)?;
    }
    cluster.head.serve()?;
    let ready = cluster.wait_ready(2, BOOT)?;
    for (before, after) in nodes.iter().zip(&ready) {
        assert_eq!(before.started, after.started, "{} began again", after.name);
    }
    is_complete(&cluster.head.report()?, &cluster.sizes)?;
    cluster.ends_well(machines, BOOT)
}

#[test]
fn a_node_loses_power_in_the_middle_and_comes_back() -> Result<()> {
    let (cluster, mut machines) = slow("power", 2)?;
    cluster.head.wait_for(BOOT, |nodes| nodes.iter().all(|node| holds(node, 4)))?;
    let unlucky = machines.pop().context("no machine")?;
    unlucky.power_off()?;
    cluster.head.wait_for(BOOT, |nodes| is_ready(&nodes[0]))?;
    drop(unlucky);
    machines.push(cluster.power_on(1, &MachineSpec::small())?);
    cluster.wait_ready(2, BOOT)?;
    cluster.ends_well(machines, BOOT)
}

#[test]
fn a_dead_switch_is_waited_for() -> Result<()> {
    let (cluster, machines) = slow("switch", 1)?;
    let console = machines[0].console();
    console.wait_for("Wulfpack agent", BOOT)?;
    cluster.lab.set_cable(&cluster.nodes[0], false)?;
    console.wait_for("waiting for 10.42.0.1", BOOT)?;
    cluster.lab.set_cable(&cluster.nodes[0], true)?;
    cluster.wait_ready(1, BOOT)?;
    cluster.ends_well(machines, BOOT)
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
    cluster.head.wait_for(BOOT, |nodes| nodes[0].message.as_deref().is_some_and(|message| message.contains("MiB")))?;
    drop(machine);
    cluster.succeeded();
    Ok(())
}

/// A host that fetches slowly while its only source pivots and hands over to the service of the running system.
#[test]
fn serving_goes_on_across_the_pivot() -> Result<()> {
    let setup = ClusterSetup { name: "pivot", ..ClusterSetup::default() };
    let mut cluster = Cluster::prepare(&setup, |_| ())?;
    let (host, ticket) = cluster.add_host("h1", Rate(16_000_000))?;
    let machine = cluster.power_on(0, &MachineSpec::default())?;
    cluster.head.wait_for(BOOT, |nodes| is_there(nodes, "n1", |node| holds(node, 2)))?;
    let fetch = Fetch::start(&cluster.lab, &host, &ticket, Duration::ZERO)?;
    cluster.head.wait_for(BOOT, |nodes| {
        is_there(nodes, "h1", |node| node.held > 0) && is_there(nodes, "n1", |node| node.phase >= Some(Phase::Mount))
    })?;
    // From now on n1 is the only source.
    cluster.head.kill()?;
    let pauses = PauseMeter::start(&host, &cluster.nodes[0])?;
    let report = fetch.report(BOOT)?;
    let pauses = pauses.read()?;
    assert!(report.from_peers > report.bytes / 2, "{report:?}");
    // No transfer broke off; how long nobody listened follows from the load of this host, and is printed below.
    assert_eq!(report.wasted, 0, "{}", fetch.process.console().text());
    // It spanned pivot and hand-over: the service of the running system served the end of it.
    let journal = cluster.login(0, "systemctl is-active wulf-agent; journalctl -b -u wulf-agent -o cat --no-pager")?;
    assert!(journal.starts_with("active"), "{journal}");
    // The node's own word on the gap waits for the head.
    cluster.head.serve()?;
    cluster.head.wait_for(BOOT, |nodes| is_there(nodes, "n1", is_ready))?;
    let log = cluster.head.wulf(&["node", "log", "n1"])?;
    let handed =
        log.lines().find(|line| line.contains("serving as the service")).context("no word of the hand-over")?;
    println!("the node: {handed}");
    println!("its peer: {pauses}");
    drop(machine);
    cluster.succeeded();
    Ok(())
}
