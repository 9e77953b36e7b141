//! The DHCP server with real clients, relays and rivals: `wulf serve` in network namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wulfpack_head::config::{Config, SubnetConfig};
use wulfpack_head::dhcp::{LeaseRecord, LeaseState};
use wulfpack_tests::cluster::is_there;
use wulfpack_tests::harness::{DhcpClient, Head, KeyPair, Lab, Port};

#[path = "lab_dhcp/hostile.rs"]
mod hostile;
#[path = "lab_dhcp/others.rs"]
mod others;
#[path = "lab_dhcp/relays.rs"]
mod relays;
#[path = "lab_dhcp/speaker.rs"]
mod speaker;

const SOON: Duration = Duration::from_secs(60);
const HEAD: &str = "10.42.0.1";
/// No version of the head's view is this one: it answers at once.
const NOW: u64 = u64::MAX;

/// A head that serves, and its network. Fields are dropped in this order.
struct Site {
    head: Head,
    lab: Lab,
}

impl Site {
    /// A head with this configuration, which does not serve yet.
    fn prepare(name: &str, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let port = lab.head_port(None)?;
        let key = KeyPair::generate(lab.work(), "id")?;
        let head = Head::prepare(&lab, port, configure)?;
        head.init(&key)?;
        Ok(Self { head, lab })
    }

    fn serving(name: &str, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut site = Self::prepare(name, configure)?;
        site.head.serve()?;
        Ok(site)
    }

    /// Makes the machine at this port a node of the registry that the running head knows.
    fn know(&self, port: &Port) -> Result<()> {
        let address = port.address().to_string();
        let netdev = ["--netdev", "eth0", "--hwaddr", &port.mac(), "--ipaddr", &address, "--netmask", "255.255.0.0"];
        self.head.wulf(&[&["node", "add", &port.name, "--yes"][..], &netdev].concat())?;
        self.until(|| Ok(is_there(&self.head.status(NOW)?.nodes, &port.name, |_| true)))
    }

    /// Looks until it is so. What is looked at tells nobody when it changes.
    fn until(&self, so: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while !so()? {
            ensure!(Instant::now() < deadline, "not so after {} s: {}", SOON.as_secs(), self.head.log()?.tail(10));
        }
        Ok(())
    }

    /// A machine that is a node.
    fn node(&self, name: &str) -> Result<Port> {
        let port = self.lab.client_port(name)?;
        self.know(&port)?;
        Ok(port)
    }

    fn udhcpc(&self, port: &Port, arguments: &[&str]) -> Result<DhcpClient> {
        DhcpClient::udhcpc(&self.lab, port, arguments)
    }

    /// The address that udhcpc gets at this port, and what else `look` sees in the answer.
    fn bound(&self, port: &Port, arguments: &[&str]) -> Result<String> {
        let mut client = self.udhcpc(port, arguments)?;
        let told = client.wait("bound")?;
        client.kill()?;
        Ok(told.get("ip").to_owned())
    }

    fn leases(&self) -> Result<Vec<LeaseRecord>> {
        self.head.json(&["dhcp", "leases"])
    }

    /// How the lease of this address stands.
    fn lease(&self, address: &str) -> Result<Option<LeaseState>> {
        Ok(self.leases()?.into_iter().find(|lease| lease.address.to_string() == address).map(|lease| lease.state))
    }

    fn succeeded(self) {
        let Self { head, lab } = self;
        drop(head);
        lab.succeeded();
    }
}

/// A range for unknown machines in the lab's network.
fn range(config: &mut Config) {
    let range = "10.42.200.10-10.42.200.19".parse().ok();
    let settings = SubnetConfig { range, range_lease_seconds: 60, ..SubnetConfig::default() };
    config.dhcp.subnets.extend("10.42.0.0/16".parse().ok().map(|net| (net, Some(settings))));
}

#[test]
fn every_client_of_a_machine_gets_the_address_of_its_node() -> Result<()> {
    let site = Site::serving("dhcp-known", |_| ())?;
    let port = site.node("n1")?;
    let own = port.address().to_string();
    // busybox: by MAC address, without a client id, with another, and with broadcast answers.
    for arguments in [&[][..], &["-C"], &["-C", "-x", "0x3d:ff00112233445566"], &["-B"]] {
        let mut client = site.udhcpc(&port, arguments)?;
        let told = client.wait("bound")?;
        let told = ["ip", "mask", "hostname", "serverid", "lease"].map(|name| told.get(name).to_owned());
        assert_eq!(told, [&own, "16", "n1", HEAD, "3600"], "{arguments:?}");
        client.renew();
        assert_eq!(client.wait("renew")?.get("ip"), own);
        client.kill()?;
    }
    // ISC's client, whose id is yet another; the second time it asks for what it had.
    for event in ["BOUND", "REBOOT"] {
        let mut client = DhcpClient::dhclient(&site.lab, &port, "send dhcp-client-identifier \"somebody\";\n")?;
        let told = client.wait(event)?;
        assert_eq!((told.get("ip"), told.get("serverid")), (own.as_str(), HEAD));
        // By then it has written down what it was lent.
        client.console().wait_for("renewal in", SOON)?;
        client.kill()?;
    }
    assert!(site.leases()?.is_empty(), "addresses of nodes are computed");
    // Whom nobody knows gets no answer here.
    let stranger = site.lab.client_port("stranger")?;
    site.udhcpc(&stranger, &["-n", "-t", "2", "-T", "1"])?.gives_up()?;
    site.succeeded();
    Ok(())
}

#[test]
fn an_unknown_machine_borrows_an_address_until_it_is_known() -> Result<()> {
    let mut site = Site::serving("dhcp-range", range)?;
    let (first, second) = (site.lab.client_port("first")?, site.lab.client_port("second")?);
    let mut client = site.udhcpc(&first, &[])?;
    let told = client.wait("bound")?;
    let lent = told.get("ip").to_owned();
    assert_eq!((lent.as_str(), told.get("lease")), ("10.42.200.10", "60"));
    // The head dies, and knows the lease when it is back.
    site.head.kill()?;
    site.head.serve()?;
    assert_eq!(site.lease(&lent)?, Some(LeaseState::Bound));
    client.renew();
    assert_eq!(client.wait("renew")?.get("ip"), lent);
    // It is not lent to anybody else. Given back, it is free.
    let mut other = site.udhcpc(&second, &[])?;
    let theirs = other.wait("bound")?.get("ip").to_owned();
    assert_eq!(theirs, "10.42.200.11");
    other.release();
    other.wait("deconfig")?;
    site.until(|| Ok(site.lease(&theirs)?.is_none()))?;
    other.kill()?;
    // Known, it is refused what it borrowed, and gets its own.
    site.know(&first)?;
    client.renew();
    assert!(client.wait("nak")?.get("message").contains("first has the address"));
    assert_eq!(client.wait("bound")?.get("ip"), first.address().to_string());
    assert_eq!(site.lease(&lent)?, None);
    site.succeeded();
    Ok(())
}

#[test]
fn an_address_that_somebody_uses_is_not_lent_and_a_node_that_finds_it_so_is_heard() -> Result<()> {
    let site = Site::serving("dhcp-conflict", range)?;
    let squatter = site.lab.client_port("squatter")?;
    squatter.assign("10.42.200.10".parse()?)?;
    let machine = site.lab.client_port("machine")?;
    assert_eq!(site.bound(&machine, &[])?, "10.42.200.11");
    assert_eq!(site.lease("10.42.200.10")?, Some(LeaseState::Conflict));
    site.head.wait_event("10.42.200.10 is in use by a machine that was not given it", SOON)?;
    // A node has one address and no other: it declines, and administrators are told.
    let node = site.node("n1")?;
    squatter.assign(node.address())?;
    let client = site.udhcpc(&node, &["-a"])?;
    site.head.wait_event(&format!("n1 found its address {} in use by another machine", node.address()), SOON)?;
    client.console().wait_for("declining", SOON).context("udhcpc did not decline")?;
    site.succeeded();
    Ok(())
}
