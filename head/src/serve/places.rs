//! Where the head is reached: addresses of its configured interfaces, and what their links are worth.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use wulfpack_shared::limits::PEER_ADDRS_MAX;
use wulfpack_shared::net::endpoint::Tuning;

use crate::config::{Config, TokenEvidence};
use crate::dhcp::{InterfaceError, links};

/// The head's places in the network.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Address, and what join tokens are given on there.
    pub(super) addresses: Vec<(IpAddr, TokenEvidence)>,
    /// Interfaces on which DHCP answers.
    pub(super) dhcp: Vec<String>,
    /// Interfaces on which DHCPv6 answers.
    pub(super) dhcp6: Vec<String>,
    /// Interfaces on which those who ask for a router are answered.
    pub(super) ndp: Vec<String>,
    /// Whether boot programs are handed out by TFTP.
    pub(super) tftp: bool,
    /// What the data plane has to know of the links.
    pub(super) tuning: Tuning,
}

impl Places {
    /// The places that the configuration names.
    pub(super) fn of(config: &Config) -> Result<Self, InterfaceError> {
        let names: Vec<String> = config.interfaces.keys().cloned().collect();
        let mut places = Self::default();
        for link in links(&names)? {
            let settings = config.interface(&link.name).unwrap_or_default();
            let four = link.addresses.iter().map(|net| IpAddr::from(net.addr()));
            let own: Vec<IpAddr> = four.chain(link.addresses6.iter().map(|net| net.addr().into())).collect();
            places.tftp |= settings.tftp.unwrap_or(settings.dhcp);
            let told = if settings.addresses.is_empty() { own } else { settings.addresses };
            places.addresses.extend(told.into_iter().map(|address| (address, settings.token)));
            if settings.dhcp && !link.addresses.is_empty() {
                places.dhcp.push(link.name.clone());
            }
            if settings.dhcp && !link.addresses6.is_empty() {
                places.dhcp6.push(link.name.clone());
            }
            if settings.dhcp {
                places.ndp.push(link.name.clone());
            }
        }
        places.tuning = tuning(&names);
        Ok(places)
    }

    /// These addresses with a port.
    pub(super) fn with_port(&self, port: u16) -> Vec<SocketAddr> {
        self.addresses.iter().map(|(address, _)| SocketAddr::new(*address, port)).collect()
    }

    /// The addresses as a peer of the swarm has them.
    pub(super) fn data(&self, port: u16) -> Vec<SocketAddr> {
        let mut addrs = self.with_port(port);
        addrs.truncate(PEER_ADDRS_MAX);
        addrs
    }
}

/// The addresses that nodes know this head by; none while it has none.
pub fn head_addresses(config: &Config) -> Vec<IpAddr> {
    let places = Places::of(config).unwrap_or_default();
    places.addresses.into_iter().map(|(address, _)| address).collect()
}

/// One tuning for all links: the smallest MTU, because a larger datagram would be lost on that link; the fastest link.
fn tuning(names: &[String]) -> Tuning {
    let read = |name: &String, what| fs::read_to_string(format!("/sys/class/net/{name}/{what}")).ok();
    let number = |text: String| text.trim().parse::<i64>().ok();
    let mtu = names.iter().filter_map(|name| number(read(name, "mtu")?)).min();
    // Virtual interfaces say -1 or nothing.
    let mbit = names.iter().filter_map(|name| number(read(name, "speed")?)).filter(|speed| *speed > 0).max();
    let default = Tuning::default();
    Tuning {
        mtu: mtu.and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(default.mtu),
        link: mbit.and_then(|mbit| u64::try_from(mbit).ok()).map_or(default.link, |mbit| mbit * 1_000_000),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InterfaceConfig;

    #[test]
    fn an_interface_gives_its_addresses_or_those_that_are_told() {
        let mut config = Config::default();
        assert!(Places::of(&config).unwrap().addresses.is_empty());
        config.interfaces.insert("lo".into(), Some(InterfaceConfig { dhcp: false, ..InterfaceConfig::default() }));
        let places = Places::of(&config).unwrap();
        assert_eq!(places.with_port(5)[0], "127.0.0.1:5".parse().unwrap());
        assert!(places.dhcp.is_empty());
        let told = InterfaceConfig { addresses: vec!["127.0.0.9".parse().unwrap()], ..InterfaceConfig::default() };
        config.interfaces.insert("lo".into(), Some(told));
        let places = Places::of(&config).unwrap();
        assert_eq!((places.data(7), places.dhcp), (vec!["127.0.0.9:7".parse().unwrap()], vec!["lo".to_owned()]));
    }
}
