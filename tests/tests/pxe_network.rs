//! Machines that boot on networks that are not the head's own: beside somebody else's DHCP server, and through a relay. To a login.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wulfpack_head::config::{Config, DhcpMode};
use wulfpack_tests::cluster::{IMAGE, is_ready};
use wulfpack_tests::harness::{
    Firmware, Flavour, Head, KeyPair, Lab, Login, Machine, MachineSpec, Port, debian_tar, dhcrelay, dnsmasq,
};

const BOOT: Duration = Duration::from_secs(500);
const SOON: Duration = Duration::from_secs(60);

/// A head, and a BIOS and a UEFI machine that it knows. Fields are dropped in this order.
struct Site {
    head: Head,
    nodes: Vec<Port>,
    router: Option<Port>,
    key: KeyPair,
    lab: Lab,
}

impl Site {
    /// `far`: the machines hang behind a router.
    fn prepare(name: &str, far: bool, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let port = lab.head_port(None)?;
        let router = far.then(|| lab.router_port("router", 1, &port)).transpose()?;
        let plug = |name| match &router {
            Some(router) => lab.far_machine_port(router, name),
            None => lab.machine_port(name, None),
        };
        let nodes = vec![plug("n1")?, plug("n2")?];
        let key = KeyPair::generate(lab.work(), "id")?;
        let mut head = Head::set_up(&lab, port, &key, (&debian_tar(Flavour::Cloud)?, IMAGE), configure)?;
        head.add_nodes(&nodes, IMAGE)?;
        if far {
            head.wulf(&["profile", "set", "default", "--yes", "--netdev", "eth0", "--gateway", "10.43.0.1"])?;
        }
        head.serve()?;
        Ok(Self { head, nodes, router, key, lab })
    }

    /// Switches both machines on, and waits for their logins.
    fn boots(&self) -> Result<()> {
        let firmwares = [Firmware::Bios, Firmware::Uefi];
        let machines = self.nodes.iter().zip(firmwares).map(|(port, firmware)| {
            Machine::power_on(&self.lab, port, &MachineSpec { firmware, ..MachineSpec::small() })
        });
        let machines = machines.collect::<Result<Vec<_>>>()?;
        self.head.wait_for(BOOT, |nodes| nodes.iter().filter(|node| is_ready(node)).count() == 2).with_context(
            || {
                let ends: Vec<_> = machines.iter().map(|machine| machine.console().tail(30)).collect();
                ends.join("\n---\n")
            },
        )?;
        for port in &self.nodes {
            let login = Login { from: &self.head.port, key: &self.key };
            ensure!(login.run(port.address().into(), "hostname")?.trim() == port.name);
        }
        Ok(())
    }

    /// How often the trace of a machine says this.
    fn traced(&self, port: &Port, text: &str) -> Result<usize> {
        Ok(self.head.wulf(&["boot", "trace", &port.name])?.matches(text).count())
    }

    fn succeeded(self) {
        let Self { head, nodes, router, lab, .. } = self;
        drop((head, nodes, router));
        lab.succeeded();
    }
}

/// Somebody else gives every machine an address that the registry knows nothing of.
const THEIRS: &str = "no-ping\ndhcp-range=10.42.220.10,10.42.220.99,255.255.0.0,10m\n";

fn beside_dnsmasq(name: &str, mode: DhcpMode) -> Result<()> {
    let mut site = Site::prepare(name, false, |config| config.dhcp.mode = mode)?;
    let port = site.lab.process_port("theirs", None)?;
    let other = dnsmasq(&site.lab, &port, THEIRS)?;
    // It is there when the head starts.
    site.head.stop()?;
    site.head.serve()?;
    site.head.wait_event(&format!("another DHCP server answers on eth0, at {}", port.address()), SOON)?;
    site.boots()?;
    for node in &site.nodes {
        ensure!(site.traced(node, "proxy Offer")? > 0, "{} took nothing from the proxy", node.name);
        let leased = other.console().text().contains("DHCPACK(eth0) 10.42.220.");
        ensure!(leased, "the other server gave no address");
    }
    // UEFI firmware asks the proxy's own port for its boot file.
    ensure!(site.traced(&site.nodes[1], "proxy Ack")? > 0, "nobody asked port 4011");
    drop((other, port));
    site.succeeded();
    Ok(())
}

#[test]
fn machines_boot_beside_another_server_by_proxy() -> Result<()> {
    beside_dnsmasq("pxe-proxy", DhcpMode::Proxy)
}

#[test]
fn machines_boot_beside_another_server_that_is_found_by_itself() -> Result<()> {
    beside_dnsmasq("pxe-auto", DhcpMode::Auto)
}

#[test]
fn machines_boot_through_a_relay_from_another_subnet() -> Result<()> {
    let site = Site::prepare("pxe-relay", true, |config| {
        config.dhcp.subnets.extend("10.43.0.0/16".parse().ok().map(|net| (net, None)));
    })?;
    let router = site.router.as_ref().context("no router")?;
    let relay = dhcrelay(&site.lab, router, &site.head.port, &[])?;
    site.boots()?;
    for node in &site.nodes {
        ensure!(site.traced(node, "relay-agent(82) 1 \"far0\"")? > 0, "{} did not come through the relay", node.name);
    }
    drop(relay);
    site.succeeded();
    Ok(())
}
