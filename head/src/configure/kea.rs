//! Kea (kea-dhcp4.conf). Classes of a network are evaluated only for clients of that network, so that each names its own server.

use serde_json::{Map, Value, json};

use super::outside::{Host, Network, Outside, Program, REMARK};

const IPXE: &str = "option[175].exists or option[77].hex == 'iPXE' or option[77].hex == 'wulfpack'";

pub(super) fn render(outside: &Outside) -> String {
    let mut classes = vec![json!({"name": "wulfpack-ipxe", "test": IPXE})];
    for host in &outside.hosts {
        classes.extend(own(outside, host));
    }
    let mut subnets = vec![];
    for (index, network) in outside.networks.iter().enumerate() {
        let (mut names, mut needed) = (vec![], vec![]);
        for class in of_network(outside, network) {
            names.push(class.get("name").cloned().unwrap_or_default());
            needed.push(class);
        }
        classes.extend(needed);
        subnets.push(subnet(outside, network, index + 1, names));
    }
    let config = json!({"Dhcp4": {
        "interfaces-config": {"interfaces": ["*"]},
        "lease-database": {"type": "memfile"},
        "valid-lifetime": outside.lease,
        "option-def": [
            {"name": "no-pxedhcp", "code": 176, "space": "wulfpack-ipxe", "type": "uint8"},
            {"name": "wulfpack-ipxe", "code": 175, "space": "dhcp4", "type": "empty", "encapsulate": "wulfpack-ipxe"},
        ],
        "client-classes": classes,
        "subnet4": subnets,
    }});
    let remark: String = REMARK.iter().map(|line| format!("// {line}\n")).collect();
    // Serialising what was just made cannot fail.
    format!("{remark}{}\n", serde_json::to_string_pretty(&config).unwrap_or_default())
}

/// iPXE and each architecture, as they boot in this network.
fn of_network(outside: &Outside, network: &Network) -> Vec<Value> {
    let net = network.net;
    let server = network.server.to_string();
    let mut classes = vec![json!({
        "name": format!("wulfpack-{net}-ipxe"),
        "test": "member('wulfpack-ipxe')",
        "only-if-required": true,
        "next-server": server,
        "boot-file-name": network.script(),
        "option-data": [
            {"name": "no-pxedhcp", "space": "wulfpack-ipxe", "data": "1", "always-send": true},
            {"name": "wulfpack-ipxe", "space": "dhcp4", "always-send": true},
        ],
    })];
    for program in &outside.programs {
        let test = format!("not member('wulfpack-ipxe') and {}", is_arch(program));
        let name = format!("wulfpack-{net}-{:04x}", program.arch.0);
        classes.push(class(&name, &test, network, program, true));
    }
    classes
}

fn is_arch(program: &Program) -> String {
    format!("substring(option[93].hex,0,2) == 0x{:04x}", program.arch.0)
}

fn class(name: &str, test: &str, network: &Network, program: &Program, required: bool) -> Value {
    let file = if program.by_http { format!("{}{}", network.base, program.file) } else { program.file.clone() };
    let mut class = Map::new();
    class.insert("name".into(), name.into());
    class.insert("test".into(), test.into());
    if required {
        class.insert("only-if-required".into(), true.into());
    }
    class.insert("next-server".into(), network.server.to_string().into());
    class.insert("boot-file-name".into(), file.into());
    if program.by_http {
        let data = json!([{"name": "vendor-class-identifier", "data": "HTTPClient", "always-send": true}]);
        class.insert("option-data".into(), data);
    }
    class.into()
}

/// Boot programs of one machine. Its class comes before those of the network: the first one that names a file wins.
fn own(outside: &Outside, host: &Host) -> Vec<Value> {
    let network = outside.networks.iter().find(|network| network.net.contains(&host.ip)).or(outside.networks.first());
    let Some(network) = network else { return vec![] };
    let mac: String = host.mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let one = |program: &Program| {
        let test = format!("not member('wulfpack-ipxe') and pkt4.mac == 0x{mac} and {}", is_arch(program));
        class(&format!("wulfpack-{}-{:04x}", host.label, program.arch.0), &test, network, program, false)
    };
    host.own.iter().map(one).collect()
}

fn subnet(outside: &Outside, network: &Network, id: usize, classes: Vec<Value>) -> Value {
    let Network { net, server, gateway, dns, domain, range, .. } = network;
    let mut options = vec![];
    if let Some(gateway) = gateway {
        options.push(json!({"name": "routers", "data": gateway.to_string()}));
    }
    if !dns.is_empty() {
        let dns: Vec<String> = dns.iter().map(ToString::to_string).collect();
        options.push(json!({"name": "domain-name-servers", "data": dns.join(", ")}));
    }
    if let Some(domain) = domain {
        options.push(json!({"name": "domain-name", "data": domain}));
    }
    let reservations: Vec<Value> =
        outside.hosts.iter().filter(|host| net.contains(&host.ip)).map(reservation).collect();
    let mut subnet = json!({
        "id": id,
        "subnet": net.to_string(),
        "next-server": server.to_string(),
        "option-data": options,
        "require-client-classes": classes,
        "reservations": reservations,
    });
    if let (Some((range, _)), Some(map)) = (range, subnet.as_object_mut()) {
        map.insert("pools".into(), json!([{"pool": format!("{} - {}", range.first, range.last)}]));
    }
    subnet
}

fn reservation(host: &Host) -> Value {
    let mut value = json!({
        "hw-address": host.mac.to_string(),
        "ip-address": host.ip.to_string(),
        "hostname": host.name,
    });
    if let (Some(gateway), Some(map)) = (host.gateway, value.as_object_mut()) {
        map.insert("option-data".into(), json!([{"name": "routers", "data": gateway.to_string()}]));
    }
    value
}
