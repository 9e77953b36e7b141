//! The head's own network interfaces, as the kernel has them now (getifaddrs(3)).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use nix::ifaddrs::getifaddrs;
use wulfpack_shared::id::Mac;

/// An interface that boot services use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index (if_nametoindex(3)).
    pub index: u32,
    /// Its hardware address; all zero where it has none.
    pub mac: Mac,
    /// Its IPv4 addresses with their networks, the primary one first.
    pub addresses: Vec<Ipv4Net>,
    /// Its IPv6 addresses with their networks, without those of the link alone.
    pub addresses6: Vec<Ipv6Net>,
}

impl Link {
    fn has_address(&self) -> bool {
        !(self.addresses.is_empty() && self.addresses6.is_empty())
    }
}

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The kernel does not say what interfaces there are.
    #[error("cannot list network interfaces: {0}")]
    List(#[source] io::Error),
    /// No interface of this name.
    #[error("there is no network interface {name:?}; those with an address are: {known}")]
    Missing {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An interface without an address.
    #[error(
        "network interface {name:?} has no IPv4 address and none of IPv6 but that of the link: give it one, then start again"
    )]
    NoAddress {
        /// Its name.
        name: String,
    },
}

/// The named interfaces, in that order.
pub fn links(names: &[String]) -> Result<Vec<Link>, InterfaceError> {
    let all = all().map_err(InterfaceError::List)?;
    names
        .iter()
        .map(|name| {
            let link = all.iter().find(|link| link.name == *name).ok_or_else(|| {
                let known: Vec<_> =
                    all.iter().filter(|link| link.has_address()).map(|link| link.name.as_str()).collect();
                InterfaceError::Missing { name: name.clone(), known: known.join(", ") }
            })?;
            if !link.has_address() {
                return Err(InterfaceError::NoAddress { name: name.clone() });
            }
            Ok(link.clone())
        })
        .collect()
}

fn all() -> io::Result<Vec<Link>> {
    let mut links: Vec<Link> = vec![];
    for entry in getifaddrs()? {
        let name = entry.interface_name;
        // Aliases of one interface (eth0:1) are addresses of it.
        let name = name.split(':').next().unwrap_or_default().to_owned();
        let position = links.iter().position(|link| link.name == name);
        let position = match position {
            Some(position) => position,
            None => {
                let Ok(index) = nix::net::if_::if_nametoindex(name.as_str()) else { continue };
                links.push(Link { name, index, mac: Mac([0; 6]), addresses: vec![], addresses6: vec![] });
                links.len() - 1
            }
        };
        let Some(link) = links.get_mut(position) else { continue };
        let Some(address) = entry.address else { continue };
        if let Some(mac) = address.as_link_addr().and_then(|link| link.addr()) {
            link.mac = Mac(mac);
        }
        if let Some(ip) = address.as_sockaddr_in() {
            let mask = entry.netmask.and_then(|mask| mask.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip));
            let mask = mask.unwrap_or(Ipv4Addr::BROADCAST);
            if let Ok(net) = Ipv4Net::with_netmask(ip.ip(), mask) {
                link.addresses.push(net);
            }
        }
        if let Some(ip) = address.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::ip)
            && !ip.is_unicast_link_local()
        {
            let mask = entry.netmask.and_then(|mask| mask.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::ip));
            if let Ok(net) = Ipv6Net::with_netmask(ip, mask.unwrap_or(Ipv6Addr::from([0xff; 16]))) {
                link.addresses6.push(net);
            }
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_with_its_network_and_other_names_are_refused() {
        let found = links(&["lo".into()]).unwrap();
        assert!(found[0].addresses.contains(&"127.0.0.1/8".parse().unwrap()), "{found:?}");
        let error = links(&["wulf-none0".into()]).unwrap_err().to_string();
        assert!(error.contains("wulf-none0") && error.contains("lo"), "{error}");
    }
}
