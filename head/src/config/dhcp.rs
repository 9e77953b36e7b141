//! Settings of the DHCP server.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wulfpack_shared::id::{Mac, NodeName};

use crate::dhcp::OptionSet;

/// Most addresses of one range.
const RANGE_MAX: u32 = 65_536;
/// Shortest lease of an unknown machine: it has to hold its address while it loads its boot script. Seconds.
const SHORT_LEASE_MIN: u32 = 30;

/// The DHCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DhcpConfig {
    /// Who gives the addresses: this head, another server, or whoever is there.
    pub mode: DhcpMode,
    /// How long a lease lasts, in seconds.
    pub lease_seconds: u32,
    /// Answer although another DHCP server was seen on the same segment.
    pub ignore_other_servers: bool,
    /// Tell machines of the registry that ask for an IPv6 router that there is none, so that iPXE does not wait for one.
    pub answer_router_solicitations: bool,
    /// Broadcast every answer, for networks that lose unicasts to machines without an address.
    pub always_broadcast: bool,
    /// Look by ARP whether an address of a range is in use before it is lent.
    pub probe_addresses: bool,
    /// Most addresses of a range that the machines behind one port have, where a relay tells the port (option 82).
    pub leases_per_port: u16,
    /// Options for everybody, by name or number.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: OptionSet,
    /// Networks: ranges for unknown machines, options, and those behind relays.
    #[schemars(with = "BTreeMap<String, Option<SubnetConfig>>")]
    pub subnets: BTreeMap<Ipv4Net, Option<SubnetConfig>>,
    /// Kinds of clients with options of their own; where several fit, the last by name wins.
    pub classes: BTreeMap<String, ClassConfig>,
    /// Addresses of devices that are not nodes, by host name.
    #[schemars(with = "BTreeMap<String, ReservationConfig>")]
    pub reservations: BTreeMap<NodeName, ReservationConfig>,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        Self {
            mode: DhcpMode::default(),
            // Longer than any boot: a node must not lose its address while it fetches a large image.
            lease_seconds: 3600,
            ignore_other_servers: false,
            answer_router_solicitations: true,
            always_broadcast: false,
            probe_addresses: true,
            leases_per_port: 16,
            options: OptionSet::default(),
            subnets: BTreeMap::new(),
            classes: BTreeMap::new(),
            reservations: BTreeMap::new(),
        }
    }
}

/// Who gives the addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DhcpMode {
    /// This head. Where another server answers, it stands back until that is overridden.
    #[default]
    Full,
    /// Another server: this head only adds what to boot.
    Proxy,
    /// Another server where there is one, else this head.
    Auto,
}

impl fmt::Display for DhcpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Proxy => "proxy",
            Self::Auto => "auto",
        })
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubnetConfig {
    /// Addresses for machines that are not in the registry; none: such machines get no answer.
    #[schemars(with = "Option<String>")]
    pub range: Option<AddressRange>,
    /// How long such a machine keeps its address, in seconds.
    pub range_lease_seconds: u32,
    /// Whether such machines boot into discovery: they report what they are, and wait to be adopted.
    pub discover: bool,
    /// Default gateway of whoever has none of its own.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers; empty: the head's.
    pub dns: Vec<Ipv4Addr>,
    /// Domain; empty: the head's.
    pub domain: String,
    /// Further addresses of relays that forward from this network.
    pub relays: Vec<Ipv4Addr>,
    /// Options for this network, by name or number.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: OptionSet,
}

impl Default for SubnetConfig {
    fn default() -> Self {
        Self {
            range: None,
            range_lease_seconds: 120,
            discover: false,
            gateway: None,
            dns: vec![],
            domain: String::new(),
            relays: vec![],
            options: OptionSet::default(),
        }
    }
}

/// A kind of client. All that is said has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassConfig {
    /// Beginning of the vendor class (option 60), such as `PXEClient`.
    pub vendor: Option<String>,
    /// The user class (option 77).
    pub user_class: Option<String>,
    /// Architectures (option 93).
    pub arch: Vec<u16>,
    /// Beginning of the MAC address, such as `52:54:00`.
    pub mac: Option<String>,
    /// The options.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: OptionSet,
}

/// The address of a device that is not a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationConfig {
    /// Its MAC address.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub hwaddr: Option<Mac>,
    /// Its client id (option 61) in hexadecimal digits, where it is known by that.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Its address.
    pub ipaddr: Ipv4Addr,
    /// Its default gateway; without: that of its network.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Options for it, by name or number.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: OptionSet,
}

/// Addresses from the first to the last: `10.0.0.200-10.0.0.250`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not a range: write FIRST-LAST, such as 10.0.0.200-10.0.0.250");
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        let [first, last] = [first, last].map(|end| end.trim().parse::<Ipv4Addr>());
        let (first, last) = (first.map_err(|_| form())?, last.map_err(|_| form())?);
        let len =
            last.to_bits().checked_sub(first.to_bits()).ok_or_else(|| format!("{text:?} ends before it begins"))?;
        if len >= RANGE_MAX {
            return Err(format!("{text:?} has more than {RANGE_MAX} addresses"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl DhcpConfig {
    /// The settings of all networks.
    pub fn subnets(&self) -> impl Iterator<Item = (Ipv4Net, SubnetConfig)> {
        self.subnets.iter().map(|(net, settings)| (net.trunc(), settings.clone().unwrap_or_default()))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.lease_seconds < 120 {
            return Err("dhcp: lease_seconds: a lease shorter than 120 s ends during a boot".into());
        }
        let mut seen: Vec<Ipv4Net> = vec![];
        for (net, settings) in self.subnets() {
            let place = format!("dhcp: subnets: {net}");
            if let Some(other) = seen.iter().find(|other| other.contains(&net) || net.contains(*other)) {
                return Err(format!("{place}: it overlaps {other}"));
            }
            seen.push(net);
            if let Some(range) = settings.range
                && !(net.contains(&range.first) && net.contains(&range.last))
            {
                return Err(format!("{place}: range: {range} lies outside of it"));
            }
            if settings.range_lease_seconds < SHORT_LEASE_MIN {
                return Err(format!("{place}: range_lease_seconds: at least {SHORT_LEASE_MIN} s"));
            }
            if let Some(gateway) = settings.gateway.filter(|gateway| !net.contains(gateway)) {
                return Err(format!("{place}: gateway: {gateway} lies outside of it"));
            }
        }
        for (name, class) in &self.classes {
            if *class == (ClassConfig { options: class.options.clone(), ..ClassConfig::default() }) {
                return Err(format!(
                    "dhcp: classes: {name}: it fits everybody; such options stand below `dhcp: options`"
                ));
            }
        }
        self.check_reservations()
    }

    fn check_reservations(&self) -> Result<(), String> {
        let (mut addresses, mut macs) = (BTreeMap::new(), BTreeMap::new());
        for (name, device) in &self.reservations {
            let place = format!("dhcp: reservations: {name}");
            if device.hwaddr.is_none() && device.client_id.is_none() {
                return Err(format!("{place}: nothing tells who it is: give it a hwaddr or a client_id"));
            }
            if let Some(id) = &device.client_id
                && hex(id).is_none()
            {
                return Err(format!("{place}: client_id: {id:?} is not an even number of hexadecimal digits"));
            }
            if let Some(other) = addresses.insert(device.ipaddr, name) {
                return Err(format!("{place}: {} already belongs to {other}", device.ipaddr));
            }
            if let Some(other) = device.hwaddr.and_then(|mac| macs.insert(mac, name)) {
                return Err(format!("{place}: its hwaddr already belongs to {other}"));
            }
        }
        Ok(())
    }
}

/// Bytes of hexadecimal digits, with or without `:` between them.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok().filter(|bytes| !bytes.is_empty())
}
