//! What the configuration says, arranged for questions: networks, devices that are not nodes, options for kinds of clients.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use wulfpack_shared::id::{Mac, NodeName};

use super::options::OptionSet;
use super::packet::{Request, code};
use crate::config::{AddressRange, ClassConfig, DhcpConfig, DhcpMode, ReservationConfig, SubnetConfig, hex};

/// The policy of a DHCP server.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub(super) mode: DhcpMode,
    pub(super) always_broadcast: bool,
    pub(super) probe: bool,
    pub(super) port_limit: u16,
    options: OptionSet,
    pub(super) subnets: Vec<Subnet>,
    classes: Vec<ClassConfig>,
    devices: Vec<Device>,
    by_mac: BTreeMap<Mac, usize>,
    by_client_id: BTreeMap<Vec<u8>, usize>,
    by_ip: BTreeMap<Ipv4Addr, usize>,
}

/// A network.
#[derive(Clone, Debug)]
pub(super) struct Subnet {
    pub(super) net: Ipv4Net,
    pub(super) range: Option<AddressRange>,
    pub(super) lease: Duration,
    pub(super) discover: bool,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) dns: Vec<Ipv4Addr>,
    pub(super) domain: Option<String>,
    relays: Vec<Ipv4Addr>,
    options: OptionSet,
}

/// A device that is not a node.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) name: NodeName,
    pub(super) settings: ReservationConfig,
}

impl Policy {
    /// The policy of this configuration.
    pub fn new(config: &DhcpConfig) -> Self {
        let devices: Vec<Device> = config
            .reservations
            .iter()
            .map(|(name, settings)| Device { name: name.clone(), settings: settings.clone() })
            .collect();
        let index = |(index, device): (usize, &Device)| Some((device.settings.hwaddr?, index));
        let by_id = |(index, device): (usize, &Device)| Some((hex(device.settings.client_id.as_deref()?)?, index));
        Self {
            mode: config.mode,
            always_broadcast: config.always_broadcast,
            probe: config.probe_addresses,
            port_limit: config.leases_per_port,
            options: config.options.clone(),
            subnets: config.subnets().map(|(net, settings)| subnet(net, settings)).collect(),
            classes: config.classes.values().cloned().collect(),
            by_mac: devices.iter().enumerate().filter_map(index).collect(),
            by_client_id: devices.iter().enumerate().filter_map(by_id).collect(),
            by_ip: devices.iter().enumerate().map(|(index, device)| (device.settings.ipaddr, index)).collect(),
            devices,
        }
    }

    /// The network that this address lies in.
    pub(super) fn subnet_of(&self, address: Ipv4Addr) -> Option<(usize, &Subnet)> {
        self.subnets.iter().enumerate().find(|(_, subnet)| subnet.net.contains(&address))
    }

    /// The network that a relay at this address forwards from.
    pub(super) fn subnet_behind(&self, relay: Ipv4Addr) -> Option<(usize, &Subnet)> {
        let listed = self.subnets.iter().enumerate().find(|(_, subnet)| subnet.relays.contains(&relay));
        listed.or_else(|| self.subnet_of(relay))
    }

    /// The device that this is, by client id or MAC address.
    pub(super) fn device(&self, request: &Request) -> Option<&Device> {
        let by_id = request.option(code::CLIENT_ID).and_then(|id| self.by_client_id.get(id));
        self.devices.get(*by_id.or_else(|| self.by_mac.get(&request.mac))?)
    }

    /// Whether a device has this address.
    pub(super) fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.by_ip.contains_key(&address)
    }

    /// The options that an administrator wants this client to have; a narrower wish wins over a wider one.
    pub(super) fn options(
        &self,
        request: &Request,
        subnet: Option<usize>,
        host: Option<&OptionSet>,
    ) -> BTreeMap<u8, Vec<u8>> {
        let classes = self.classes.iter().filter(|class| fits(class, request)).map(|class| &class.options);
        let subnet = subnet.and_then(|index| self.subnets.get(index)).map(|subnet| &subnet.options);
        let all = [Some(&self.options), subnet].into_iter().flatten().chain(classes).chain(host);
        all.filter(|set| !set.is_empty())
            .flat_map(OptionSet::encoded)
            .map(|(code, bytes)| (*code, bytes.clone()))
            .collect()
    }
}

fn subnet(net: Ipv4Net, settings: SubnetConfig) -> Subnet {
    Subnet {
        net,
        range: settings.range,
        lease: Duration::from_secs(settings.range_lease_seconds.into()),
        discover: settings.discover,
        gateway: settings.gateway,
        dns: settings.dns,
        domain: (!settings.domain.is_empty()).then_some(settings.domain),
        relays: settings.relays,
        options: settings.options,
    }
}

fn fits(class: &ClassConfig, request: &Request) -> bool {
    let ClassConfig { vendor, user_class, arch, mac, options: _ } = class;
    let option = |code| request.option(code).unwrap_or_default();
    let vendor_fits = vendor.as_ref().is_none_or(|vendor| option(code::CLASS).starts_with(vendor.as_bytes()));
    let user_fits = user_class.as_ref().is_none_or(|class| request.has_user_class(class.as_bytes()));
    let arch_fits = arch.is_empty()
        || option(code::ARCHITECTURE).first_chunk().is_some_and(|code| arch.contains(&u16::from_be_bytes(*code)));
    let mac_fits = mac.as_ref().is_none_or(|start| request.mac.to_string().starts_with(&start.to_ascii_lowercase()));
    vendor_fits && user_fits && arch_fits && mac_fits
}
