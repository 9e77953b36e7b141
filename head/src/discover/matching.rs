//! What fits a machine: patterns of rules, and what a person types behind `--match`. Pure.

use std::str::FromStr;

use wulfpack_shared::id::Mac;
use wulfpack_shared::wire::Neighbour;

use crate::config::AdoptWhen;
use crate::nodeset::is_like;
use crate::store::PendingMachine;

const GIB: u64 = 1 << 30;

/// The switch that a machine is plugged into: by the interface that it booted from, else by any other.
pub(super) fn switch(machine: &PendingMachine) -> Option<&Neighbour> {
    let nics = &machine.inventory.nics;
    let own = nics.iter().find(|nic| nic.mac == machine.mac).and_then(|nic| nic.neighbour.as_ref());
    own.or_else(|| nics.iter().find_map(|nic| nic.neighbour.as_ref()))
}

/// What a machine goes by in lists, in lower case: serial number, UUID, MAC addresses.
pub(super) fn names_of(machine: &PendingMachine) -> Vec<String> {
    let system = &machine.inventory.system;
    let macs = machine.inventory.nics.iter().map(|nic| nic.mac);
    let names = [system.serial.to_lowercase(), system.uuid.to_lowercase(), machine.mac.to_string()];
    names.into_iter().chain(macs.map(|mac| mac.to_string())).filter(|name| !name.is_empty()).collect()
}

/// The last number in the name of a port, without zeros in front.
pub(super) fn port_number(port: &str) -> Option<String> {
    let end = port.rfind(|c: char| c.is_ascii_digit())? + 1;
    let digits = port.get(..end)?;
    let start = digits.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    let number = digits.get(start..)?.trim_start_matches('0');
    Some(if number.is_empty() { "0".into() } else { number.to_owned() })
}

/// Whether a machine is what a rule is for.
pub(super) fn fits(when: &AdoptWhen, machine: &PendingMachine) -> bool {
    let inventory = &machine.inventory;
    let system = &inventory.system;
    let switch = switch(machine);
    let text = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| like(pattern, text));
    let any = |pattern: &Option<String>, texts: &[&str]| {
        pattern.as_ref().is_none_or(|pattern| texts.iter().any(|text| like(pattern, text)))
    };
    let least = |least: Option<u16>, count: usize| least.is_none_or(|least| count >= usize::from(least));
    let macs: Vec<String> = macs(machine);
    let macs: Vec<&str> = macs.iter().map(String::as_str).collect();
    let named: Vec<&str> = switch.map_or(vec![], |switch| vec![&switch.system, &switch.chassis]);
    let ports: Vec<&str> = switch.map_or(vec![], |switch| vec![&switch.port, &switch.description]);
    any(&when.switch, &named)
        && any(&when.port, &ports)
        && text(&when.serial, &system.serial)
        && text(&when.asset, &system.asset)
        && text(&when.vendor, &system.vendor)
        && text(&when.product, &system.product)
        && any(&when.mac, &macs)
        && text(&when.arch, &inventory.arch)
        && when.subnet.is_none_or(|net| net.contains(&machine.from))
        // The kernel keeps a little for itself.
        && when.memory_gib.is_none_or(|least| inventory.memory + GIB / 2 + inventory.memory / 32 >= u64::from(least) * GIB)
        && least(when.gpus, inventory.gpus.len())
        && least(when.disks, inventory.disks.len())
}

fn macs(machine: &PendingMachine) -> Vec<String> {
    let nics = machine.inventory.nics.iter().map(|nic| nic.mac);
    std::iter::once(machine.mac).chain(nics).map(|mac| mac.to_string()).collect()
}

/// Whether a text is what a pattern with `*` and `?` stands for, without regard to case.
fn like(pattern: &str, text: &str) -> bool {
    is_like(&pattern.to_lowercase(), &text.to_lowercase())
}

/// Why a text says of no machine whether it is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not FIELD=PATTERN with one of the fields mac, serial, uuid, asset, vendor, product, switch, port, arch, bmc"
)]
pub struct MatchError(String);

/// One field and a pattern for it, as a person types it: `serial=ABC*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    field: Field,
    pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Mac,
    Serial,
    Uuid,
    Asset,
    Vendor,
    Product,
    Switch,
    Port,
    Arch,
    Bmc,
}

impl FromStr for Match {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        let wrong = || MatchError(text.chars().take(80).collect());
        let (field, pattern) = text.split_once('=').ok_or_else(wrong)?;
        let field = match field.trim() {
            "mac" => Field::Mac,
            "serial" => Field::Serial,
            "uuid" => Field::Uuid,
            "asset" => Field::Asset,
            "vendor" => Field::Vendor,
            "product" => Field::Product,
            "switch" => Field::Switch,
            "port" => Field::Port,
            "arch" => Field::Arch,
            "bmc" => Field::Bmc,
            _ => return Err(wrong()),
        };
        let pattern = pattern.trim();
        let pattern = pattern.parse::<Mac>().map_or_else(|_| pattern.to_owned(), |mac| mac.to_string());
        Ok(Self { field, pattern })
    }
}

impl Match {
    /// Whether a machine is meant.
    pub fn fits(&self, machine: &PendingMachine) -> bool {
        let (system, switch) = (&machine.inventory.system, switch(machine));
        let like = |text: &str| like(&self.pattern, text);
        match self.field {
            Field::Mac => macs(machine).iter().any(|mac| like(mac)),
            Field::Serial => like(&system.serial),
            Field::Uuid => like(&system.uuid),
            Field::Asset => like(&system.asset),
            Field::Vendor => like(&system.vendor),
            Field::Product => like(&system.product),
            Field::Switch => switch.is_some_and(|switch| like(&switch.system) || like(&switch.chassis)),
            Field::Port => switch.is_some_and(|switch| like(&switch.port) || like(&switch.description)),
            Field::Arch => like(&machine.inventory.arch),
            Field::Bmc => {
                let address = machine.inventory.bmc.as_ref().and_then(|bmc| bmc.address);
                address.is_some_and(|address| like(&address.to_string()))
            }
        }
    }
}

/// What two texts are sorted by: numbers in them count as numbers.
pub fn natural(text: &str) -> Vec<(String, u64)> {
    let (mut parts, mut rest) = (vec![], text);
    while !rest.is_empty() {
        let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, more) = rest.split_at(words);
        let digits = more.find(|c: char| !c.is_ascii_digit()).unwrap_or(more.len());
        let (number, more) = more.split_at(digits);
        let number = if number.is_empty() { 0 } else { number.parse().unwrap_or(u64::MAX) };
        parts.push((word.to_owned(), number));
        rest = more;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_without_regard_to_case() {
        for (pattern, text, expected) in [
            ("dell*", "Dell Inc.", true),
            ("sw-r?", "SW-R1", true),
            ("sw-r?", "sw-r12", false),
            ("*abc*c", "xabcabcc", true),
            ("", "", true),
            ("*", "", true),
            ("a", "", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!like(&"*a".repeat(60), &"a".repeat(59)), "bounded work");
    }

    #[test]
    fn the_number_of_a_port_is_its_last() {
        for (port, number) in
            [("Ethernet1/07", Some("7")), ("swp3s0", Some("0")), ("Gi1/0/24.b", Some("24")), ("mgmt", None)]
        {
            assert_eq!(port_number(port).as_deref(), number, "{port}");
        }
    }

    #[test]
    fn ports_sort_as_people_count() {
        let mut ports = ["Eth1/10", "Eth1/9", "Eth1/1"];
        ports.sort_by_key(|port| natural(port));
        assert_eq!(ports, ["Eth1/1", "Eth1/9", "Eth1/10"]);
    }
}
