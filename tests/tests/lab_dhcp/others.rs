//! Beside somebody else's server: dnsmasq.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use dhcproto::v4::{DhcpOption, Message, MessageType};
use wulfpack_head::admin::DhcpStatus;
use wulfpack_head::config::DhcpMode;
use wulfpack_shared::id::Mac;
use wulfpack_tests::harness::{Port, Process, dnsmasq};

use super::speaker::{EVERYBODY, HEAD, Speaker, boot_file, firmware, kind, message, token};
use super::{SOON, Site};

/// The other server lends from here.
const THEIRS: &str = "10.42.220.";

fn other(site: &Site, port: &Port) -> Result<Process> {
    dnsmasq(&site.lab, port, "no-ping\ndhcp-range=10.42.220.10,10.42.220.99,255.255.0.0,10m\n")
}

fn status(site: &Site) -> Result<DhcpStatus> {
    site.head.json(&["dhcp", "status"])
}

#[test]
fn another_server_is_noticed_and_keeps_dhcp_back_until_that_is_overridden() -> Result<()> {
    let site = Site::serving("dhcp-rogue", |_| ())?;
    let node = site.node("n1")?;
    let own = node.address().to_string();
    assert_eq!(site.bound(&node, &[])?, own);
    // A rogue appears. The head hears of it when a machine chooses it.
    let port = site.lab.process_port("rogue", None)?;
    let rogue = other(&site, &port)?;
    let victim = site.lab.client_port("victim")?;
    assert!(site.bound(&victim, &[])?.starts_with(THEIRS));
    let said = format!("another DHCP server answers on eth0, at {}", port.address());
    site.head.wait_event(&said, SOON)?;
    let text = site.head.wulf(&["dhcp", "status"])?;
    ensure!(text.contains(&format!("withheld: another DHCP server answers at {}", port.address())), "{text}");
    assert_eq!(status(&site)?.other_server, Some(port.address()));
    assert!(status(&site)?.services.get("http").is_some_and(|http| http.answers), "nothing else is withheld");
    assert!(site.bound(&node, &[])?.starts_with(THEIRS), "the head answers beside the other");
    site.head.wulf(&["dhcp", "override", "on"])?;
    rogue.kill()?;
    assert_eq!(site.bound(&node, &[])?, own);
    site.succeeded();
    Ok(())
}

/// What UEFI firmware does beside a proxy: offers of both, the address from one, the boot file from the other's port 4011.
fn firmware_boots(site: &Site, node: &Port, other: Ipv4Addr) -> Result<()> {
    let mac: Mac = node.mac().parse()?;
    let speaker = Speaker::new(node)?;
    let discover = message(mac, MessageType::Discover, firmware(7));
    speaker.say(EVERYBODY, &discover)?;
    let (mut lent, mut proxy) = (None, None);
    while lent.is_none() || proxy.is_none() {
        let (from, offer) =
            speaker.hear(SOON, |offer| offer.xid() == discover.xid())?.context("an offer is missing")?;
        ensure!(kind(&offer) == Some(MessageType::Offer), "{offer:?}");
        if from.ip() == HEAD {
            proxy = Some(offer);
        } else {
            lent = Some(offer);
        }
    }
    let (lent, proxy) = (lent.context("no address")?, proxy.context("no proxy offer")?);
    ensure!(proxy.yiaddr().is_unspecified() && boot_file(&proxy) == "snponly.efi", "{proxy:?}");
    let choose = [DhcpOption::RequestedIpAddress(lent.yiaddr()), DhcpOption::ServerIdentifier(other)];
    let request = message(mac, MessageType::Request, firmware(7).into_iter().chain(choose));
    let (from, ack) = speaker.ask(EVERYBODY, &request, |answer| kind(answer) == Some(MessageType::Ack))?;
    ensure!(from.ip() == other && ack.yiaddr() == lent.yiaddr(), "{from} {ack:?}");
    node.assign(ack.yiaddr())?;
    let mut request: Message = message(mac, MessageType::Request, firmware(7));
    request.set_ciaddr(ack.yiaddr());
    let boot_server = SocketAddrV4::new(HEAD, 4011);
    // From the same port, as EDK2 does.
    let (from, ack) = Speaker::at(node, 4011)?.ask(boot_server, &request, |_| true)?;
    ensure!(from == boot_server.into(), "{from}");
    ensure!(kind(&ack) == Some(MessageType::Ack) && boot_file(&ack) == "snponly.efi", "{ack:?}");
    // The head knows who has the address that it did not give.
    let (status, text) = token(node, mac)?;
    ensure!(status == 200, "{text}");
    let trace = site.head.wulf(&["boot", "trace", &node.name])?;
    ensure!(trace.contains("proxy Offer") && trace.contains("proxy Ack"), "{trace}");
    Ok(())
}

#[test]
fn a_proxy_says_what_to_boot_and_leaves_the_address_to_the_other_server() -> Result<()> {
    let site = Site::serving("dhcp-proxy", |config| config.dhcp.mode = DhcpMode::Proxy)?;
    let (port, node) = (site.lab.process_port("theirs", None)?, site.node("n1")?);
    let _dnsmasq = other(&site, &port)?;
    // An operating system hears one server only.
    assert!(site.bound(&node, &[])?.starts_with(THEIRS));
    firmware_boots(&site, &node, port.address())?;
    // Firmware of a machine that nobody knows is told nothing.
    let stranger = site.lab.client_port("stranger")?;
    let speaker = Speaker::new(&stranger)?;
    let discover = message(stranger.mac().parse()?, MessageType::Discover, firmware(7));
    speaker.say(EVERYBODY, &discover)?;
    let (from, _) = speaker.hear(SOON, |offer| offer.xid() == discover.xid())?.context("the other server is silent")?;
    assert_eq!(from.ip(), port.address());
    let text = site.head.wulf(&["dhcp", "status"])?;
    assert!(text.contains(&format!("proxy: says what to boot, the DHCP server at {}", port.address())), "{text}");
    site.succeeded();
    Ok(())
}

#[test]
fn auto_gives_addresses_where_it_is_alone_and_turns_into_a_proxy_where_it_is_not() -> Result<()> {
    let mut site = Site::serving("dhcp-auto", |config| config.dhcp.mode = DhcpMode::Auto)?;
    let (port, node) = (site.lab.process_port("theirs", None)?, site.node("n1")?);
    assert_eq!(site.bound(&node, &[])?, node.address().to_string());
    assert_eq!(status(&site)?.other_server, None);
    let _dnsmasq = other(&site, &port)?;
    // It starts anew and looks: what it finds is said in log, events and status.
    site.head.stop()?;
    site.head.serve()?;
    let said = format!("another DHCP server answers on eth0, at {}", port.address());
    let event = site.head.wait_event(&said, SOON)?;
    assert!(event.text.contains("proxy: says what to boot"), "{}", event.text);
    site.head.log()?.wait_for(&said, SOON)?;
    let text = site.head.wulf(&["dhcp", "status"])?;
    assert!(text.contains(&format!("proxy: says what to boot, the DHCP server at {}", port.address())), "{text}");
    assert!(site.bound(&node, &[])?.starts_with(THEIRS));
    firmware_boots(&site, &node, port.address())?;
    site.succeeded();
    Ok(())
}
