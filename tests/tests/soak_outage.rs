//! Fifty hosts, and a head and a switch that are gone for longer than anybody's patience (REAL-CLUSTERS rule 3).

use std::time::Duration;

use anyhow::Result;
use wulfpack_tests::cluster::Hosts;

const HOSTS: usize = 50;
const LONG: Duration = Duration::from_secs(600);
/// Longer than the idle timeout of connections, than certificate checks, than every first pause of a backoff.
const OUTAGE: Duration = Duration::from_secs(120);

#[test]
fn fifty_hosts_outlast_their_head_and_their_switch() -> Result<()> {
    let mut hosts = Hosts::prepare("outage", HOSTS, None)?;
    let fetches = hosts.fetch_all()?;
    hosts.head.wait_for(LONG, |nodes| nodes.iter().all(|node| node.total > 0))?;
    hosts.head.kill()?;
    for port in &hosts.ports {
        hosts.lab.set_cable(port, false)?;
    }
    let unfinished: Vec<_> =
        fetches.iter().filter(|fetch| !fetch.process.console().text().contains("\"complete_s\":")).collect();
    for fetch in &unfinished {
        fetch.process.console().wait_for("nobody reachable holds", LONG)?;
    }
    // Not a wait for something: the length of the outage is what is tested.
    std::thread::sleep(OUTAGE);
    assert!(fetches.iter().all(|fetch| fetch.process.status().is_none()), "somebody gave up");
    for port in &hosts.ports {
        hosts.lab.set_cable(port, true)?;
    }
    hosts.head.serve()?;
    let mut from_heads = 0;
    for fetch in &fetches {
        let report = fetch.report(LONG)?;
        from_heads += report.from_heads;
        let arrived = report.from_heads + report.from_peers;
        assert!(arrived >= report.bytes && arrived - report.bytes < report.bytes / 50, "{report:?}");
    }
    // The head came back to a swarm that holds nearly all of it: it is not asked for fifty images.
    let image = fetches[0].report(LONG)?.bytes;
    assert!(from_heads < 5 * image, "the head sent {from_heads} bytes of an image of {image}");
    hosts.succeeded();
    Ok(())
}
