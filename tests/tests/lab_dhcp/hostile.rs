//! Machines that are not what they say, or that say it too often; and one whose hardware address does not fit the packet.

use anyhow::{Context as _, Result, ensure};
use dhcproto::v4::{DhcpOption, HType, MessageType};
use wulfpack_head::admin::DhcpStatus;
use wulfpack_head::config::TokenEvidence;
use wulfpack_shared::id::Mac;
use wulfpack_tests::cluster::is_there;
use wulfpack_tests::harness::ip;

use super::speaker::{EVERYBODY, Speaker, firmware, ipxe, kind, message, token};
use super::{NOW, SOON, Site, range};

/// What a forger knows of another machine.
fn forge(mac: Mac, address: std::net::Ipv4Addr) -> dhcproto::v4::Message {
    message(mac, MessageType::Request, [DhcpOption::RequestedIpAddress(address), ipxe()])
}

#[test]
fn who_forges_the_address_of_a_node_gets_neither_its_token_nor_its_peace() -> Result<()> {
    let site = Site::serving("dhcp-forger", |_| ())?;
    let (node, forger) = (site.node("n1")?, site.lab.process_port("forger", None)?);
    let mac: Mac = node.mac().parse()?;
    // It asks by DHCP in the node's name, and hears the answer; then for the node's token from where it is.
    let request = forge(mac, node.address());
    let (_, answer) = Speaker::new(&forger)?.ask(EVERYBODY, &request, |_| true)?;
    assert_eq!(kind(&answer), Some(MessageType::Ack));
    let (status, text) = token(&forger, mac)?;
    assert_eq!(status, 403, "{text}");
    let event = site.head.wait_event(&format!("{} asked for the join token of n1", forger.address()), SOON)?;
    assert_eq!(event.node.map(|node| node.to_string()).as_deref(), Some("n1"));
    // Nor does it take the address from the node by giving it back in its name.
    Speaker::new(&forger)?.say(EVERYBODY, &message(mac, MessageType::Release, []))?;
    assert_eq!(site.bound(&node, &[])?, node.address().to_string());
    site.succeeded();
    Ok(())
}

#[test]
fn who_takes_the_address_of_a_node_gets_no_token_where_neighbours_are_looked_at() -> Result<()> {
    let site = Site::serving("dhcp-thief", |config| {
        for interface in config.interfaces.values_mut() {
            interface.get_or_insert_default().token = TokenEvidence::Neighbour;
        }
    })?;
    let (node, thief) = (site.node("n1")?, site.lab.client_port("thief")?);
    let mac: Mac = node.mac().parse()?;
    thief.assign(node.address())?;
    let (status, text) = token(&thief, mac)?;
    assert_eq!(status, 403, "{text}");
    site.head.wait_event(&format!("{} asked for the join token of n1", node.address()), SOON)?;
    // The node itself, at the same address, gets it.
    ip(&format!("-n {} link set eth0 down", thief.namespace.name()))?;
    node.assign(node.address())?;
    let (status, text) = token(&node, mac)?;
    assert_eq!(status, 200, "{text}");
    site.succeeded();
    Ok(())
}

#[test]
fn who_asks_without_end_is_not_answered_and_takes_nothing_from_others() -> Result<()> {
    let site = Site::serving("dhcp-flood", range)?;
    let (node, flooder) = (site.node("n1")?, site.lab.client_port("flooder")?);
    let speaker = Speaker::new(&flooder)?;
    // One address, hundreds of requests; then hundreds of addresses.
    for _ in 0..300 {
        speaker.say(EVERYBODY, &message(Mac([2, 0, 0, 0, 7, 7]), MessageType::Discover, []))?;
    }
    for last in 0..=255 {
        speaker.say(EVERYBODY, &message(Mac([2, 0, 0, 0, 8, last]), MessageType::Discover, []))?;
    }
    assert_eq!(site.bound(&node, &[])?, node.address().to_string());
    site.head.wait_event("every address of the range is taken", SOON)?;
    let status: DhcpStatus = site.head.json(&["dhcp", "status"])?;
    ensure!(status.unanswered.limited > 200 && status.unanswered.exhausted > 200, "{:?}", status.unanswered);
    let held = site.leases()?.len();
    ensure!(held <= 10, "{held} leases of a range of 10");
    site.succeeded();
    Ok(())
}

/// RFC 4390: its 20 bytes are not in the packet, its GUID is in the client id.
#[test]
fn an_infiniband_port_is_known_by_its_guid_and_answered_by_broadcast() -> Result<()> {
    let site = Site::serving("dhcp-infiniband", |_| ())?;
    let long = "80:00:02:08:fe:80:00:00:00:00:00:00:7c:fe:90:03:00:26:39:d2";
    let address = "10.42.77.7";
    let device =
        ["--type", "infiniband", "--netdev", "ib0", "--hwaddr", long, "--ipaddr", address, "--netmask", "255.255.0.0"];
    site.head.wulf(&[&["node", "add", "ib7", "--yes"][..], &device].concat())?;
    site.until(|| Ok(is_there(&site.head.status(NOW)?.nodes, "ib7", |_| true)))?;
    let port = site.lab.client_port("card")?;
    let speaker = Speaker::new(&port)?;
    let guid = [0x7c, 0xfe, 0x90, 0x03, 0x00, 0x26, 0x39, 0xd2];
    let id = [&[0xff, 0, 0, 0, 0, 0, 2, 0, 0, 2, 0xc9, 0][..], &guid].concat();
    let said = |kind| {
        let options = firmware(7).into_iter().chain([
            DhcpOption::ClientIdentifier(id.clone()),
            DhcpOption::RequestedIpAddress(address.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED)),
        ]);
        let mut message = message(Mac([0; 6]), kind, options);
        message.set_htype(HType::from(32)).set_chaddr(&[]);
        message
    };
    let (_, offer) = speaker.ask(EVERYBODY, &said(MessageType::Discover), |_| true)?;
    assert_eq!((kind(&offer), offer.yiaddr().to_string()), (Some(MessageType::Offer), address.to_owned()));
    assert_eq!((u8::from(offer.htype()), offer.hlen()), (32, 0));
    let (_, ack) = speaker.ask(EVERYBODY, &said(MessageType::Request), |_| true)?;
    assert_eq!(kind(&ack), Some(MessageType::Ack));
    let told = site.head.wulf(&["boot", "trace", "ib7"]).context("nothing was recorded")?;
    ensure!(told.contains(address), "{told}");
    site.succeeded();
    Ok(())
}
