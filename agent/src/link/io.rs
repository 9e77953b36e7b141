//! rtnetlink(7): what the kernel is asked, and what it is told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::sync::watch;
use wulfpack_shared::bootargs::FixedAddress;
use wulfpack_shared::id::Mac;

use super::select::{Interface, spare_name};

/// Why the boot interface is not ready.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel refused something.
    #[error("cannot {what}: {source}")]
    Netlink {
        /// What was asked.
        what: String,
        /// Its answer.
        source: rtnetlink::Error,
    },
    /// A socket failed.
    #[error("cannot {what}: {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// No such interface within the time given.
    #[error(
        "no network interface {} appeared within {} s (present: {}); is its driver among the image's modules, its firmware \
         in the image, and `wulf.mac` right?",
        mac.map_or("of type Ethernet".to_owned(), |mac| format!("with MAC address {mac}")),
        waited.as_secs(),
        if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
    )]
    NoInterface {
        /// The MAC address that was looked for.
        mac: Option<Mac>,
        /// Interfaces that are there.
        seen: Vec<String>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The cable, the switch port or the transceiver.
    #[error("{name} has had no carrier for {} s; check cable, transceiver and switch port", waited.as_secs())]
    NoCarrier {
        /// The interface.
        name: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The interface went away.
    #[error("network interface {name} has disappeared")]
    Gone {
        /// The interface.
        name: String,
    },
    /// Nobody answers ARP.
    #[error(
        "none of {} answered ARP on {name} within {} s; does the switch port forward (spanning tree, VLAN, LACP)?",
        targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        waited.as_secs()
    )]
    NoAnswer {
        /// The interface.
        name: String,
        /// Who was asked.
        targets: Vec<Ipv4Addr>,
        /// How long.
        waited: Duration,
    },
}

/// The kernel's interfaces, addresses and routes. Cheap to clone; lives on the tokio runtime that opened it.
#[derive(Clone, Debug)]
pub struct Links {
    pub(super) handle: Handle,
    /// Marked changed whenever the kernel says that a link changed.
    pub(super) changes: watch::Receiver<()>,
}

fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    move |source| LinkError::Netlink { what: what.into(), source }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn interface(message: &LinkMessage) -> Interface {
    let flags = message.header.flags;
    let mut found = Interface {
        index: message.header.index,
        name: String::new(),
        mac: None,
        permanent: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        loopback: flags.contains(LinkFlags::Loopback),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Address(bytes) => found.mac = mac(bytes),
            LinkAttribute::PermAddress(bytes) => found.permanent = mac(bytes),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            _ => {}
        }
    }
    found
}

impl Links {
    /// Opens a netlink socket. Must be called on a tokio runtime, which then serves it.
    ///
    /// # Errors
    /// [`LinkError::Socket`].
    pub fn open() -> Result<Self, LinkError> {
        let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .map_err(|source| LinkError::Socket { what: "open a netlink socket", source })?;
        let (changed, changes) = watch::channel(());
        tokio::spawn(connection);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                if changed.send(()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { handle, changes })
    }

    /// All interfaces.
    ///
    /// # Errors
    /// [`LinkError::Netlink`].
    pub async fn interfaces(&self) -> Result<Vec<Interface>, LinkError> {
        let messages = self.handle.link().get().execute();
        messages.map_ok(|message| interface(&message)).try_collect().await.map_err(failed("list the interfaces"))
    }

    /// The interface with this index now; `None` if it has gone.
    ///
    /// # Errors
    /// [`LinkError::Netlink`].
    pub async fn interface(&self, index: u32) -> Result<Option<Interface>, LinkError> {
        Ok(self.interfaces().await?.into_iter().find(|one| one.index == index))
    }

    async fn set(&self, what: String, message: LinkMessageBuilder<LinkUnspec>) -> Result<(), LinkError> {
        self.handle.link().set(message.build()).execute().await.map_err(failed(what))
    }

    async fn rename(&self, index: u32, from: &str, to: &str) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(index).name(to.to_owned());
        self.set(format!("rename {from} to {to}"), message).await
    }

    /// Brings `lo` up, gives the interface its registry name and MTU, both before it is up: kernels before 6.2 cannot
    /// rename an interface that is up. Another interface that has the name gets this one's old name.
    ///
    /// # Errors
    /// [`LinkError::Netlink`], such as for an MTU that the driver cannot.
    pub async fn prepare(
        &self,
        boot: &Interface,
        name: Option<&str>,
        mtu: Option<u16>,
    ) -> Result<Interface, LinkError> {
        let all = self.interfaces().await?;
        if let Some(lo) = all.iter().find(|one| one.loopback && !one.up) {
            self.set("bring lo up".into(), LinkUnspec::new_with_index(lo.index).up()).await?;
        }
        let mut done = all.iter().find(|one| one.index == boot.index).unwrap_or(boot).clone();
        if let Some(name) = name.filter(|name| *name != done.name) {
            let other = all.iter().find(|one| one.name == name);
            for up in [Some(&done), other].into_iter().flatten().filter(|one| one.up) {
                self.set(format!("take {} down", up.name), LinkUnspec::new_with_index(up.index).down()).await?;
            }
            if let Some(other) = other {
                let spare = spare_name(&all);
                self.rename(other.index, &other.name, &spare).await?;
                self.rename(done.index, &done.name, name).await?;
                self.rename(other.index, &spare, &done.name).await?;
            } else {
                self.rename(done.index, &done.name, name).await?;
            }
            done.name = name.to_owned();
            done.up = false;
        }
        if let Some(mtu) = mtu.map(u32::from).filter(|mtu| *mtu != done.mtu) {
            self.set_mtu(&done, mtu).await?;
            done.mtu = mtu;
        }
        Ok(done)
    }

    /// Sets the MTU, such as one that a DHCP lease brought.
    ///
    /// # Errors
    /// [`LinkError::Netlink`].
    pub async fn set_mtu(&self, interface: &Interface, mtu: u32) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(interface.index).mtu(mtu);
        self.set(format!("set the MTU of {} to {mtu}", interface.name), message).await
    }

    /// Brings the interface up.
    ///
    /// # Errors
    /// [`LinkError::Netlink`].
    pub async fn up(&self, interface: &Interface) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(interface.index).up();
        self.set(format!("bring {} up", interface.name), message).await
    }

    /// Takes the interface down.
    ///
    /// # Errors
    /// [`LinkError::Netlink`].
    pub async fn down(&self, interface: &Interface) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(interface.index).down();
        self.set(format!("take {} down", interface.name), message).await
    }

    /// Gives the interface this address and default route, and takes every other address of the same family away.
    ///
    /// # Errors
    /// [`LinkError::Netlink`].
    pub async fn set_address(&self, interface: &Interface, address: FixedAddress) -> Result<(), LinkError> {
        let FixedAddress { ip, prefix, gateway } = address;
        let mut add = self.handle.address().add(interface.index, ip, prefix).replace();
        if ip.is_ipv6() {
            // Duplicate detection would keep the address unusable for a second; the registry hands each out once.
            add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        // First: the kernel takes with an address all that were added later in the same network (ip-sysctl, promote_secondaries).
        self.remove_other_addresses(interface, ip, prefix).await?;
        add.execute().await.map_err(failed(format!("give {} the address {ip}/{prefix}", interface.name)))?;
        if let Some(gateway) = gateway {
            let route = default_route(interface.index, gateway);
            let what = format!("set the default route through {gateway} on {}", interface.name);
            self.handle.route().add(route).replace().execute().await.map_err(failed(what))?;
        }
        Ok(())
    }

    async fn remove_other_addresses(&self, interface: &Interface, ip: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let listed = self.handle.address().get().set_link_index_filter(interface.index).execute();
        let listed: Vec<_> = listed.try_collect().await.map_err(failed("list the addresses"))?;
        // The last that was added goes first, or it would be gone with an earlier one.
        for message in listed.into_iter().rev() {
            // IPv4 has its own address in Local; IPv6 in Address alone.
            let ours = message.header.prefix_len == prefix
                && message.attributes.iter().any(|attribute| {
                    matches!(attribute, AddressAttribute::Local(one) | AddressAttribute::Address(one) if *one == ip)
                });
            if message.header.family == family && message.header.scope == AddressScope::Universe && !ours {
                let what = format!("remove an old address from {}", interface.name);
                self.handle.address().del(message).execute().await.map_err(failed(what))?;
            }
        }
        Ok(())
    }
}

/// `onlink`: the gateway need not lie in the interface's network (a /32, for one).
fn default_route(index: u32, gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => {
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(gateway).onlink().build()
        }
        IpAddr::V6(gateway) => {
            RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).gateway(gateway).onlink().build()
        }
    }
}
