//! The network: interface, carrier, address, an answer. Runs again, beside whatever else runs, when the link was lost.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use wulfpack_shared::bootargs::FixedAddress;

use crate::dhcp::{ClientId, DhcpClient, write_lease};
use crate::life::context::{Context, StepError};
use crate::link::{Carrier, Interface, Links, Waiting, on_link_targets};
use crate::paths;

/// Until the interface appears: drivers that load firmware take long.
const INTERFACE: Duration = Duration::from_secs(180);
/// Until there is carrier.
const CARRIER: Duration = Duration::from_secs(120);
/// Until a DHCP server answers.
const LEASE: Duration = Duration::from_secs(120);
/// Until gateway or head answers: spanning tree takes 30 s, LACP up to 90 s.
const NEIGHBOUR: Duration = Duration::from_secs(120);

/// The network as it stands.
#[derive(Debug)]
pub struct Linked {
    /// The kernel's interfaces.
    pub links: Links,
    /// The boot interface.
    pub interface: Interface,
    /// Its address.
    pub address: FixedAddress,
    /// The DHCP client that keeps it, if it is not fixed; it renews as long as this lives.
    pub client: Option<DhcpClient>,
}

pub(super) async fn link(context: &Arc<Context>) -> Result<(), StepError> {
    let args = context.args();
    let (tell, waiting) = watch::channel(Waiting::Nothing);
    let shown = tokio::spawn(show(Arc::clone(context), waiting));
    let before = context.left().linked.take();
    let (links, client) = match before {
        Some(linked) => (linked.links, linked.client),
        None => (Links::open().map_err(StepError::again)?, None),
    };
    let found = links.find_interface(args.mac, INTERFACE, &tell).await.map_err(StepError::again)?;
    let interface = links.prepare(&found, args.device.as_deref(), args.mtu).await.map_err(StepError::again)?;
    links.up(&interface).await.map_err(StepError::again)?;
    links.wait_carrier(&interface, CARRIER, &tell).await.map_err(StepError::again)?;
    // As it is now: the watch below must not take the time before the carrier came for a loss.
    let now = links.interface(interface.index).await.map_err(StepError::again)?;
    let interface = now.context("the boot interface has disappeared")?;
    let (address, client) = match args.address {
        Some(address) => (address, None),
        None => leased(context, &links, &interface, client).await?,
    };
    links.set_address(&interface, address).await.map_err(StepError::again)?;
    if let IpAddr::V4(own) = address.ip {
        let heads: Vec<IpAddr> = args.heads.iter().map(|head| head.control.ip()).collect();
        let targets = on_link_targets(address, &heads);
        links.arp_probe(&interface, own, &targets, NEIGHBOUR, &tell).await.map_err(StepError::again)?;
    }
    shown.abort();
    context.say(format!("link: {} has {}/{}", interface.name, address.ip, address.prefix));
    context.left().linked = Some(Linked { links, interface, address, client });
    Ok(())
}

/// What is waited for goes to the progress line, and once to the log.
async fn show(context: Arc<Context>, mut waiting: watch::Receiver<Waiting>) {
    while waiting.changed().await.is_ok() {
        let now = waiting.borrow_and_update().clone();
        context.left().doing = (now != Waiting::Nothing).then(|| now.to_string());
    }
}

async fn leased(
    context: &Context,
    links: &Links,
    interface: &Interface,
    client: Option<DhcpClient>,
) -> Result<(FixedAddress, Option<DhcpClient>), StepError> {
    context.doing(format!("waiting for a DHCP server on {}", interface.name));
    let client = match client {
        Some(client) => client,
        None => {
            let mac = interface.mac.context("the boot interface has no hardware address")?;
            let id = ClientId { mac, hostname: context.args().node.clone() };
            DhcpClient::start(&interface.name, id).map_err(StepError::again)?
        }
    };
    let mut leases = client.lease();
    let lease = match tokio::time::timeout(LEASE, leases.wait_for(Option::is_some)).await {
        Ok(Ok(lease)) => lease.clone().context("a lease that is none")?,
        Ok(Err(_)) => return Err(StepError::again("the DHCP client ended")),
        Err(_) => {
            let name = &interface.name;
            return Err(StepError::again(format!("no DHCP server answered on {name} within {} s", LEASE.as_secs())));
        }
    };
    if let (Some(mtu), None) = (lease.mtu, context.args().mtu) {
        links.set_mtu(interface, mtu.into()).await.map_err(StepError::again)?;
    }
    write_lease(Path::new(paths::LEASE), &lease).map_err(StepError::again)?;
    Ok((lease.address(), Some(client)))
}

/// Returns when the link that [`link`] brought up is lost: carrier, interface, or lease.
pub(in crate::life) async fn link_lost(context: &Arc<Context>) {
    let watching =
        context.left().linked.as_ref().map(|linked| {
            (linked.links.watch_carrier(&linked.interface), linked.client.as_ref().map(DhcpClient::lease))
        });
    let Some((mut carrier, mut lease)) = watching else { return };
    let why = loop {
        match *carrier.borrow_and_update() {
            Carrier::Up => {}
            Carrier::Lost => break "the carrier is lost",
            Carrier::Gone => break "the interface is gone",
        }
        if lease.as_mut().is_some_and(|lease| lease.borrow_and_update().is_none()) {
            break "the address was lost";
        }
        let lease_changes = async {
            match &mut lease {
                Some(lease) => lease.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = carrier.changed() => if changed.is_err() { return },
            more = lease_changes => if !more { return },
        }
    };
    context.say(format!("link: {why}"));
}

/// Interfaces for the prompt.
pub(in crate::life) async fn describe_links() -> Vec<String> {
    let interfaces = match Links::open() {
        Ok(links) => links.interfaces().await,
        Err(error) => Err(error),
    };
    match interfaces {
        Ok(interfaces) => interfaces
            .iter()
            .map(|one| {
                let mac = one.mac.map_or_else(String::new, |mac| format!(" {mac}"));
                let up = if one.up { "up" } else { "down" };
                let carrier = if one.carrier { "carrier" } else { "no carrier" };
                format!("{}{mac}: {up}, {carrier}, MTU {}", one.name, one.mtu)
            })
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}
