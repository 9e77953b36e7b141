//! Through ISC's relay from another subnet.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use dhcproto::v4::MessageType;
use wulfpack_head::config::{Config, SubnetConfig};
use wulfpack_head::dhcp::LeaseState;
use wulfpack_shared::id::Mac;
use wulfpack_tests::harness::{Port, dhcrelay};

use super::speaker::{EVERYBODY, Speaker, firmware, loads, message, token};
use super::{HEAD, SOON, Site};

const PER_PORT: u16 = 3;

fn far(config: &mut Config) {
    let settings = SubnetConfig {
        range: "10.43.200.10-10.43.200.29".parse().ok(),
        gateway: "10.43.0.1".parse().ok(),
        domain: "far.example".into(),
        ..SubnetConfig::default()
    };
    config.dhcp.subnets.extend("10.43.0.0/16".parse().ok().map(|net| (net, Some(settings))));
    config.dhcp.leases_per_port = PER_PORT;
}

/// Packets of the last boots of a machine, in words.
fn trace(site: &Site, port: &Port) -> Result<String> {
    site.head.wulf(&["boot", "trace", &port.name])
}

#[test]
fn a_node_behind_a_relay_gets_the_address_of_its_own_network() -> Result<()> {
    let site = Site::serving("dhcp-relay", far)?;
    let router = site.lab.router_port("router", 1, &site.head.port)?;
    let node = site.lab.far_port(&router, "n1")?;
    site.know(&node)?;
    let relay = dhcrelay(&site.lab, &router, &site.head.port, &[])?;
    let own = node.address().to_string();
    let mut client = site.udhcpc(&node, &[])?;
    let told = client.wait("bound")?;
    let told = ["ip", "router", "domain", "serverid"].map(|name| told.get(name).to_owned());
    assert_eq!(told, [&own, "10.43.0.1", "far.example", HEAD]);
    // Renewals come through the router, without the relay.
    client.renew();
    assert_eq!(client.wait("renew")?.get("ip"), own);
    client.kill()?;
    let text = trace(&site, &node)?;
    let offer = text.lines().find(|line| line.contains("OFFER")).context("no OFFER was recorded")?;
    ensure!(offer.contains("relay 10.43.0.1") && offer.contains("relay-agent(82) 1 \"far0\""), "{text}");
    // Its token goes to that address, and to no other one behind the same router.
    let mac: Mac = node.mac().parse()?;
    loads(&node, mac, node.address())?;
    assert_eq!(token(&router, mac)?.0, 403);
    let (status, text) = token(&node, mac)?;
    assert_eq!(status, 200, "{text}");
    // The relay speaks by its address on our side, and says by link selection where the machine is.
    relay.kill()?;
    let relay = dhcrelay(&site.lab, &router, &site.head.port, &["-U", "eth0"])?;
    assert_eq!(site.bound(&node, &[])?, own);
    let text = trace(&site, &node)?;
    let said = format!("relay {}", router.address());
    let offer = text.lines().rfind(|line| line.contains("OFFER")).context("no OFFER was recorded")?;
    ensure!(offer.contains(&said) && offer.contains("5 0a2b0001"), "{text}");
    relay.kill()?;
    site.succeeded();
    Ok(())
}

#[test]
fn machines_behind_one_port_take_neither_the_range_nor_a_nodes_address() -> Result<()> {
    let site = Site::serving("dhcp-port", far)?;
    let routers = [site.lab.router_port("r1", 1, &site.head.port)?, site.lab.router_port("r2", 2, &site.head.port)?];
    let relays = [
        dhcrelay(&site.lab, &routers[0], &site.head.port, &[])?,
        dhcrelay(&site.lab, &routers[1], &site.head.port, &[])?,
    ];
    let node = site.lab.far_port(&routers[0], "n1")?;
    site.know(&node)?;
    // Somebody sits on the first address: behind a relay only the client can see that.
    let squatter = site.lab.far_port(&routers[0], "squatter")?;
    squatter.assign("10.43.200.10".parse()?)?;
    let machine = site.lab.far_port(&routers[0], "machine")?;
    assert_eq!(site.bound(&machine, &["-a", "-A", "1"])?, "10.43.200.11");
    assert_eq!(site.lease("10.43.200.10")?, Some(LeaseState::Conflict));
    // One port says that it is many machines.
    let attacker = site.lab.far_port(&routers[0], "attacker")?;
    let speaker = Speaker::new(&attacker)?;
    for last in 0..30 {
        speaker.say(EVERYBODY, &message(Mac([2, 0, 0, 0, 9, last]), MessageType::Discover, firmware(7)))?;
    }
    // What is asked last is answered last, for a node always.
    let end = message(node.mac().parse()?, MessageType::Discover, firmware(7));
    speaker.say(EVERYBODY, &end)?;
    let mut offered = BTreeSet::new();
    loop {
        let (_, offer) = speaker.hear(SOON, |_| true)?.context("the node was not answered")?;
        if offer.xid() == end.xid() {
            break;
        }
        offered.insert(offer.yiaddr());
    }
    ensure!(offered.len() < usize::from(PER_PORT), "one port and its other machine have {offered:?}");
    let held = site.leases()?.iter().filter(|lease| lease.state == LeaseState::Bound).count();
    ensure!(held + offered.len() <= usize::from(PER_PORT), "{:?}", site.leases()?);
    site.head.wait_event("the machines behind its port have as many addresses as they may", SOON)?;
    // Others, and nodes behind the same port, do not notice.
    let other = site.lab.far_port(&routers[1], "other")?;
    assert!(site.bound(&other, &[])?.starts_with("10.43.200."));
    assert_eq!(site.bound(&node, &[])?, node.address().to_string());
    drop(relays);
    site.succeeded();
    Ok(())
}
