//! What of `warewulf.conf` is a setting here, and how it gets into `wulfpack.yaml`. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::{Value, json};

use crate::boot::{Arch, Platform};
use crate::config::{AddressRange, Config, NfsExport, SubnetConfig, yaml};

/// Settings of a Warewulf head that have their counterpart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Domain of the head's name.
    pub domain: Option<String>,
    /// Addresses of the head.
    pub addresses: Vec<IpAddr>,
    /// The network that it serves.
    pub network: Option<Ipv4Net>,
    /// Whether it gives addresses.
    pub dhcp: bool,
    /// Addresses for machines that it does not know.
    pub range: Option<AddressRange>,
    /// Boot programs by architecture, where they are not those that are found by their names.
    pub programs: BTreeMap<String, String>,
    /// Shim and GRUB instead of iPXE.
    pub grub: bool,
    /// What it exports by NFS.
    pub exports: BTreeMap<PathBuf, NfsExport>,
}

impl Settings {
    /// Reads them. What is said and makes no sense here is told, with its key.
    pub(super) fn read(value: &Value) -> (Self, Vec<(&'static str, String)>) {
        let get =
            |keys: &[&str]| keys.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null());
        let text =
            |keys: &[&str]| get(keys).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let flag = |keys: &[&str], otherwise| get(keys).map_or(otherwise, |value| value.as_bool().unwrap_or(otherwise));
        let mut odd = vec![];
        let own = text(&["ipaddr"]).unwrap_or_default();
        let (ip, prefix) = own.split_once('/').unwrap_or((&own, ""));
        let four: Option<Ipv4Addr> = ip.parse().ok();
        if four.is_none() && !own.is_empty() {
            odd.push(("ipaddr", format!("{own:?} is no address")));
        }
        let mask = text(&["netmask"]).and_then(|mask| mask.parse::<Ipv4Addr>().ok());
        let prefix = prefix.parse().ok().or_else(|| mask.and_then(|mask| ipnet::ipv4_mask_to_prefix(mask).ok()));
        let network = four.zip(prefix).and_then(|(ip, prefix)| Ipv4Net::new(ip, prefix).ok());
        let six = text(&["ipaddr6"]).and_then(|text| text.split('/').next().and_then(|ip| ip.parse::<IpAddr>().ok()));
        let ends = text(&["dhcp", "range start"]).zip(text(&["dhcp", "range end"]));
        let range = ends.and_then(|(first, last)| match format!("{first}-{last}").parse::<AddressRange>() {
            Ok(range) => Some(range),
            Err(why) => {
                odd.push(("dhcp: range start", why));
                None
            }
        });
        let settings = Self {
            domain: text(&["fqdn"]).and_then(|fqdn| Some(fqdn.split_once('.')?.1.to_owned())),
            addresses: four.map(IpAddr::from).into_iter().chain(six).collect(),
            network: network.map(|net| net.trunc()),
            dhcp: flag(&["dhcp", "enabled"], true),
            range: range
                .filter(|range| network.is_some_and(|net| net.contains(&range.first) && net.contains(&range.last))),
            programs: programs(get(&["tftp", "ipxe"])),
            grub: flag(&["warewulf", "grubboot"], false),
            exports: if flag(&["nfs", "enabled"], true) {
                exports(get(&["nfs", "export paths"]))
            } else {
                BTreeMap::new()
            },
        };
        (settings, odd)
    }

    /// A configuration with these settings where it says nothing of its own; and what it says otherwise, which stays.
    /// `interface_of` tells which interface of this host has an address.
    pub(super) fn apply(
        &self,
        config: &Config,
        interface_of: &dyn Fn(IpAddr) -> Option<String>,
    ) -> (Config, Vec<String>) {
        let mut new = config.clone();
        let mut kept = vec![];
        if let Some(domain) = &self.domain {
            match config.domain.is_empty() || config.domain == *domain {
                true => new.domain.clone_from(domain),
                false => kept.push(format!("domain: {} stays; there it was {domain}", config.domain)),
            }
        }
        for ip in &self.addresses {
            match interface_of(*ip) {
                Some(name) => drop(new.interfaces.entry(name).or_insert(None)),
                None if config.interfaces.is_empty() => {
                    kept.push(format!(
                        "no interface of this host has {ip}: name the one that shall serve below `interfaces:`"
                    ));
                }
                None => {}
            }
        }
        if !self.dhcp {
            for settings in new.interfaces.values_mut().filter(|settings| settings.is_none()) {
                let mut own = crate::config::InterfaceConfig::default();
                (own.dhcp, own.tftp) = (false, Some(true));
                *settings = Some(own);
            }
            kept.push("dhcp: enabled: false: another server gives addresses; `wulf configure dhcp --external` writes what it has to know, or `dhcp: mode: proxy`".into());
        }
        if let (Some(net), Some(range), true) = (self.network, self.range, self.dhcp) {
            let known = config.dhcp.subnets.get(&net).and_then(|own| own.as_ref()?.range);
            match config.dhcp.subnets.is_empty() {
                true => {
                    let subnet = SubnetConfig { range: Some(range), ..SubnetConfig::default() };
                    new.dhcp.subnets.insert(net, Some(subnet));
                }
                false if known == Some(range) => {}
                false => kept.push(format!("dhcp: subnets stay; the range there was {range} in {net}")),
            }
        }
        if !self.programs.is_empty() {
            match config.boot.programs.is_empty() {
                true => new.boot.programs.clone_from(&self.programs),
                false if config.boot.programs == self.programs => {}
                false => kept.push("boot: programs stay".into()),
            }
        }
        new.boot.grub |= self.grub;
        if !self.exports.is_empty() {
            match config.nfs.exports.is_empty() {
                true => new.nfs.exports.clone_from(&self.exports),
                false if config.nfs.exports == self.exports => {}
                false => kept.push("nfs: exports stay".into()),
            }
        }
        (new, kept)
    }
}

/// The map of architectures, without what a head finds by itself.
fn programs(value: Option<&Value>) -> BTreeMap<String, String> {
    let own = |(arch, name): (&String, &Value)| {
        let platform = arch.parse::<Arch>().ok().and_then(Arch::platform);
        let name = name.as_str()?;
        let known = platform.is_some_and(|platform: Platform| platform.programs().contains(&name));
        (!known).then(|| (arch.clone(), name.to_owned()))
    };
    value.and_then(Value::as_object).into_iter().flatten().filter_map(own).collect()
}

fn exports(value: Option<&Value>) -> BTreeMap<PathBuf, NfsExport> {
    let one = |export: &Value| {
        let path = export.get("path")?.as_str()?;
        let options = export.get("export options").and_then(Value::as_str);
        let options = options.map_or_else(|| NfsExport::default().options, str::to_owned);
        Some((PathBuf::from(path), NfsExport { options, clients: vec![] }))
    };
    value.and_then(Value::as_array).into_iter().flatten().filter_map(one).collect()
}

/// The text of a configuration file that says what `new` says: `text` with the values that differ written into it. Comments stay.
/// `None` where that cannot be done without touching what somebody wrote.
pub(super) fn rewrite(text: &str, old: &Config, new: &Config) -> Option<String> {
    let exports: BTreeMap<_, _> =
        new.nfs.exports.iter().map(|(path, export)| (path, json!({"options": export.options}))).collect();
    let interface = |settings: &Option<crate::config::InterfaceConfig>| match settings {
        Some(own) if !own.dhcp => json!({"dhcp": false, "tftp": true}),
        _ => Value::Null,
    };
    let interfaces: BTreeMap<_, _> = new.interfaces.iter().map(|(name, own)| (name, interface(own))).collect();
    let subnets: BTreeMap<_, _> = new
        .dhcp
        .subnets
        .iter()
        .map(|(net, own)| {
            (net.to_string(), json!({"range": own.as_ref().and_then(|own| own.range).map(|range| range.to_string())}))
        })
        .collect();
    let mut text = text.to_owned();
    for (differs, path, value) in [
        (old.domain != new.domain, &["domain"][..], json!(new.domain)),
        (old.interfaces != new.interfaces, &["interfaces"], json!(interfaces)),
        (old.dhcp.subnets != new.dhcp.subnets, &["dhcp", "subnets"], json!(subnets)),
        (old.boot.programs != new.boot.programs, &["boot", "programs"], json!(new.boot.programs)),
        (old.boot.grub != new.boot.grub, &["boot", "grub"], json!(new.boot.grub)),
        (old.nfs.exports != new.nfs.exports, &["nfs", "exports"], json!(exports)),
    ] {
        if differs {
            text = set(&text, path, &value)?;
        }
    }
    // What was written must read back as what was meant.
    (yaml::parse::<Config>(&text).ok()? == *new).then_some(text)
}

/// Replaces the one line `KEY: VALUE` at this path, whose value is empty or the default, or appends the key where there is none.
fn set(text: &str, path: &[&str], value: &Value) -> Option<String> {
    let (last, above) = path.split_last()?;
    let indent = "  ".repeat(above.len());
    let lines: Vec<&str> = text.lines().collect();
    let key_of =
        |line: &str| (!line.starts_with([' ', '#'])).then(|| line.split(':').next().unwrap_or_default().to_owned());
    let mut written = format!("{indent}{last}:{}", inline(value, above.len() + 1));
    written.push('\n');
    let top = path.first()?;
    let begin = lines.iter().position(|line| key_of(line).as_deref() == Some(*top));
    let Some(begin) = begin else {
        let head = if above.is_empty() { String::new() } else { format!("{top}:\n") };
        let gap = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        return Some(format!("{text}{gap}\n{head}{written}"));
    };
    let end = lines.iter().skip(begin + 1).position(|line| key_of(line).is_some_and(|key| !key.is_empty()));
    let end = end.map_or(lines.len(), |after| begin + 1 + after);
    let prefix = format!("{indent}{last}:");
    let at = if above.is_empty() {
        Some(begin)
    } else {
        (begin..end).find(|index| lines.get(*index).is_some_and(|line| line.starts_with(&prefix)))
    };
    let Some(at) = at else {
        let before: String = lines.get(..=begin)?.iter().flat_map(|line| [*line, "\n"]).collect();
        let after: String = lines.get(begin + 1..)?.iter().flat_map(|line| [*line, "\n"]).collect();
        return Some(format!("{before}{written}{after}"));
    };
    let now = lines.get(at)?.strip_prefix(&prefix)?.split('#').next()?.trim();
    if !matches!(now, "{}" | "\"\"" | "" | "false" | "[]") {
        return None;
    }
    let before: String = lines.get(..at)?.iter().flat_map(|line| [*line, "\n"]).collect();
    let after: String = lines.get(at + 1..)?.iter().flat_map(|line| [*line, "\n"]).collect();
    Some(format!("{before}{written}{after}"))
}

/// A value behind its key: maps in lines of their own, the rest as JSON, which is YAML.
fn inline(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(map) if map.is_empty() => " {}".into(),
        Value::Object(map) => {
            let line = |(key, value): (&String, &Value)| {
                // What YAML could take for something else than a text stands in quotation marks.
                let plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
                let is_plain = key.chars().all(plain) && key.contains(|c: char| c.is_ascii_alphabetic() || c == '/');
                let key = if is_plain { key.clone() } else { serde_json::to_string(key).unwrap_or_default() };
                format!("\n{}{key}:{}", "  ".repeat(depth), inline(value, depth + 1))
            };
            map.iter().map(line).collect()
        }
        other => format!(" {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_YAML;

    const CONF: &str = "\
ipaddr: 10.0.0.1
netmask: 255.255.252.0
fqdn: head.cluster.example
warewulf: {grubboot: true}
dhcp: {enabled: true, range start: 10.0.1.1, range end: 10.0.1.255}
tftp:
  ipxe: {'00:07': ipxe-snponly-x86_64.efi, '00:0B': mine-arm64.efi}
nfs:
  export paths:
  - {path: /opt, export options: 'ro,sync,no_root_squash'}
  - {path: /srv/data}
";

    fn settings(text: &str) -> Settings {
        Settings::read(&yaml::parse::<Value>(text).unwrap()).0
    }

    fn on_eth1(ip: IpAddr) -> Option<String> {
        (ip == IpAddr::from([10, 0, 0, 1])).then(|| "eth1".into())
    }

    #[test]
    fn settings_of_warewulf_become_ours_and_comments_stay() {
        let (old, settings) = (Config::default(), settings(CONF));
        let (new, kept) = settings.apply(&old, &on_eth1);
        assert!(kept.is_empty(), "{kept:?}");
        let text = rewrite(DEFAULT_YAML, &old, &new).unwrap();
        let read = Config::parse(&text).unwrap();
        assert_eq!(read, new);
        assert_eq!((read.domain.as_str(), read.interfaces.len(), read.boot.grub), ("cluster.example", 1, true));
        let net: Ipv4Net = "10.0.0.0/22".parse().unwrap();
        assert_eq!(read.dhcp.subnets[&net].as_ref().unwrap().range.unwrap().to_string(), "10.0.1.1-10.0.1.255");
        assert_eq!(
            read.boot.programs,
            [("00:0B".to_owned(), "mine-arm64.efi".to_owned())].into(),
            "the other is found anyway"
        );
        assert_eq!(read.nfs.exports[&PathBuf::from("/opt")].options, "ro,sync,no_root_squash");
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert_eq!(comments(&text), comments(DEFAULT_YAML));
        // Once more: nothing to do.
        let (again, _) = settings.apply(&read, &on_eth1);
        assert_eq!(rewrite(&text, &read, &again).unwrap(), text);
    }

    #[test]
    fn what_somebody_wrote_stays_and_a_short_file_grows() {
        let text = "interfaces: {eth9: }\ndomain: mine.example # ours\n";
        let old = Config::parse(text).unwrap();
        let (new, kept) = settings(CONF).apply(&old, &on_eth1);
        assert!(kept.iter().any(|what| what.contains("mine.example stays")), "{kept:?}");
        assert_eq!(rewrite(text, &old, &new), None, "the map of interfaces is somebody's");
        let short = "cluster: c\n";
        let old = Config::parse(short).unwrap();
        let (new, _) = settings(CONF).apply(&old, &on_eth1);
        let grown = rewrite(short, &old, &new).unwrap();
        assert_eq!(Config::parse(&grown).unwrap(), new);
        assert!(grown.starts_with(short), "{grown}");
    }

    #[test]
    fn a_head_that_gives_no_addresses_gives_none_here() {
        let text = "ipaddr: 10.0.0.1/22\ndhcp: {enabled: false}\n";
        let (new, kept) = settings(text).apply(&Config::default(), &on_eth1);
        let eth1 = new.interface("eth1").unwrap();
        assert!(!eth1.dhcp && eth1.tftp == Some(true) && kept[0].contains("configure dhcp"), "{kept:?}");
        let text = rewrite(DEFAULT_YAML, &Config::default(), &new).unwrap();
        assert_eq!(Config::parse(&text).unwrap(), new);
        let (_, kept) = settings("ipaddr: 10.9.9.9\n").apply(&Config::default(), &on_eth1);
        assert!(kept[0].contains("no interface of this host has 10.9.9.9"), "{kept:?}");
    }
}
